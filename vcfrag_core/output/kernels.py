"""The sums of a site over haplotypes (`output.cohort_sums`): compiled, and added up as whole numbers."""

# Scalars are of the arrays' own type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,operator"

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import dividing_leaf, leaf
from vcfrag_core.output.genotypes import MOST_BEYOND, ONE
from vcfrag_core.output.grid import FINE, FIRST_COVARIANCE, GRID, LOW_BITS, N_COVARIANCE
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I16Array, I64Array

_LOW = 2**LOW_BITS - 1
# Below this no logarithm is taken: of a product that is nothing beside 1 already.
_LEAST = 1e-18
# Bits of 64: of sqrt(1/2), of 1 less these, and of what follows a double's exponent.
_ROOT_HALF, _SHIFT, _MANTISSA = 0x3FE6A09E667F3BCD, 0x3FF0000000000000 - 0x3FE6A09E667F3BCD, 0x000FFFFFFFFFFFFF
# log 2 in two parts, and the coefficients of s², s⁴, ... in log (1 + f) / s - 2.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip


@kernel
def _fine(value: float) -> int:
    """The nearest whole number of 2^-40."""
    return math.floor(value * FINE + 0.5)


# Sums of whole numbers that are local to a loop without branches become vector code, whatever the order.


@leaf
def _add_covariance(sums: I64Array, at: int, p: F64Array, weights: F64Array, genotypes: F64Array, n: int) -> None:
    """Adds n haplotypes to Σ w g p, Σ w p, and Σ w² g^k p (1 - p) for k = 0, 1, 2."""
    linear, total, inner, first, second = 0, 0, 0, 0, 0
    for i in range(n):
        weight, genotype = weights[i], genotypes[i]
        of_inner = weight * weight * p[i] * (1 - p[i])
        linear += _fine(weight * genotype * p[i])
        total += _fine(weight * p[i])
        inner += _fine(of_inner)
        first += _fine(genotype * of_inner)
        second += _fine(genotype * genotype * of_inner)
    sums[at] += linear
    sums[at + 1] += total
    sums[at + 2] += inner
    sums[at + 3] += first
    sums[at + 4] += second


@kernel
def _probability(dosage: float, known: bool, n_reference: float, pseudo_count: float) -> float:
    return dosage if known else (n_reference * dosage + pseudo_count) / (n_reference + 2 * pseudo_count)


class _Some(NamedTuple):
    """n haplotypes of whole samples, with room for those of all: p, weight and genotype of its sample for each."""

    p: F64Array
    weights: F64Array
    genotypes: F64Array
    minor: F64Array
    factor: F64Array


@leaf
def _take(
    sums: I64Array, some: _Some, dosage: F64Array, p: F64Array, starts: I64Array, weights: F64Array,
    first: int, last: int, is_alike: BoolArray, alike: bool,
) -> int:  # fmt: skip
    """Takes the haplotypes of samples [first, last) that are alike, or are not, and returns how many these are.

    What is a sample's own is added to the sums.
    """
    n, total, high, low, means = 0, 0, 0, 0, 0
    for s in range(first, last):
        if is_alike[s] != alike:
            continue
        genotype, mean = 0.0, 0.0
        for h in range(starts[s], starts[s + 1]):
            genotype += weights[s] * dosage[h]
            mean += weights[s] * p[h]
        for h in range(starts[s], starts[s + 1]):
            some.p[n], some.weights[n], some.genotypes[n] = p[h], weights[s], genotype
            n += 1
        whole = math.floor(genotype * GRID + 0.5)
        square = whole * whole
        total += whole
        high += square >> LOW_BITS
        low += square & _LOW
        means += _fine(mean * mean)
    sums[3] += total
    sums[4] += high
    sums[5] += low
    sums[6] += means
    return n


@leaf
def _add_to_base(sums: I64Array, some: _Some, n: int, frequency: float) -> None:
    """Adds n haplotypes to the sums that every site has, but for what is their samples' own."""
    total, weighted, shares, spread = 0, 0, 0, 0
    p, weights = some.p, some.weights
    for i in range(n):
        share = _fine((p[i] - frequency) ** 2)
        total += _fine(p[i])
        weighted += _fine(weights[i] * weights[i] * p[i])
        shares += share
        spread += share + _fine(p[i] * (1 - p[i]))
    sums[1] += total
    sums[2] += weighted
    sums[7] += shares
    sums[8] += spread
    _add_covariance(sums, FIRST_COVARIANCE, p, weights, some.genotypes, n)


@dividing_leaf
def logs(values: F64Array, n: int) -> int:
    """Σ log of n positive values.

    In steps that become vector code, as those of math.log do not, and to the same 2^-52: with v = 2^k (1 + f) and
    s = f / (2 + f), log (1 + f) = 2 s + s³ (2/3 + 2/5 s² + ...), by the polynomial of fdlibm's `log`
    (Sun Microsystems, 1993).
    """
    total = 0
    for i in range(n):
        shifted = np.float64(values[i]).view(np.int64) + _SHIFT
        fraction = np.int64((shifted & _MANTISSA) + _ROOT_HALF).view(np.float64) - 1.0
        s = fraction / (2.0 + fraction)
        z = s * s
        w = z * z
        odd = z * (_LOG[0] + w * (_LOG[2] + w * (_LOG[4] + w * _LOG[6])))
        tail = odd + w * (_LOG[1] + w * (_LOG[3] + w * _LOG[5]))
        half = 0.5 * fraction * fraction
        k = float((shifted >> 52) - 1023)
        total += _fine(k * _LN2_HIGH - ((half - (s * (half + tail) + k * _LN2_LOW)) - fraction))
    return total


@leaf
def _add_at_nodes(sums: I64Array, some: _Some, n: int, powers: F64Array, swap: bool) -> None:
    """Adds n haplotypes to Σ log(1 - p), and at every node to Σ log(1 - p + p u) and the sums of the odds there."""
    for i in range(n):
        rare = 1 - some.p[i] if swap else some.p[i]
        some.factor[i] = max(1 - rare, _LEAST)
    sums[0] += logs(some.factor, n)
    for node in range(powers.shape[1]):
        for i in range(n):
            rare = 1 - some.p[i] if swap else some.p[i]
            minor = rare * powers[1 if some.weights[i] > 1 else 0, node]
            factor = 1 - rare + minor
            some.factor[i], some.minor[i] = factor, minor / factor
        at = 1 + node * (1 + N_COVARIANCE)
        sums[at] += logs(some.factor, n)
        _add_covariance(sums, at + 1, some.minor, some.weights, some.genotypes, n)


@leaf
def _add_times(sums: I64Array, one: I64Array, count: int) -> None:
    """Adds what one sample adds, count times: of whole numbers that is the same as adding it again and again."""
    for i in range(len(sums)):
        sums[i] += count * one[i]


@leaf
def _find_alike(dosage: F64Array, known: BoolArray, starts: I64Array, is_alike: BoolArray, alike: I64Array) -> None:
    """Which samples are imputed to carry no ALT at all, as most are at most sites.

    For each number of haplotypes how many these are, and the last.
    """
    alike[:] = 0
    for s in range(len(is_alike)):
        n_other = 0
        for h in range(starts[s], starts[s + 1]):
            n_other += (dosage[h] != 0) | known[h]
        is_alike[s] = n_other == 0
        if n_other == 0:
            size = starts[s + 1] - starts[s]
            alike[size, 0] += 1
            alike[size, 1] = s


@kernel
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
    # For each number of haplotypes how many samples are alike, and one of them.
    alike = np.zeros((1 + np.max(np.diff(starts)), 2), dtype=np.int64)
    is_alike = np.zeros(n_samples, dtype=np.bool_)
    one_base, one_few = np.zeros(base.shape[1], dtype=np.int64), np.zeros(few.shape[2], dtype=np.int64)
    room, room_of_one = np.empty((5, n_queries)), np.empty((5, len(alike)))
    some = _Some(room[0], room[1], room[2], room[3], room[4])
    one = _Some(room_of_one[0], room_of_one[1], room_of_one[2], room_of_one[3], room_of_one[4])
    for site in range(n_sites):
        total = 0
        for h in range(n_queries):
            value = min(max(float(dosage[site, h]), 0.0), 1.0)
            total += _fine(value)
            d[h] = math.floor(value * GRID + 0.5) / GRID
            p[h] = _probability(d[h], known[site, h], n_reference, pseudo_count)
        base[site, 0] = total
        _find_alike(d, known[site], starts, is_alike, alike)
        n = _take(base[site], some, d, p, starts, weights, 0, n_samples, is_alike, False)
        _add_to_base(base[site], some, n, frequency[site])
        for count, s in alike:
            if count:
                one_base[:] = 0
                size = _take(one_base, one, d, p, starts, weights, s, s + 1, is_alike, True)
                _add_to_base(one_base, one, size, frequency[site])
                _add_times(base[site], one_base, count)
        alt = base[site, 2] / FINE
        for side in range(2):
            if (weight2 - alt if side else alt) < many:
                _add_at_nodes(few[site, side], some, n, powers, side == 1)
                for count, s in alike:
                    if count:
                        one_few[:] = 0
                        size = _take(one_base, one, d, p, starts, weights, s, s + 1, is_alike, True)
                        _add_at_nodes(one_few, one, size, powers, side == 1)
                        _add_times(few[site, side], one_few, count)


@kernel
def fill_cells(
    dosage: F32Array, alleles: I8Array, typed: BoolArray, known: BoolArray, believed: F32Array, rounded: I16Array
) -> int:
    """Fills what is known of Q haplotypes at L sites; returns how many dosages are none.

    Args:
        dosage: (L, Q) imputed.
        alleles: (L, Q) typed alleles, -1 where not typed or missing.
        typed: (L,) sites typed in the target and used.
        known: (L, Q) which alleles are.
        believed: (L, Q) these, or else the dosages.
        rounded: (L, Q) the same in thousandths, as `genotypes.thousandths` rounds.
    """
    n_wrong = 0
    for i in range(dosage.shape[0]):
        for q in range(dosage.shape[1]):
            value, allele = dosage[i, q], alleles[i, q]
            n_wrong += not (-MOST_BEYOND <= value <= 1 + MOST_BEYOND)
            is_known = typed[i] and allele >= 0
            known[i, q] = is_known
            believed[i, q] = np.float32(allele) if is_known else value
            steps = min(max(np.rint(value * np.float32(ONE)), np.float32(0)), np.float32(ONE))
            rounded[i, q] = np.int16(allele) * np.int16(ONE) if is_known else np.int16(steps)
    return n_wrong
