"""Li-Stephens copying restricted to candidates: definitions, and the slow float64 reference of every fast path.

A query haplotype is a mosaic of its candidates (Li & Stephens, Genetics 165, 2003). States are the candidates; an
observed site at which a candidate disagrees with the query costs its weight w (log-likelihood -w, 0 for a match, 0
for both where the query has no call); between neighbouring observed sites the path switches with probability
1 - exp(-lambda * cM) to a uniformly random candidate. Up to a constant, the retrieval distance of a segment is the
negative log-likelihood of copying along it without a switch.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, IntArray

MIN_SWITCH = 1e-20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyingSites:
    """The observed sites of a context, and where the sites to impute lie between them.

    Attributes:
        observed: (M,) panel indices of the context's observed sites, ascending, M >= 1.
        gaps_cm: (M,) genetic distance from the observed site before; 0 for the first.
        sites: (L,) panel indices to impute, ascending: the window, or some of its sites.
        left: (L,) number (0 to M - 1) of the last observed site at or before each of them; 0 where there is none.
        fraction: (L,) how far each of them lies towards the next observed site, in [0, 1].
    """

    observed: I32Array
    gaps_cm: F64Array
    sites: I64Array
    left: I32Array
    fraction: F32Array


def copying_sites(observed: IntArray, cm: F64Array, positions: IntArray, sites: IntArray) -> CopyingSites:
    """Places the sites to impute between the observed sites of their context.

    Posteriors are interpolated linearly in genetic distance, in base pairs where the map is flat, and constant
    beyond the first and the last observed site.

    Args:
        observed: (M,) panel indices of observed sites, ascending.
        cm: (V,) genetic positions of the panel's sites.
        positions: (V,) base-pair positions.
        sites: (L,) panel indices, ascending.

    Raises:
        RangeError: No site is observed.
    """
    if len(observed) == 0:
        raise RangeError(f"no observed site in the context of {len(sites)} sites")
    left = np.searchsorted(observed, sites, side="right") - 1
    before_first = left < 0
    left = np.maximum(left, 0)
    a, b = observed[left], observed[np.minimum(left + 1, len(observed) - 1)]
    span_cm, span_bp = cm[b] - cm[a], (positions[b] - positions[a]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_bp = np.where(span_bp > 0, (positions[sites] - positions[a]) / span_bp, 0)
        fraction = np.where(span_cm > 0, (cm[sites] - cm[a]) / span_cm, by_bp)
    fraction[before_first | (a == b)] = 0
    return CopyingSites(
        observed=np.asarray(observed, dtype=np.int32),
        gaps_cm=np.diff(cm[observed], prepend=cm[observed[0]]),
        sites=np.asarray(sites, dtype=np.int64),
        left=left.astype(np.int32),
        fraction=np.clip(fraction, 0, 1).astype(np.float32),
    )


def switch_probabilities(gaps_cm: F64Array, switch_per_cm: float) -> F64Array:
    """(M,) probability of a switch before each observed site, at least 1e-20; not used for the first.

    Without a least one, two candidates that each explain one side of a stretch without recombination alone would
    leave no path that float32 can tell from none.
    """
    return np.maximum(-np.expm1(-switch_per_cm * gaps_cm), MIN_SWITCH)


def posterior_reference(states: I8Array, query: I8Array, weights: F64Array, switch: F64Array) -> F64Array:
    """Posterior of every candidate at every observed site, by the textbook recursion in float64.

    Args:
        states: (M, K) alleles of the candidates.
        query: (M,) alleles of the query, -1 where it has no call.
        weights: (M,) cost of a mismatch.
        switch: (M,) probability of a switch before each site; the first is not used.

    Returns:
        (M, K) posteriors; every row sums to 1.

    Raises:
        ShapeError: The arrays do not fit each other.
    """
    m, k = states.shape
    if not len(query) == len(weights) == len(switch) == m or k == 0:
        raise ShapeError(f"states {states.shape}, query {query.shape}, weights {weights.shape}, switch {switch.shape}")
    emission = np.exp(-weights[:, None] * mismatches(states, query))
    forward, backward = np.empty((m, k)), np.empty((m, k))
    forward[0] = emission[0] / emission[0].sum()
    for i in range(1, m):
        forward[i] = emission[i] * ((1 - switch[i]) * forward[i - 1] + switch[i] / k)
        forward[i] /= forward[i].sum()
    backward[-1] = 1 / k
    for i in range(m - 2, -1, -1):
        ahead = emission[i + 1] * backward[i + 1]
        backward[i] = (1 - switch[i + 1]) * ahead / ahead.sum() + switch[i + 1] / k
    joint = forward * backward
    return np.asarray(joint / joint.sum(axis=1, keepdims=True), dtype=np.float64)


def mismatches(states: I8Array, query: I8Array) -> BoolArray:
    """(M, K) where a candidate disagrees with a called allele of the query."""
    return np.asarray((query[:, None] >= 0) & (states != query[:, None]), dtype=np.bool_)


def dosage_reference(posterior: F64Array, left: I32Array, fraction: F32Array, alleles: I8Array) -> F64Array:
    """(L,) expected ALT alleles of the query: the interpolated posterior times the candidates' alleles.

    Args:
        posterior: (M, K) at the observed sites.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`.
        alleles: (L, K) candidates' alleles at the sites to impute.
    """
    right = np.minimum(left + 1, len(posterior) - 1)
    share = fraction[:, None].astype(np.float64)
    between = (1 - share) * posterior[left] + share * posterior[right]
    return np.asarray((between * alleles).sum(axis=1), dtype=np.float64)
