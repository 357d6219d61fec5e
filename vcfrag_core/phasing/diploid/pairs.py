"""Compiled steps of diploid copying over a K by K matrix of ordered pairs of candidates.

Passes over the matrix are vectors of candidates (`vcfrag_core.phasing.diploid.vectors`), which add up in one order. Its
rows and the vectors beside them are as wide as `padded(K)`.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value,no-any-return"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.leaf import leaf
from vcfrag_core.phasing.diploid.vectors import add_row, dot_row, enter_row, step_row
from vcfrag_core.types import F32Array, F64Array, I8Array, I32Array, I64Array, U64Array

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ZERO, _ONE = np.float32(0), np.float32(1)
_HALF = np.float32(0.5)


@numba.njit(cache=True, nogil=True, inline="always")
def uniform(key: int, draw: int, block: int, purpose: int) -> float:
    """A number in [0, 1), the same for the same arguments: SplitMix64 of their mixture."""
    counter = (np.uint64(draw) << np.uint64(40)) | (np.uint64(block) << np.uint64(4)) | np.uint64(purpose)
    z = np.uint64(key) + _GOLDEN * (counter + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@leaf
def read_pattern(words: U64Array, row: int, start: int, stop: int) -> int:
    """Alleles of one row at typed sites [start, stop), as `read_patterns` has them."""
    first, shift = start >> 6, np.uint64(start & 63)
    bits = words[row, first] >> shift
    if (start & 63) + (stop - start) > 64:
        bits |= words[row, first + 1] << (np.uint64(64) - shift)
    return bits & ((np.uint64(1) << np.uint64(stop - start)) - np.uint64(1))


@leaf
def read_patterns(words: U64Array, candidates: I32Array, start: int, stop: int, out: U64Array) -> None:
    """out[k]: alleles of candidate k at typed sites [start, stop), at most 32 of them."""
    for k in range(len(candidates)):
        out[k] = read_pattern(words, candidates[k], start, stop)


@leaf
def find_classes(patterns: U64Array, distinct: U64Array, of: I64Array) -> int:
    """Numbers the distinct patterns in order of appearance; returns how many there are."""
    n = 0
    for k in range(len(patterns)):
        found = -1
        for u in range(n):
            if distinct[u] == patterns[k]:
                found = u
                break
        if found < 0:
            found = n
            distinct[n] = patterns[k]
            n += 1
        of[k] = found
    return n


@leaf
def likelihoods(
    distinct: U64Array, n: int, genotypes: I8Array, first: I8Array, mismatch: float, exact: F64Array, table: F32Array
) -> float:
    """table[u, v] = P(genotypes of a block | the first haplotype copies class u, the second v) / the largest of these.

    Each allele differs from the copied one with probability `mismatch`. `first` is the allele of the first haplotype
    at a heterozygote of known phase, -1 where the phase is unknown.

    Returns:
        The logarithm of the largest.
    """
    wrong = np.float64(mismatch)
    right = 1.0 - wrong
    exact[:n, :n] = 1.0
    for m in range(len(genotypes)):
        g = genotypes[m]
        if g < 0:
            continue
        for u in range(n):
            a = (distinct[u] >> np.uint64(m)) & np.uint64(1)
            for v in range(n):
                b = (distinct[v] >> np.uint64(m)) & np.uint64(1)
                if g != 1:
                    exact[u, v] *= (right if a == (g >> 1) else wrong) * (right if b == (g >> 1) else wrong)
                elif first[m] >= 0:
                    exact[u, v] *= (right if a == first[m] else wrong) * (wrong if b == first[m] else right)
                else:
                    exact[u, v] *= 2.0 * right * wrong if a == b else right * right + wrong * wrong
    largest = 0.0
    for u in range(n):
        for v in range(n):
            largest = max(largest, exact[u, v])
    for u in range(n):
        for v in range(n):
            table[u, v] = exact[u, v] / largest
    return float(np.log(largest))


@leaf
def step(
    source: F32Array, rows: F32Array, columns: F32Array, total: float, switch: float, table: F32Array, of: I64Array,
    n: int, emission: F32Array, column: F32Array, symmetric: bool,
    target: F32Array, new_rows: F32Array, new_columns: F32Array,
) -> float:  # fmt: skip
    """One block further: target = likelihood * transition(source / total); its sums; returns its total.

    Source and target, and the sums of both, may be the same arrays.
    """
    k = len(of)
    for u in range(n):
        for j in range(k):
            emission[u, j] = table[u, of[j]]
    scale, count = _ONE / total, np.float32(k)
    keep, leave = _ONE - switch, switch / count
    both, one, none = keep * keep * scale, keep * leave * scale, leave * leave
    for j in range(k):
        column[0, j] = one * columns[j]
    sum_of_all = _ZERO
    for i in range(k):
        new_rows[i] = step_row(source, target, i, k, column, emission, of[i], both, none + one * rows[i])
        sum_of_all += new_rows[i]
    add_columns(target, new_rows, symmetric, column, new_columns)
    return sum_of_all


@leaf
def add_columns(matrix: F32Array, rows: F32Array, symmetric: bool, column: F32Array, columns: F32Array) -> None:
    """Fills the sums of the columns, which are those of the rows where the matrix is symmetric; `column` is scratch."""
    k = len(rows)
    if not symmetric:
        column[:] = _ZERO
        for i in range(k):
            add_row(column, matrix, i, k, _ONE)
    for j in range(k):
        columns[j] = rows[j] if symmetric else column[0, j]


@leaf
def enter(
    before: F32Array, total: float, leaves: F32Array, symmetric: bool, weight: F32Array, stays: F32Array,
    entry: F32Array, rows: F32Array,
) -> float:  # fmt: skip
    """The entry of a segment from the last values of the one before, whose sum is `total`; its rows' sums; their sum.

    Mass of the rows and columns whose candidate leaves (1 in (1, padded(K)) `leaves`) goes evenly to all rows and
    columns. `weight` and `stays` are scratch of that shape. `before` and `entry` may be the same array.
    """
    k = len(rows)
    share, scale = _ONE / np.float32(k), _ONE / total
    weight[:] = _ZERO
    for i in range(k):
        if leaves[0, i] > 0:
            add_row(weight, before, i, k, share * scale)
    for j in range(leaves.shape[1]):
        stays[0, j] = _ONE - leaves[0, j]
    of_gone = dot_row(weight, 0, k, leaves)
    sum_of_all = _ZERO
    for i in range(k):
        keep = scale * stays[0, i]
        # What the row has at those that leave: the matrix is symmetric, or it is added up.
        left = stays[0, i] * weight[0, i] / share if symmetric else keep * dot_row(before, i, k, leaves)
        rows[i] = enter_row(before, entry, i, k, stays, weight, keep, (left + of_gone) * share)
        sum_of_all += rows[i]
    return sum_of_all


@leaf
def symmetrise(matrix: F32Array, rows: F32Array, columns: F32Array, out: F32Array, sums: F32Array) -> None:
    """out = the mean of the matrix and its transpose; sums = its row sums, which are its column sums."""
    for i in range(len(rows)):
        sums[i] = _HALF * (rows[i] + columns[i])
        for j in range(len(rows)):
            out[i, j] = _HALF * (matrix[i, j] + matrix[j, i])


@leaf
def _pick(values: F32Array, leave: F32Array, z: float) -> int:
    """The index at which the running sum of values * leave passes z; the last that has weight at the latest."""
    total, last = 0.0, 0
    for j in range(len(leave)):
        w = np.float64(values[j]) * np.float64(leave[j])
        if w > 0:
            total += w
            last = j
            if total > z:
                return j
    return last


@numba.njit(cache=True, nogil=True, inline="always")
def both_stay(
    matrix: F32Array, rows: F32Array, columns: F32Array, total: float, x: int, y: int, stay_x: float, stay_y: float,
    z: float,
) -> bool:  # fmt: skip
    """Whether `draw_previous` would answer (x, y) because neither left, as it mostly does."""
    share = 1.0 / len(rows)
    both = np.float64(stay_x) * stay_y * matrix[x, y]
    first, second = np.float64(stay_x) * share * rows[x], np.float64(stay_y) * share * columns[y]
    return z * (both + first + second + share * share * np.float64(total)) < both


@leaf
def draw_previous(
    matrix: F32Array, transposed_column: F32Array, leave: F32Array, rows: F32Array, columns: F32Array, total: float,
    x: int, y: int, stay_x: float, stay_y: float, z: float,
) -> tuple[int, int]:  # fmt: skip
    """The pair before (x, y), drawn: each haplotype stayed, or left any candidate i with weight leave[i] / K.

    Args:
        matrix: (K, K) forward values before.
        transposed_column: (K,) scratch.
        leave: (K,) probability of leaving each candidate.
        rows, columns: (K,) sums of matrix weighted by `leave` along the other axis.
        total: Sum of matrix weighted by `leave` on both.
        x, y: The pair after.
        stay_x, stay_y: Probability that each stayed.
        z: A uniform number in [0, 1).
    """
    k = len(leave)
    share = 1.0 / k
    both = np.float64(stay_x) * stay_y * matrix[x, y]
    first = np.float64(stay_x) * share * rows[x]
    second = np.float64(stay_y) * share * columns[y]
    neither = share * share * np.float64(total)
    z *= both + first + second + neither
    if z < both:
        return x, y
    z -= both
    if z < first:
        return x, _pick(matrix[x], leave, z / (stay_x * share))
    z -= first
    for i in range(k):
        transposed_column[i] = matrix[i, y]
    if z < second:
        return _pick(transposed_column, leave, z / (stay_y * share)), y
    z = min((z - second) / (share * share), np.float64(total))
    i = _pick(rows, leave, z)
    before = 0.0
    for j in range(i):
        before += np.float64(rows[j]) * np.float64(leave[j])
    return i, _pick(matrix[i], leave, max(0.0, (z - before) / max(np.float64(leave[i]), 1e-30)))


@leaf
def draw_pair(matrix: F32Array, rows: F32Array, z: float) -> tuple[int, int]:
    """A pair drawn from the matrix, z a uniform number times its total."""
    for i in range(len(rows)):
        weight = np.float64(rows[i])
        if z < weight or i == len(rows) - 1:
            total, last = 0.0, 0
            for j in range(len(rows)):
                if matrix[i, j] > 0:
                    total += np.float64(matrix[i, j])
                    last = j
                    if total > z:
                        return i, j
            return i, last
        z -= weight
    return 0, 0
