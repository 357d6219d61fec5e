"""Compiled haploid chains: both haplotypes of a sample copy from far more rows than pairs of candidates may be.

Given its phase a sample's haplotypes are independent, and a step of each costs as much as there are rows. A sweep goes
along the heterozygotes, from left to right: at each, whether it lies as it does, and whether all that follows stays
with the haplotype it is on or crosses to the other, is decided under forward values of what is left of it and backward
values of what is right. Crossing exchanges two backward values and changes neither, so one pass over the rows decides
at all heterozygotes; drawing from these four conditional probabilities is Gibbs sampling.

Rows change from window to window; the mass of those that leave is spread evenly. Backward values are kept at the ends
of windows and worked out again within them.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from vcfrag_core.phasing.pairs import uniform
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, U8Array, U64Array

_ZERO, _ONE = np.float32(0), np.float32(1)
_PURPOSE = 4
# What decides between equals must not be rounding.
_AS_LIKELY = 1.001
_TINY = 1e-300


class ChainModel(NamedTuple):
    """One sample, and the rows that its haplotypes may copy.

    Attributes:
        words: (H, W) alleles of all haplotypes at the M typed sites, site m being bit m & 63 of word m >> 6.
        rows: (N, R) rows of `words` in each window, ascending.
        sizes: (N,) how many of them there are.
        windows: (N + 1,) first site of each window, and M.
        genotypes: (M,) ALT copies, -1 missing.
        flips: (M,) whether a heterozygote may turn by itself.
        crosses: (M,) whether what follows a heterozygote may cross to the other haplotype.
        switch: (M,) probability of a switch before each site.
        mismatch: Probability that an allele differs from the copied one.
    """

    words: U64Array
    rows: I32Array
    sizes: I64Array
    windows: I64Array
    genotypes: I8Array
    flips: BoolArray
    crosses: BoolArray
    switch: F32Array
    mismatch: float


@numba.njit(cache=True, nogil=True, fastmath=True)
def _advance(
    pair: F32Array, column: U8Array, keep: F32Array, more: F32Array, emission: F32Array, totals: F32Array
) -> None:
    """pair[t, r] = (pair[t, r] * keep[t] + more[t]) * emission[t, column[r]], and their totals."""
    first, second = pair[0], pair[1]
    keep_0, keep_1, more_0, more_1 = keep[0], keep[1], more[0], more[1]
    ref_0, alt_0, ref_1, alt_1 = emission[0, 0], emission[0, 1], emission[1, 0], emission[1, 1]
    total_0, total_1 = _ZERO, _ZERO
    for r in range(len(column)):
        x = (first[r] * keep_0 + more_0) * (alt_0 if column[r] else ref_0)
        y = (second[r] * keep_1 + more_1) * (alt_1 if column[r] else ref_1)
        first[r], second[r] = x, y
        total_0 += x
        total_1 += y
    totals[0], totals[1] = total_0, total_1


@numba.njit(cache=True, nogil=True, fastmath=True)
def _apply(pair: F32Array, keep: F32Array, more: F32Array, out: F32Array) -> None:
    """out[t] = pair[t] * keep[t] + more[t]."""
    for t in range(2):
        values, result, factor, term = pair[t], out[t], keep[t], more[t]
        for r in range(len(values)):
            result[r] = values[r] * factor + term


@numba.njit(cache=True, nogil=True, fastmath=True)
def _meet(
    pair: F32Array, column: U8Array, keep: F32Array, more: F32Array, after: F32Array, other: F32Array, out: F64Array
) -> None:
    """out[t, u, a] = sum over the rows with allele a of (pair[t] * keep[t] + more[t]) * (after, other)[u]."""
    for t in range(2):
        values, factor, term = pair[t], keep[t], more[t]
        all_0, alt_0, all_1, alt_1 = _ZERO, _ZERO, _ZERO, _ZERO
        for r in range(len(column)):
            x = values[r] * factor + term
            y, z = x * after[r], x * other[r]
            is_alt = np.float32(column[r])
            all_0 += y
            all_1 += z
            alt_0 += y * is_alt
            alt_1 += z * is_alt
        out[t, 0, 0], out[t, 0, 1] = max(all_0 - alt_0, _ZERO), alt_0
        out[t, 1, 0], out[t, 1, 1] = max(all_1 - alt_1, _ZERO), alt_1


@numba.njit(cache=True, nogil=True)
def _weigh(met: F64Array, mismatch: float, out: F64Array) -> float:
    """out[a, u]: likelihood that the first haplotype has allele a and goes on as now, u = 0, or crosses; their sum."""
    right, wrong = 1.0 - mismatch, np.float64(mismatch)
    total = 0.0
    for a in range(2):
        for u in range(2):
            first = met[0, u, a] * right + met[0, u, 1 - a] * wrong
            second = met[1, 1 - u, 1 - a] * right + met[1, 1 - u, a] * wrong
            out[a, u] = first * second + _TINY
            total += out[a, u]
    return total


@numba.njit(cache=True, nogil=True)
def _choose(weights: F64Array, allele: int, greedy: bool, z: float) -> tuple[int, int]:
    """The allele of the first haplotype and whether to cross: the likeliest, or drawn by z in [0, 1)."""
    best_a, best_u = allele, 0
    if greedy:
        for a in range(2):
            for u in range(2):
                if weights[a, u] > weights[best_a, best_u] * _AS_LIKELY:
                    best_a, best_u = a, u
        return best_a, best_u
    z *= weights.sum()
    for a in range(2):
        for u in range(2):
            if weights[a, u] > 0:
                best_a, best_u = a, u
                z -= weights[a, u]
                if z < 0:
                    return a, u
    return best_a, best_u


@numba.njit(cache=True, nogil=True)
def _read_columns(words: U64Array, rows: I32Array, start: int, stop: int, out: U8Array) -> None:
    """out[m - start, r]: allele of row r at sites [start, stop)."""
    word = np.empty(len(rows), dtype=np.uint64)
    for m in range(start, stop):
        if m == start or m & 63 == 0:
            for r in range(len(rows)):
                word[r] = words[rows[r], m >> 6]
        column, shift = out[m - start], np.uint64(m & 63)
        for r in range(len(rows)):
            column[r] = np.uint8((word[r] >> shift) & np.uint64(1))


@numba.njit(cache=True, nogil=True)
def _emit(genotype: int, allele: int, mismatch: float, out: F32Array) -> None:
    """out[t, a]: probability of the call if haplotype t copies allele a; `allele` is that of the first one."""
    out[:] = _ONE
    if genotype >= 0:
        wrong = np.float32(mismatch)
        for t in range(2):
            own = genotype // 2 if genotype != 1 else (allele if t == 0 else 1 - allele)
            out[t, own], out[t, 1 - own] = _ONE - wrong, wrong


@numba.njit(cache=True, nogil=True)
def _back(model: ChainModel, w: int, columns: U8Array, phase: I8Array, pair: F32Array, kept: F32Array) -> None:
    """Backward values from after the last site of window w to before its first; those after heterozygotes to `kept`."""
    start, stop = model.windows[w], model.windows[w + 1]
    n = model.sizes[w]
    keep, more = np.ones(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
    totals, emission = np.empty(2, dtype=np.float32), np.empty((2, 2), dtype=np.float32)
    for m in range(stop - 1, start - 1, -1):
        if len(kept) and model.genotypes[m] == 1:
            _apply(pair, keep, more, kept[m - start])
        _emit(model.genotypes[m], phase[m], model.mismatch, emission)
        _advance(pair, columns[m - start], keep, more, emission, totals)
        for t in range(2):
            keep[t], more[t] = (_ONE - model.switch[m]) * np.float32(n) / totals[t], model.switch[m]
    _apply(pair, keep, more, pair)


@numba.njit(cache=True, nogil=True)
def _carry_forward(before: F32Array, rows: I32Array, new_rows: I32Array, out: F32Array) -> None:
    """Forward values of the rows of the next window, summing to 1: mass of those that leave goes evenly to all."""
    for t in range(2):
        total = np.float32(0)
        for value in before[t]:
            total += value
        left, i = np.float32(0), 0
        for j in range(len(new_rows)):
            while i < len(rows) and rows[i] < new_rows[j]:
                left += before[t, i]
                i += 1
            out[t, j] = np.float32(0)
            if i < len(rows) and rows[i] == new_rows[j]:
                out[t, j] = before[t, i]
                i += 1
        while i < len(rows):
            left += before[t, i]
            i += 1
        for j in range(len(new_rows)):
            out[t, j] = (out[t, j] + left / np.float32(len(new_rows))) / total


@numba.njit(cache=True, nogil=True)
def _carry_back(after: F32Array, new_rows: I32Array, rows: I32Array, out: F32Array) -> None:
    """Backward values of the rows of the window before: that of the row itself, or the mean where it leaves."""
    for t in range(2):
        mean = np.float32(0)
        for value in after[t]:
            mean += value / np.float32(len(new_rows))
        j = 0
        for i in range(len(rows)):
            while j < len(new_rows) and new_rows[j] < rows[i]:
                j += 1
            out[t, i] = after[t, j] if j < len(new_rows) and new_rows[j] == rows[i] else mean


@numba.njit(cache=True, nogil=True)
def _sweep_window(
    model: ChainModel, w: int, columns: U8Array, kept: F32Array, key: int, draw: int, greedy: bool, crossed: int,
    previous: int, phase: I8Array, pair: F32Array, same: F64Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Decides at the heterozygotes of window w, forward values going along.

    Args:
        crossed: 1 where what comes had been on the other haplotype.
        previous: Allele of the first haplotype at the heterozygote before, -1 at the first.

    Returns:
        `crossed` and `previous` after the window, and how many decisions changed something.
    """
    start, stop, n = model.windows[w], model.windows[w + 1], np.float32(model.sizes[w])
    keep, more = np.empty(2, dtype=np.float32), np.empty(2, dtype=np.float32)
    totals, emission = np.ones(2, dtype=np.float32), np.empty((2, 2), dtype=np.float32)
    met, weights = np.empty((2, 2, 2)), np.empty((2, 2))
    changes = 0
    for m in range(start, stop):
        switch = model.switch[m] if m else _ZERO
        for t in range(2):
            keep[t], more[t] = (_ONE - switch) / totals[t], switch / n
        if model.genotypes[m] == 1:
            column = columns[m - start]
            _meet(pair, column, keep, more, kept[m - start, crossed], kept[m - start, 1 - crossed], met)
            _weigh(met, model.mismatch, weights)
            allele = phase[m] ^ crossed
            if previous < 0 or not model.flips[m]:
                weights[1 - allele] = 0.0
            if not model.crosses[m]:
                weights[:, 1] = 0.0
            chosen, cross = _choose(weights, allele, greedy, uniform(key, draw, m, _PURPOSE))
            if previous >= 0:
                same[m] += weights[previous].sum() / weights.sum()
            changes += chosen != allele or cross
            crossed ^= cross
            phase[m] = previous = chosen
        _emit(model.genotypes[m], phase[m], model.mismatch, emission)
        _advance(pair, columns[m - start], keep, more, emission, totals)
    return crossed, previous, changes


@numba.njit(cache=True, nogil=True)
def sweep(model: ChainModel, key: int, greedy: bool, first_draw: int, phases: I8Array, same: F64Array) -> int:
    """One sweep over each of some phases of a sample.

    Args:
        model: The sample.
        key: Of the random numbers.
        greedy: Whether each decision is the likeliest one and not drawn.
        first_draw: Number of the first phase among the sample's draws.
        phases: (D, M) allele of the first haplotype at heterozygotes, changed in place.
        same: (M,) to which each phase adds the probability that a heterozygote has the allele of the one before, on
            the first haplotype; nothing at the first.

    Returns:
        How many decisions changed something.
    """
    n_windows, width = model.rows.shape
    longest = np.max(model.windows[1:] - model.windows[:-1])
    ends = np.ones((n_windows, len(phases), 2, width), dtype=np.float32)
    columns = np.empty((longest, width), dtype=np.uint8)
    kept, none = np.empty((longest, 2, width), dtype=np.float32), np.empty((0, 2, width), dtype=np.float32)
    pair, next_pair = np.empty((2, width), dtype=np.float32), np.empty((2, width), dtype=np.float32)
    for w in range(n_windows - 1, 0, -1):
        n, n_before = model.sizes[w], model.sizes[w - 1]
        _read_columns(model.words, model.rows[w, :n], model.windows[w], model.windows[w + 1], columns)
        for d in range(len(phases)):
            pair[:, :n] = ends[w, d, :, :n]
            _back(model, w, columns[:, :n], phases[d], pair[:, :n], none[:, :, :n])
            _carry_back(pair[:, :n], model.rows[w, :n], model.rows[w - 1, :n_before], ends[w - 1, d])
    forward = np.full((len(phases), 2, width), _ONE / np.float32(model.sizes[0]), dtype=np.float32)
    crossed, previous = np.zeros(len(phases), dtype=np.int64), np.full(len(phases), -1, dtype=np.int64)
    changes = 0
    for w in range(n_windows):
        n = model.sizes[w]
        _read_columns(model.words, model.rows[w, :n], model.windows[w], model.windows[w + 1], columns)
        for d in range(len(phases)):
            _back(model, w, columns[:, :n], phases[d], ends[w, d, :, :n], kept[:, :, :n])
            crossed[d], previous[d], changed = _sweep_window(
                model, w, columns[:, :n], kept[:, :, :n], key, first_draw + d, greedy, crossed[d], previous[d],
                phases[d], forward[d, :, :n], same,
            )  # fmt: skip
            changes += changed
            if w + 1 < n_windows:
                new = model.rows[w + 1, : model.sizes[w + 1]]
                _carry_forward(forward[d, :, :n], model.rows[w, :n], new, next_pair)
                forward[d, :, : len(new)] = next_pair[:, : len(new)]
    return changes


@numba.njit(cache=True, nogil=True)
def gather_rows(
    candidates: I32Array, borders: I64Array, n_rows: int, rows: I32Array, counts: I32Array, sizes: I64Array
) -> None:
    """Adds candidates to the rows of each window: those of it and the windows beside, the most frequent if too many.

    Args:
        candidates: (C, K) of each segment.
        borders: (N + 1,) first segment of each window, and C.
        n_rows: Rows there are.
        rows: (N, R) those of each window so far, ascending; changed in place.
        counts: (N, R) how often each was a candidate.
        sizes: (N,) how many there are.
    """
    count, seen = np.zeros(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int64)
    for w in range(len(borders) - 1):
        n = 0
        for i in range(sizes[w]):
            seen[n] = rows[w, i]
            count[seen[n]] = counts[w, i]
            n += 1
        for c in range(borders[max(0, w - 1)], borders[min(len(borders) - 1, w + 2)]):
            for row in candidates[c]:
                if count[row] == 0:
                    seen[n] = row
                    n += 1
                count[row] += 1
        chosen = np.sort(seen[:n])
        if n > rows.shape[1]:
            order = np.argsort(-count[chosen], kind="mergesort")
            chosen = np.sort(chosen[order[: rows.shape[1]]])
        sizes[w] = len(chosen)
        for i in range(len(chosen)):
            rows[w, i], counts[w, i] = chosen[i], count[chosen[i]]
        for i in range(n):
            count[seen[i]] = 0
