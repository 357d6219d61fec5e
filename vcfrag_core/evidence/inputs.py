"""Evidence brought to about unit size: what the model is shown, in training and in imputation alike.

Shape suffixes as in `vcfrag_core.model.network`: N uncertain sites, T candidates, F numbers of a candidate and G of a
site, before or after. Inputs are one after the other, so that one of all sites lies together.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.evidence.evidence import (
    CANDIDATE_FEATURES,
    CERTAIN_WHERE_DENSE,
    CERTAIN_WHERE_SPARSE,
    FIRST_VARIANT,
    MIN_SHOWN_MAF,
    OTHER_RATES,
    SITE_FEATURES,
    Evidence,
)
from vcfrag_core.evidence.group_excluded import FOLDS
from vcfrag_core.evidence.input_kernels import begin_candidate_inputs, sum_up_candidates
from vcfrag_core.evidence.kernels import NEARBY_SITES
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel.pbwt import MIN_MAF, SITES_TO_SETTLE
from vcfrag_core.types import F32Array

CM_SCALE = np.float32(50.0)
MIN_PROBABILITY = np.float32(1e-4)
POSTERIOR, ALLELE, LEFT_CM, RIGHT_CM, LEFT_SITES, RIGHT_SITES, INFORMATION, STRANGENESS, *LONGER_CM = range(
    len(CANDIDATE_FEATURES)
)
DOSAGE, FREQUENCY, EFFECTIVE, GAP_LEFT, GAP_RIGHT, OTHER, *CHANGES = range(FIRST_VARIANT)
ALLELE_INPUT, LENGTH_INPUT = 2, 6
# To be counted up with every change of a formula here or of a feature's meaning.
FORMULAS = 1
N_CANDIDATE_INPUTS = 20
N_TOGETHER = 18
LOG_SCALES = np.array([1 / 2] * 4 + [1 / 3] * 3 + [1 / 2] * 9, dtype=np.float32)
N_SITE_INPUTS = N_TOGETHER + 2 * (len(SITE_FEATURES) - FIRST_VARIANT)


# Of what the numbers mean, not of how many there are: of another meaning the same weights make nonsense.
INPUTS_DIGEST = text_digest(
    "inputs",
    repr((FORMULAS, CANDIDATE_FEATURES, SITE_FEATURES, OTHER_RATES, NEARBY_SITES)),
    repr((MIN_MAF, SITES_TO_SETTLE, MIN_SHOWN_MAF, FOLDS, CERTAIN_WHERE_DENSE, CERTAIN_WHERE_SPARSE)),
    repr((float(CM_SCALE), float(MIN_PROBABILITY), LOG_SCALES.tolist())),
)


def candidate_inputs(raw_NTF: F32Array) -> F32Array:
    """(20, T, N) inputs of the candidates, from features named by `features.CANDIDATE_FEATURES`."""
    n_sites, n_candidates, _ = raw_NTF.shape
    out = np.empty((N_CANDIDATE_INPUTS, n_candidates, n_sites), dtype=np.float32)
    begin_candidate_inputs(np.ascontiguousarray(raw_NTF.T), MIN_PROBABILITY, CM_SCALE, out)
    np.log(out[1], out=out[1])
    out[1] /= 4
    out[1] += 1
    # log(1 + x) and not log1p, which few builds of NumPy do for eight numbers at a time; 1e-7 is all that it loses.
    logs = np.log(out[4:], out=out[4:])
    logs *= LOG_SCALES[:, None, None]
    return out


def site_inputs(candidates_FTN: F32Array, sites_NG: F32Array) -> F32Array:
    """(26, N) inputs of the sites, with what the candidates say together.

    Args:
        candidates_FTN: From `candidate_inputs`.
        sites_NG: Features named by `features.SITE_FEATURES`.
    """
    raw = np.ascontiguousarray(sites_NG.T)
    probability = _probability(raw)
    dosage, variants = probability[DOSAGE], probability[FIRST_VARIANT:]
    out = np.empty((N_SITE_INPUTS, raw.shape[1]), dtype=np.float32)
    out[0], out[1] = _logit(dosage) / 4, raw[DOSAGE]
    out[2] = _logit(probability[FREQUENCY]) / 4
    out[3] = np.log(np.maximum(raw[EFFECTIVE], 1)) / 2
    out[4:6] = np.log(1 + CM_SCALE * raw[[GAP_LEFT, GAP_RIGHT]])
    out[6] = out[4:6].min(axis=0)
    out[7], out[8] = raw[OTHER], _logit(probability[OTHER]) / 4
    sum_up_candidates(candidates_FTN[0], candidates_FTN[ALLELE_INPUT], candidates_FTN[LENGTH_INPUT], out[9:15])
    out[15] = out[9] - out[10]
    out[16:18] = raw[CHANGES] / 2
    out[N_TOGETHER : N_TOGETHER + len(variants)] = _logit(variants) / 4
    out[N_TOGETHER + len(variants) :] = 4 * (variants - dosage)
    return out


def inputs_by_site(evidence: Evidence) -> tuple[F32Array, F32Array]:
    """(N, T, 20) and (N, 26): the inputs of all uncertain sites, site by site."""
    candidates = candidate_inputs(evidence.candidates)
    sites = site_inputs(candidates, evidence.sites)
    return np.ascontiguousarray(candidates.transpose(2, 1, 0)), np.ascontiguousarray(sites.T)


def _probability(p: F32Array) -> F32Array:
    return np.clip(p, MIN_PROBABILITY, 1 - MIN_PROBABILITY)


def _logit(p: F32Array) -> F32Array:
    odds: F32Array = np.log(p / (1 - p))
    return odds
