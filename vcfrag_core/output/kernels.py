"""The sums of a site over haplotypes (`output.cohort_sums`): compiled, and added up as whole numbers."""

# Scalars are of the arrays' own type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,operator"

from __future__ import annotations

import math

import numba
import numpy as np

from vcfrag_core.output.grid import FINE, FIRST_COVARIANCE, GRID, LOW_BITS, N_COVARIANCE
from vcfrag_core.types import BoolArray, F32Array, F64Array, I64Array

_LOW = 2**LOW_BITS - 1
# Below this no logarithm is taken: of a product that is nothing beside 1 already.
_LEAST = 1e-18


@numba.njit(cache=True, nogil=True)
def _fine(value: float) -> int:
    """The nearest whole number of 2^-40."""
    return math.floor(value * FINE + 0.5)


@numba.njit(cache=True, nogil=True)
def _add_covariance(sums: I64Array, at: int, p: float, weight: float, genotype: float) -> None:
    """Adds a haplotype to Σ w g p, Σ w p, and Σ w² g^k p (1 - p) for k = 0, 1, 2."""
    inner = weight * weight * p * (1 - p)
    sums[at] += _fine(weight * genotype * p)
    sums[at + 1] += _fine(weight * p)
    sums[at + 2] += _fine(inner)
    sums[at + 3] += _fine(genotype * inner)
    sums[at + 4] += _fine(genotype * genotype * inner)


@numba.njit(cache=True, nogil=True)
def _probability(dosage: float, known: bool, n_reference: float, pseudo_count: float) -> float:
    return dosage if known else (n_reference * dosage + pseudo_count) / (n_reference + 2 * pseudo_count)


@numba.njit(cache=True, nogil=True)
def _add_sample(
    sums: I64Array, dosage: F64Array, p: F64Array, start: int, stop: int, weight: float, frequency: float
) -> None:
    """Adds a sample, of which dosage and p are the haplotypes' own, to the sums that every site has."""
    genotype, mean = 0.0, 0.0
    for h in range(start, stop):
        genotype += weight * dosage[h]
        mean += weight * p[h]
    whole = math.floor(genotype * GRID + 0.5)
    square = whole * whole
    sums[3] += whole
    sums[4] += square >> LOW_BITS
    sums[5] += square & _LOW
    sums[6] += _fine(mean * mean)
    for h in range(start, stop):
        share = _fine((p[h] - frequency) ** 2)
        sums[1] += _fine(p[h])
        sums[2] += _fine(weight * weight * p[h])
        sums[7] += share
        sums[8] += share + _fine(p[h] * (1 - p[h]))
        _add_covariance(sums, FIRST_COVARIANCE, p[h], weight, genotype)


@numba.njit(cache=True, nogil=True)
def _add_sample_at_nodes(
    sums: I64Array, dosage: F64Array, p: F64Array, start: int, stop: int, weight: float, powers: F64Array, swap: bool
) -> None:
    """Adds a sample to Σ log(1 - p), and at every node to Σ log(1 - p + p u) and the sums of the odds there."""
    genotype = 0.0
    for h in range(start, stop):
        genotype += weight * dosage[h]
    for h in range(start, stop):
        rare = 1 - p[h] if swap else p[h]
        sums[0] += _fine(math.log(max(1 - rare, _LEAST)))
        for node in range(len(powers)):
            minor = rare * powers[node]
            factor = 1 - rare + minor
            at = 1 + node * (1 + N_COVARIANCE)
            sums[at] += _fine(math.log(factor))
            _add_covariance(sums, at + 1, minor / factor, weight, genotype)


@numba.njit(cache=True, nogil=True)
def _add_times(sums: I64Array, one: I64Array, count: int) -> None:
    """Adds what one sample adds, count times: of whole numbers that is the same as adding it again and again."""
    for i in range(len(sums)):
        sums[i] += count * one[i]


@numba.njit(cache=True, nogil=True)
def _all_ref(dosage: F64Array, known: BoolArray, start: int, stop: int) -> bool:
    """Whether a sample is imputed to carry no ALT at all, as most are at most sites."""
    n_other = 0
    for h in range(start, stop):
        n_other += dosage[h] != 0 or known[h]
    return n_other == 0


@numba.njit(cache=True, nogil=True)
def _find_alike(dosage: F64Array, known: BoolArray, starts: I64Array, is_alike: BoolArray, alike: I64Array) -> None:
    """Which samples are imputed to carry no ALT; for each number of haplotypes how many these are, and the last."""
    alike[:] = 0
    for s in range(len(is_alike)):
        is_alike[s] = _all_ref(dosage, known, starts[s], starts[s + 1])
        if is_alike[s]:
            of_size = alike[starts[s + 1] - starts[s]]
            of_size[0] += 1
            of_size[1] = s


@numba.njit(cache=True, nogil=True)
def _add_to_base(
    sums: I64Array, dosage: F64Array, p: F64Array, starts: I64Array, weights: F64Array, frequency: float,
    is_alike: BoolArray, alike: I64Array, scratch: I64Array,
) -> None:  # fmt: skip
    """`_add_sample` of all samples, once for those that are alike."""
    for s in range(len(is_alike)):
        if not is_alike[s]:
            _add_sample(sums, dosage, p, starts[s], starts[s + 1], weights[s], frequency)
    for count, s in alike:
        if count:
            scratch[:] = 0
            _add_sample(scratch, dosage, p, starts[s], starts[s + 1], weights[s], frequency)
            _add_times(sums, scratch, count)


@numba.njit(cache=True, nogil=True)
def _add_at_nodes(
    sums: I64Array, dosage: F64Array, p: F64Array, starts: I64Array, weights: F64Array, powers: F64Array, swap: bool,
    is_alike: BoolArray, alike: I64Array, scratch: I64Array,
) -> None:  # fmt: skip
    """`_add_sample_at_nodes` of all samples, once for those that are alike."""
    for s in range(len(is_alike)):
        if not is_alike[s]:
            mine = powers[1 if weights[s] > 1 else 0]
            _add_sample_at_nodes(sums, dosage, p, starts[s], starts[s + 1], weights[s], mine, swap)
    for count, s in alike:
        if count:
            scratch[:] = 0
            mine = powers[1 if weights[s] > 1 else 0]
            _add_sample_at_nodes(scratch, dosage, p, starts[s], starts[s + 1], weights[s], mine, swap)
            _add_times(sums, scratch, count)


@numba.njit(cache=True, nogil=True)
def add_up(
    dosage: F32Array,
    known: BoolArray,
    frequency: F64Array,
    n_reference: float,
    pseudo_count: float,
    starts: I64Array,
    weights: F64Array,
    nodes: F64Array,
    many: float,
    base: I64Array,
    few: I64Array,
) -> None:
    """Fills the sums of L sites.

    Args:
        dosage: (L, Q) haplotype dosages in [0, 1].
        known: (L, Q) which of them are alleles.
        frequency: (L,) ALT frequency of the reference.
        n_reference: Haplotypes of the reference panel.
        pseudo_count: Counts of each allele beside them.
        starts: (S + 1,) first haplotype of each sample, and Q.
        weights: (S,) what an allele counts for in the sample's genotype; the same for samples of one ploidy.
        nodes: The nodes u.
        many: Alleles from which on the sums at the nodes are not needed.
        base: (L, N_BASE) zeros.
        few: (L, 2, 1 + 6 nodes) zeros.
    """
    n_sites, n_queries = dosage.shape
    n_samples = len(weights)
    d, p = np.empty(n_queries), np.empty(n_queries)
    powers = np.empty((2, len(nodes)))
    powers[0], powers[1] = nodes, nodes**4
    weight2 = 0.0
    for s in range(n_samples):
        weight2 += weights[s] * weights[s] * (starts[s + 1] - starts[s])
    alike = np.zeros((1 + np.max(np.diff(starts)), 2), dtype=np.int64)
    is_alike = np.zeros(n_samples, dtype=np.bool_)
    one_base, one_few = np.zeros(base.shape[1], dtype=np.int64), np.zeros(few.shape[2], dtype=np.int64)
    for site in range(n_sites):
        for h in range(n_queries):
            value = min(max(float(dosage[site, h]), 0.0), 1.0)
            base[site, 0] += _fine(value)
            d[h] = math.floor(value * GRID + 0.5) / GRID
            p[h] = _probability(d[h], known[site, h], n_reference, pseudo_count)
        _find_alike(d, known[site], starts, is_alike, alike)
        _add_to_base(base[site], d, p, starts, weights, frequency[site], is_alike, alike, one_base)
        alt = base[site, 2] / FINE
        for side in range(2):
            if (weight2 - alt if side else alt) < many:
                _add_at_nodes(few[site, side], d, p, starts, weights, powers, side == 1, is_alike, alike, one_few)
