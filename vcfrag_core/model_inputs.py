"""Evidence brought to about unit size: what the model is shown, in training and in imputation alike.

Shape suffixes as in `vcfrag_core.model`: N uncertain sites, T candidates, F features. Arrays are feature by feature,
so that a feature of all sites lies together.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.features import CANDIDATE_FEATURES, FIRST_VARIANT, SITE_FEATURES, Evidence
from vcfrag_core.types import BoolArray, F32Array

CM_SCALE = np.float32(50.0)
LEAST_PROBABILITY = np.float32(1e-4)
POSTERIOR, ALLELE, LEFT_CM, RIGHT_CM, LEFT_SITES, RIGHT_SITES, INFORMATION, STRANGENESS = range(len(CANDIDATE_FEATURES))
DOSAGE, FREQUENCY, EFFECTIVE, GAP_LEFT, GAP_RIGHT, OTHER = range(FIRST_VARIANT)
ALLELE_INPUT, LENGTH_INPUT = 2, 6
N_CANDIDATE_INPUTS = 12
N_TOGETHER = 16
N_SITE_INPUTS = N_TOGETHER + 2 * (len(SITE_FEATURES) - FIRST_VARIANT)


def candidate_inputs(raw_NTF: F32Array) -> F32Array:
    """(12, T, N) inputs of the candidates, from features named by `features.CANDIDATE_FEATURES`."""
    raw = np.ascontiguousarray(raw_NTF.transpose(2, 1, 0))
    out = np.empty((N_CANDIDATE_INPUTS, *raw.shape[1:]), dtype=np.float32)
    np.multiply(raw[POSTERIOR], 4, out=out[0])
    out[1] = np.log(raw[POSTERIOR] + LEAST_PROBABILITY) / 4 + 1
    out[ALLELE_INPUT] = raw[ALLELE]
    np.multiply(out[0], raw[ALLELE], out=out[3])
    # log(1 + x) and not log1p, which few builds of NumPy do for eight numbers at a time; 1e-7 is all that it loses.
    logs = out[4:]
    logs[0], logs[1] = raw[LEFT_CM], raw[RIGHT_CM]
    np.add(raw[LEFT_CM], raw[RIGHT_CM], out=logs[2])
    np.minimum(raw[LEFT_CM], raw[RIGHT_CM], out=logs[3])
    logs[:4] *= CM_SCALE
    logs[4:] = raw[LEFT_SITES:]
    logs += 1
    np.log(logs, out=logs)
    logs *= np.array([1 / 2] * 4 + [1 / 3] * 3 + [1 / 2], dtype=np.float32)[:, None, None]
    return out


def site_inputs(candidates_FTN: F32Array, sites_NF: F32Array) -> F32Array:
    """(24, N) inputs of the sites, with what the candidates say together.

    Args:
        candidates_FTN: From `candidate_inputs`.
        sites_NF: Features named by `features.SITE_FEATURES`.
    """
    raw = np.ascontiguousarray(sites_NF.T)
    posterior, allele, length = candidates_FTN[0] / 4, candidates_FTN[ALLELE_INPUT], candidates_FTN[LENGTH_INPUT]
    alt, ref = (allele > 0).astype(np.float32), (allele < 0).astype(np.float32)
    probability = _probability(raw)
    dosage, variants = probability[DOSAGE], probability[FIRST_VARIANT:]
    out = np.empty((N_SITE_INPUTS, raw.shape[1]), dtype=np.float32)
    out[0], out[1] = _logit(dosage) / 4, raw[DOSAGE]
    out[2] = _logit(probability[FREQUENCY]) / 4
    out[3] = np.log(np.maximum(raw[EFFECTIVE], 1)) / 2
    out[4:6] = np.log(1 + CM_SCALE * raw[[GAP_LEFT, GAP_RIGHT]])
    out[6] = out[4:6].min(axis=0)
    out[7], out[8] = raw[OTHER], _logit(probability[OTHER]) / 4
    for number, carriers in enumerate((alt, ref)):
        out[9 + number] = (length * carriers).max(axis=0)
        out[11 + number] = (posterior * carriers).sum(axis=0)
        out[13 + number] = carriers.sum(axis=0) / 6
    out[15] = out[9] - out[10]
    out[N_TOGETHER : N_TOGETHER + len(variants)] = _logit(variants) / 4
    out[N_TOGETHER + len(variants) :] = 4 * (variants - dosage)
    return out


def inputs_by_site(evidence: Evidence) -> tuple[F32Array, F32Array]:
    """(N, T, 12) and (N, 24): the inputs of all uncertain sites, site by site."""
    candidates = candidate_inputs(evidence.candidates)
    sites = site_inputs(candidates, evidence.sites)
    return np.ascontiguousarray(candidates.transpose(2, 1, 0)), np.ascontiguousarray(sites.T)


def present(candidates_FTN: F32Array) -> BoolArray:
    """(T, N) where there is such a candidate."""
    there: BoolArray = candidates_FTN[ALLELE_INPUT] != 0
    return there


def _probability(p: F32Array) -> F32Array:
    return np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)


def _logit(p: F32Array) -> F32Array:
    odds: F32Array = np.log(p / (1 - p))
    return odds
