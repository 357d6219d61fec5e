"""Compiled haploid chains: both haplotypes of a sample copy from far more rows than pairs of candidates may be.

Given its phase a sample's haplotypes are independent, and a step of each costs as much as there are rows. A sweep goes
along the heterozygotes, from left to right: at each, whether it lies as it does, and whether all that follows stays
with the haplotype it is on or crosses to the other, is decided under forward values of what is left of it and backward
values of what is right. Crossing exchanges two backward values and changes neither, so one pass over the rows decides
at all heterozygotes; drawing from these four conditional probabilities is Gibbs sampling.

A step is of a few sites, of which only the last may be heterozygous, and nobody switches within it. What the
homozygous calls say of a row is then one number, the same for both haplotypes and for every phase.

Rows change from window to window; the mass of those that leave is spread evenly. Backward values are kept at the ends
of windows and worked out again within them.

Arrays are as wide as the most rows of a window and a kernel is told how many there are: a slice of several rows would
not be known to lie without gaps, and its loops would not be vectorised.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf, reordered_leaf
from vcfrag_core.phasing.diploid.pairs import uniform
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, U64Array

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_PURPOSE = 4
# Whose alleles in a step are a number below two to the power of this: a place in a table.
MAX_STEP_SITES = 8
# What decides between equals must not be rounding.
_AS_LIKELY = 1.001
_TINY = 1e-300


class ChainModel(NamedTuple):
    """One sample, and the rows that its haplotypes may copy.

    Attributes:
        words: (H, W) alleles of all haplotypes at the M typed sites, site m being bit m & 63 of word m >> 6.
        rows: (N, R) rows of `words` in each window, ascending.
        sizes: (N,) how many of them there are.
        steps: (B + 1,) first site of each step, and M; none but the last site of a step is heterozygous.
        windows: (N + 1,) first step of each window, and B.
        genotypes: (M,) ALT copies, -1 missing.
        flips: (M,) whether a heterozygote may turn by itself.
        crosses: (M,) whether what follows a heterozygote may cross to the other haplotype.
        switch: (B,) probability of a switch before each step.
        mismatch: Probability that an allele differs from the copied one.
    """

    words: U64Array
    rows: I32Array
    sizes: I64Array
    steps: I64Array
    windows: I64Array
    genotypes: I8Array
    flips: BoolArray
    crosses: BoolArray
    switch: F32Array
    mismatch: float


class _Scratch(NamedTuple):
    """What steps write to.

    Attributes:
        keep, more, totals: (2,) factors and terms of a transition, and totals of both haplotypes.
        emission: (2, 2) see `_emit`.
        met: (2, 2, 2) see `_meet`.
        weights: (2, 2) see `_weigh`.
    """

    keep: F32Array
    more: F32Array
    totals: F32Array
    emission: F32Array
    met: F64Array
    weights: F64Array


@kernel
def _make_scratch() -> _Scratch:
    return _Scratch(
        np.empty(2, dtype=np.float32),
        np.empty(2, dtype=np.float32),
        np.empty(2, dtype=np.float32),
        np.empty((2, 2), dtype=np.float32),
        np.empty((2, 2, 2), dtype=np.float64),
        np.empty((2, 2), dtype=np.float64),
    )


@reordered_leaf
def _advance(
    n: int, pair: F32Array, signed: F32Array, keep: F32Array, more: F32Array, emission: F32Array, totals: F32Array
) -> None:
    """pair[t, r] = (pair[t, r] * keep[t] + more[t]) times the probability of the step's calls, and their totals.

    Args:
        n: How many rows there are.
        pair: (2, R) values of both haplotypes.
        signed: (R,) see `_read_steps`.
        keep, more: (2,) factors and terms of the transition.
        emission: (2, 2) probability of the last site's call by haplotype and allele of the row; 1 where that is not
            heterozygous.
        totals: (2,) filled.
    """
    first, second = pair[0][:n], pair[1][:n]
    keep_0, keep_1, more_0, more_1 = keep[0], keep[1], more[0], more[1]
    mean_0, mean_1 = (emission[0, 0] + emission[0, 1]) * _HALF, (emission[1, 0] + emission[1, 1]) * _HALF
    half_0, half_1 = (emission[0, 1] - emission[0, 0]) * _HALF, (emission[1, 1] - emission[1, 0]) * _HALF
    total_0, total_1 = _ZERO, _ZERO
    for r in range(n):
        h = signed[r]
        size = abs(h)
        x = (first[r] * keep_0 + more_0) * (size * mean_0 + h * half_0)
        y = (second[r] * keep_1 + more_1) * (size * mean_1 + h * half_1)
        first[r], second[r] = x, y
        total_0 += x
        total_1 += y
    totals[0], totals[1] = total_0, total_1


@reordered_leaf
def _apply(n: int, pair: F32Array, keep: F32Array, more: F32Array, out: F32Array) -> None:
    """out[t] = pair[t] * keep[t] + more[t] for n rows."""
    for t in range(2):
        values, result, factor, term = pair[t][:n], out[t][:n], keep[t], more[t]
        for r in range(n):
            result[r] = values[r] * factor + term


@reordered_leaf
def _meet(
    n: int, pair: F32Array, signed: F32Array, keep: F32Array, more: F32Array, after: F32Array, other: F32Array,
    out: F64Array,
) -> None:  # fmt: skip
    """out[t, u, a]: what values t, gone on to this step, and (after, other)[u] make over the rows with allele a."""
    for t in range(2):
        values, factor, term = pair[t][:n], keep[t], more[t]
        all_0, more_alt_0, all_1, more_alt_1 = _ZERO, _ZERO, _ZERO, _ZERO
        for r in range(n):
            h = signed[r]
            size = abs(h)
            x = values[r] * factor + term
            y, z = x * after[r], x * other[r]
            all_0 += y * size
            all_1 += z * size
            more_alt_0 += y * h
            more_alt_1 += z * h
        out[t, 0, 0], out[t, 0, 1] = max(all_0 - more_alt_0, _ZERO), max(all_0 + more_alt_0, _ZERO)
        out[t, 1, 0], out[t, 1, 1] = max(all_1 - more_alt_1, _ZERO), max(all_1 + more_alt_1, _ZERO)


@leaf
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


@leaf
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


@kernel
def lay_steps(
    cm: F64Array, genotypes: I8Array, borders: I64Array, max_sites: int, max_cm: float
) -> tuple[I64Array, I64Array]:
    """Divides sites into steps, each ending where a site is heterozygous at the latest.

    Args:
        cm: (M,) genetic positions.
        genotypes: (M,) ALT copies, -1 missing.
        borders: (N + 1,) first site of each window, and M.
        max_sites, max_cm: So long is a step at most; no more than MAX_STEP_SITES.

    Returns:
        (B + 1,) first site of each step, and M; (N + 1,) first step of each window, and B.
    """
    steps, windows = np.empty(len(cm) + 1, dtype=np.int64), np.empty(len(borders), dtype=np.int64)
    n = 0
    for w in range(len(borders) - 1):
        windows[w], start = n, -1
        for m in range(borders[w], borders[w + 1]):
            if start < 0 or genotypes[m - 1] == 1 or m - start == max_sites or cm[m] - cm[start] > max_cm:
                steps[n] = start = m
                n += 1
    steps[n], windows[-1] = len(cm), n
    return steps[: n + 1].copy(), windows


@kernel
def _read_steps(model: ChainModel, w: int, signed: F32Array) -> None:
    """signed[s, r]: probability of the homozygous calls of step s of window w if row r is copied, up to a factor
    of the step; negative where the row has REF at the step's last site."""
    rows = model.rows[w, : model.sizes[w]]
    begin, end = model.windows[w], model.windows[w + 1]
    first = model.steps[begin] >> 6
    words = np.zeros((((model.steps[end] - 1) >> 6) - first + 2, len(rows)), dtype=np.uint64)
    for r in range(len(rows)):
        for i in range(len(words) - 1):
            words[i, r] = model.words[rows[r], first + i]
    table = np.empty(1 << MAX_STEP_SITES, dtype=np.float32)
    for b in range(begin, end):
        start, stop = model.steps[b], model.steps[b + 1]
        _tabulate(model.genotypes[start:stop], np.float32(model.mismatch / (1.0 - model.mismatch)), table)
        word = (start >> 6) - first
        _look_up(words[word], words[word + 1], start & 63, stop - start, table, signed[b - begin][: len(rows)])


@leaf
def _tabulate(genotypes: I8Array, ratio: float, table: F32Array) -> None:
    """table[pattern]: for alleles of a step, bit by bit, what `_read_steps` says of a row that has them."""
    n = len(genotypes)
    for pattern in range(1 << n):
        value = _ONE
        for m in range(n):
            if genotypes[m] >= 0 and genotypes[m] != 1 and genotypes[m] >> 1 != pattern >> m & 1:
                value *= ratio
        table[pattern] = value if pattern >> (n - 1) & 1 else -value


@leaf
def _look_up(low: U64Array, high: U64Array, shift: int, n: int, table: F32Array, out: F32Array) -> None:
    """out[r]: the table at the n bits from `shift` on in the words of row r."""
    mask, right = (np.uint64(1) << np.uint64(n)) - np.uint64(1), np.uint64(shift)
    if shift + n <= 64:
        for r in range(len(out)):
            out[r] = table[(low[r] >> right) & mask]
    else:
        left = np.uint64(64 - shift)
        for r in range(len(out)):
            out[r] = table[((low[r] >> right) | (high[r] << left)) & mask]
    # Where every row disagrees often, the numbers must not become too small.
    total = _total_size(out)
    if total < _ONE:
        for r in range(len(out)):
            out[r] /= total


@reordered_leaf
def _total_size(values: F32Array) -> float:
    total = _ZERO
    for value in values:
        total += abs(value)
    return total


@leaf
def _emit(is_het: bool, allele: int, mismatch: float, out: F32Array) -> None:
    """out[t, a]: probability of the last call of a step if haplotype t copies allele a, that of the first one being
    `allele`; of what is homozygous the rows know."""
    out[:] = _ONE
    if is_het:
        wrong = np.float32(mismatch)
        for t in range(2):
            own = allele if t == 0 else 1 - allele
            out[t, own], out[t, 1 - own] = _ONE - wrong, wrong


@leaf
def _back(
    model: ChainModel, w: int, signed: F32Array, phase: I8Array, pair: F32Array, kept: F32Array, scratch: _Scratch
) -> None:
    """Backward values from after the last step of window w to before its first; those after heterozygotes to `kept`."""
    start, stop = model.windows[w], model.windows[w + 1]
    n = model.sizes[w]
    keep, more, totals, emission = scratch.keep, scratch.more, scratch.totals, scratch.emission
    for t in range(2):
        keep[t], more[t] = _ONE, _ZERO
    for b in range(stop - 1, start - 1, -1):
        last = model.steps[b + 1] - 1
        is_het = model.genotypes[last] == 1
        if len(kept) and is_het:
            _apply(n, pair, keep, more, kept[b - start])
        _emit(is_het, phase[last], model.mismatch, emission)
        _advance(n, pair, signed[b - start], keep, more, emission, totals)
        for t in range(2):
            keep[t], more[t] = (_ONE - model.switch[b]) * np.float32(n) / totals[t], model.switch[b]
    _apply(n, pair, keep, more, pair)


@leaf
def _carry_forward(values: F32Array, rows: I32Array, new_rows: I32Array, out: F32Array) -> None:
    """Forward values of the rows of the next window, summing to 1: mass of those that leave goes evenly to all."""
    for t in range(2):
        before, total = values[t], np.float32(0)
        for i in range(len(rows)):
            total += before[i]
        left, i = np.float32(0), 0
        for j in range(len(new_rows)):
            while i < len(rows) and rows[i] < new_rows[j]:
                left += before[i]
                i += 1
            out[t, j] = np.float32(0)
            if i < len(rows) and rows[i] == new_rows[j]:
                out[t, j] = before[i]
                i += 1
        while i < len(rows):
            left += before[i]
            i += 1
        for j in range(len(new_rows)):
            out[t, j] = (out[t, j] + left / np.float32(len(new_rows))) / total


@leaf
def _carry_back(values: F32Array, new_rows: I32Array, rows: I32Array, out: F32Array) -> None:
    """Backward values of the rows of the window before: that of the row itself, or the mean where it leaves."""
    for t in range(2):
        after, mean = values[t], np.float32(0)
        for j in range(len(new_rows)):
            mean += after[j] / np.float32(len(new_rows))
        j = 0
        for i in range(len(rows)):
            while j < len(new_rows) and new_rows[j] < rows[i]:
                j += 1
            out[t, i] = after[j] if j < len(new_rows) and new_rows[j] == rows[i] else mean


@leaf
def _sweep_window(
    model: ChainModel, w: int, signed: F32Array, kept: F32Array, key: int, draw: int, greedy: bool, crossed: int,
    previous: int, phase: I8Array, pair: F32Array, same: F64Array, scratch: _Scratch,
) -> tuple[int, int, int]:  # fmt: skip
    """Decides at the heterozygotes of window w, forward values going along.

    Args:
        crossed: 1 where what comes had been on the other haplotype.
        previous: Allele of the first haplotype at the heterozygote before, -1 at the first.

    Returns:
        `crossed` and `previous` after the window, and how many decisions changed something.
    """
    start, stop, n = model.windows[w], model.windows[w + 1], model.sizes[w]
    keep, more, totals, emission = scratch.keep, scratch.more, scratch.totals, scratch.emission
    met, weights = scratch.met, scratch.weights
    for t in range(2):
        totals[t] = _ONE
    changes = 0
    for b in range(start, stop):
        switch = model.switch[b] if b else _ZERO
        for t in range(2):
            keep[t], more[t] = (_ONE - switch) / totals[t], switch / np.float32(n)
        m = model.steps[b + 1] - 1
        is_het = model.genotypes[m] == 1
        if is_het:
            here = kept[b - start]
            _meet(n, pair, signed[b - start], keep, more, here[crossed], here[1 - crossed], met)
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
        _emit(is_het, phase[m], model.mismatch, emission)
        _advance(n, pair, signed[b - start], keep, more, emission, totals)
    return crossed, previous, changes


@kernel
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
    signed = np.empty((longest, width), dtype=np.float32)
    kept, none = np.empty((longest, 2, width), dtype=np.float32), np.empty((0, 2, width), dtype=np.float32)
    pair, next_pair = np.empty((2, width), dtype=np.float32), np.empty((2, width), dtype=np.float32)
    scratch = _make_scratch()
    for w in range(n_windows - 1, 0, -1):
        n, n_before = model.sizes[w], model.sizes[w - 1]
        _read_steps(model, w, signed)
        for d in range(len(phases)):
            pair[:] = ends[w, d]
            _back(model, w, signed, phases[d], pair, none, scratch)
            _carry_back(pair, model.rows[w, :n], model.rows[w - 1, :n_before], ends[w - 1, d])
    forward = np.full((len(phases), 2, width), _ONE / np.float32(model.sizes[0]), dtype=np.float32)
    crossed, previous = np.zeros(len(phases), dtype=np.int64), np.full(len(phases), -1, dtype=np.int64)
    changes = 0
    for w in range(n_windows):
        n = model.sizes[w]
        _read_steps(model, w, signed)
        for d in range(len(phases)):
            _back(model, w, signed, phases[d], ends[w, d], kept, scratch)
            crossed[d], previous[d], changed = _sweep_window(
                model, w, signed, kept, key, first_draw + d, greedy, crossed[d], previous[d], phases[d], forward[d],
                same, scratch,
            )  # fmt: skip
            changes += changed
            if w + 1 < n_windows:
                new = model.rows[w + 1, : model.sizes[w + 1]]
                _carry_forward(forward[d], model.rows[w, :n], new, next_pair)
                forward[d, :, : len(new)] = next_pair[:, : len(new)]
    return changes
