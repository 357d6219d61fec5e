"""Compiled steps of diploid copying over a K by K matrix of ordered pairs of candidates.

As in `vcfrag_core.copying.kernels` a loop either writes or adds up, and only functions that write nothing may reorder
sums.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.types import F32Array, F64Array, I8Array, I32Array, I64Array, U64Array

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.float32(1)
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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _total(values: F32Array) -> float:
    total = np.float32(0)
    for j in range(len(values)):
        total += values[j]
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def dot(a: F32Array, b: F32Array) -> float:
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@numba.njit(cache=True, nogil=True)
def add(target: F32Array, values: F32Array, factor: float) -> None:
    for j in range(len(target)):
        target[j] += values[j] * factor


@numba.njit(cache=True, nogil=True)
def _move(source: F32Array, target: F32Array, keep: float, add: float, column: F32Array, emission: F32Array) -> None:
    for j in range(len(target)):
        target[j] = (source[j] * keep + add + column[j]) * emission[j]


@numba.njit(cache=True, nogil=True)
def read_patterns(words: U64Array, candidates: I32Array, start: int, stop: int, out: U64Array) -> None:
    """out[k]: alleles of candidate k at typed sites [start, stop), at most 32 of them."""
    first, shift = start >> 6, np.uint64(start & 63)
    mask = (np.uint64(1) << np.uint64(stop - start)) - np.uint64(1)
    over = (start & 63) + (stop - start) > 64
    for k in range(len(candidates)):
        row = words[candidates[k]]
        bits = row[first] >> shift
        if over:
            bits |= row[first + 1] << (np.uint64(64) - shift)
        out[k] = bits & mask


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def step(
    source: F32Array, rows: F32Array, columns: F32Array, total: float, switch: float, table: F32Array, of: I64Array,
    n: int, emission: F32Array, column: F32Array, symmetric: bool,
    target: F32Array, new_rows: F32Array, new_columns: F32Array,
) -> float:  # fmt: skip
    """One block further: target = likelihood * transition(source / total); its sums; returns its total."""
    k = len(of)
    for u in range(n):
        row = table[u]
        for j in range(k):
            emission[u, j] = row[of[j]]
    scale, count = _ONE / total, np.float32(k)
    keep, leave = _ONE - switch, switch / count
    both, one, none = keep * keep * scale, keep * leave * scale, leave * leave
    for j in range(k):
        column[j] = one * columns[j]
        new_columns[j] = np.float32(0)
    for i in range(k):
        _move(source[i], target[i], both, none + one * rows[i], column, emission[of[i]])
        new_rows[i] = _total(target[i])
        if not symmetric:
            add(new_columns, target[i], _ONE)
    if symmetric:
        new_columns[:] = new_rows
    return _total(new_rows)


@numba.njit(cache=True, nogil=True)
def sum_up(matrix: F32Array, rows: F32Array, columns: F32Array) -> float:
    columns[:] = np.float32(0)
    for i in range(len(matrix)):
        rows[i] = _total(matrix[i])
        add(columns, matrix[i], _ONE)
    return _total(rows)


@numba.njit(cache=True, nogil=True)
def spread(matrix: F32Array, leaves: F32Array, weight: F32Array) -> None:
    """Mass of the rows and columns whose candidate leaves (1 in `leaves`) goes evenly to all rows and columns."""
    k = len(matrix)
    share = _ONE / np.float32(k)
    weight[:] = np.float32(0)
    for i in range(k):
        if leaves[i] > 0:
            add(weight, matrix[i], share)
            matrix[i] = np.float32(0)
    for i in range(k):
        add(matrix[i], weight, _ONE)
        gone = dot(matrix[i], leaves) * share
        for j in range(k):
            matrix[i, j] = matrix[i, j] * (_ONE - leaves[j]) + gone


@numba.njit(cache=True, nogil=True)
def symmetrise(matrix: F32Array, rows: F32Array, columns: F32Array, out: F32Array, sums: F32Array) -> None:
    """out = the mean of the matrix and its transpose; sums = its row sums, which are its column sums."""
    for i in range(len(matrix)):
        sums[i] = _HALF * (rows[i] + columns[i])
        for j in range(len(matrix)):
            out[i, j] = _HALF * (matrix[i, j] + matrix[j, i])


@numba.njit(cache=True, nogil=True)
def _pick(values: F32Array, leave: F32Array, z: float) -> int:
    """The index at which the running sum of values * leave passes z; the last that has weight at the latest."""
    total, last = 0.0, 0
    for j in range(len(values)):
        w = np.float64(values[j]) * np.float64(leave[j])
        if w > 0:
            total += w
            last = j
            if total > z:
                return j
    return last


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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
