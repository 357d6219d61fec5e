"""Compiled diploid copying: pairs of candidates explain the genotypes of one sample, a block of sites at a time.

The state is an ordered pair of K candidates; F, the forward values, is a K by K matrix. A transition moves both
haplotypes independently, each with `stay` to the same candidate and with `leave` / K to any: so a step costs one
pass over F and its row and column sums. Sites close together form a block, in which nobody switches: within it
candidates with the same alleles are one class, and the likelihood of the block's genotypes is a table over pairs of
classes. Candidates may change from one segment of blocks to the next: who leaves is spread evenly over all.

Where some phase is known, the pair is ordered by it: within a phase set the first candidate is copied by the haplotype
that the set calls first. Where a set begins, either order is as likely as the other, and F is averaged with its
transpose.

Forward values are kept at the entries of groups of segments and worked out again, group by group, on the way back: the
first pass goes through one matrix, which stays in the processor's nearest memory.

Kernels handle one sample, release the GIL and depend on nothing but their arguments.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vcfrag_core.copying.carriers import padded
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.phasing.diploid.pairs import (
    add_columns,
    both_stay,
    draw_pair,
    draw_previous,
    enter,
    find_classes,
    likelihoods,
    read_pattern,
    read_patterns,
    step,
    symmetrise,
    uniform,
)
from vcfrag_core.phasing.diploid.vectors import add_row, dot_row
from vcfrag_core.types import F32Array, F64Array, I8Array, I32Array, I64Array, U64Array

_ZERO, _ONE = np.float32(0), np.float32(1)


class DiploidModel(NamedTuple):
    """Genotypes of one sample, and whom its haplotypes may copy.

    Attributes:
        words: (H, W) alleles of all haplotypes at the M typed sites, site m being bit m & 63 of word m >> 6.
        candidates: (C, K) rows of `words` for each segment; one that stays has the same place in both rows.
        blocks: (B + 1,) first site of each block, and M; at most 16 sites a block.
        segments: (C + 1,) first block of each segment, and B.
        groups: (N + 1,) first segment of each group, and C.
        genotypes: (M,) ALT copies, -1 missing.
        first: (M,) allele of the first haplotype where a heterozygote's phase is known within its set, else -1.
        fresh: (B,) 1 where a block begins a phase set.
        switch: (B,) probability of a switch before each block.
        mismatch: Probability that an allele differs from the copied one.
    """

    words: U64Array
    candidates: I32Array
    blocks: I64Array
    segments: I64Array
    groups: I64Array
    genotypes: I8Array
    first: I8Array
    fresh: I8Array
    switch: F32Array
    mismatch: float


class _Forward(NamedTuple):
    """Forward values of one group of segments: an entry for each segment, and one after each of its blocks.

    Attributes:
        values: (slots, K, padded(K)).
        rows, columns: (slots, K) their sums.
        totals: (slots,) the sums of these.
    """

    values: F32Array
    rows: F32Array
    columns: F32Array
    totals: F32Array


class _Scratch(NamedTuple):
    """Arrays that steps write to; those as wide as a row of the matrix have two axes."""

    exact: F64Array
    table: F32Array
    emission: F32Array
    mean: F32Array
    sums: F32Array
    column: F32Array
    stays: F32Array
    leave: F32Array
    previous: F32Array
    rows: F32Array
    columns: F32Array
    pattern: U64Array
    distinct: U64Array
    of: I64Array


@kernel
def _make_scratch(k: int) -> _Scratch:
    return _Scratch(
        np.empty((k, k), dtype=np.float64),
        np.empty((k, k), dtype=np.float32),
        np.zeros((k, padded(k)), dtype=np.float32),
        np.zeros((k, padded(k)), dtype=np.float32),
        np.empty(k, dtype=np.float32),
        np.zeros((1, padded(k)), dtype=np.float32),
        np.zeros((1, padded(k)), dtype=np.float32),
        np.empty(k, dtype=np.float32),
        np.empty(k, dtype=np.float32),
        np.empty(k, dtype=np.float32),
        np.empty(k, dtype=np.float32),
        np.empty(k, dtype=np.uint64),
        np.empty(k, dtype=np.uint64),
        np.empty(k, dtype=np.int64),
    )


@leaf
def _orient(
    one: int, other: int, start: int, stop: int, genotypes: I8Array, first: I8Array, flipped: int, mismatch: float,
    z: float, d: int, phases: I8Array,
) -> None:  # fmt: skip
    """Alleles of the first haplotype at the heterozygotes of a block, given what both copy there; z is used up bit by
    bit."""
    both_wrong = mismatch * mismatch / (mismatch * mismatch + (1.0 - mismatch) * (1.0 - mismatch))
    for m in range(start, stop):
        if genotypes[m] != 1:
            continue
        a = np.int8((one >> np.uint64(m - start)) & np.uint64(1))
        b = np.int8((other >> np.uint64(m - start)) & np.uint64(1))
        if first[m] >= 0:
            a = first[m]
        else:
            against = 0.5 if a == b else both_wrong
            if z < against:
                z /= against
                a = np.int8(1) - a
            else:
                z = (z - against) / (1.0 - against)
        phases[d, m] = a ^ np.int8(flipped)


@leaf
def _block(
    model: DiploidModel, b: int, c: int, h: int, to: int, symmetric: bool, forward: _Forward, scratch: _Scratch
) -> float:
    """Forward values after block b of segment c into slot `to`, from slot h; returns the block's log likelihood."""
    start, stop = model.blocks[b], model.blocks[b + 1]
    read_patterns(model.words, model.candidates[c], start, stop, scratch.pattern)
    n = find_classes(scratch.pattern, scratch.distinct, scratch.of)
    genotypes, first = model.genotypes[start:stop], model.first[start:stop]
    largest = likelihoods(scratch.distinct, n, genotypes, first, model.mismatch, scratch.exact, scratch.table)
    source, rows, columns = forward.values[h], forward.rows[h], forward.columns[h]
    if model.fresh[b] == 1 and not symmetric:
        symmetrise(source, rows, columns, scratch.mean, scratch.sums)
        source, rows, columns = scratch.mean, scratch.sums, scratch.sums
    forward.totals[to] = step(
        source, rows, columns, forward.totals[h], model.switch[b], scratch.table, scratch.of, n, scratch.emission,
        scratch.column, symmetric, forward.values[to], forward.rows[to], forward.columns[to],
    )  # fmt: skip
    return largest + float(np.log(np.float64(forward.totals[to])))


@kernel
def _make_slots(n: int, k: int) -> _Forward:
    return _Forward(
        np.empty((n, k, padded(k)), dtype=np.float32),
        np.empty((n, k), dtype=np.float32),
        np.empty((n, k), dtype=np.float32),
        np.empty(n, dtype=np.float32),
    )


@leaf
def _copy_slot(source: _Forward, at: int, target: _Forward, to: int) -> None:
    """target[to] = source[at]."""
    for i in range(source.values.shape[1]):
        for j in range(source.values.shape[2]):
            target.values[to, i, j] = source.values[at, i, j]
        target.rows[to, i], target.columns[to, i] = source.rows[at, i], source.columns[at, i]
    target.totals[to] = source.totals[at]


@leaf
def _enter_segment(
    model: DiploidModel, c: int, before: int, at: int, leaves: F32Array, symmetric: bool, forward: _Forward,
    scratch: _Scratch,
) -> None:  # fmt: skip
    """The entry of segment c into a slot, from the last values of the segment before it in another."""
    k = model.candidates.shape[1]
    if c == 0:
        forward.values[at] = np.float32(1.0 / k / k)
        forward.rows[at] = forward.columns[at] = np.float32(1.0 / k)
        forward.totals[at] = _ONE
        return
    forward.totals[at] = enter(
        forward.values[before], forward.totals[before], leaves[c], symmetric, scratch.column, scratch.stays,
        forward.values[at], forward.rows[at],
    )  # fmt: skip
    add_columns(forward.values[at], forward.rows[at], symmetric, scratch.column, forward.columns[at])


@leaf
def _forward_entries(
    model: DiploidModel, leaves: F32Array, symmetric: bool, entries: _Forward, forward: _Forward, scratch: _Scratch
) -> float:
    """Fills the entries of all groups; returns the log likelihood. All values go through one slot."""
    log_likelihood, g = 0.0, 0
    for c in range(len(model.candidates)):
        _enter_segment(model, c, 0, 0, leaves, symmetric, forward, scratch)
        if c == model.groups[g]:
            _copy_slot(forward, 0, entries, g)
            g += 1
        for b in range(model.segments[c], model.segments[c + 1]):
            log_likelihood += _block(model, b, c, 0, 0, symmetric, forward, scratch)
    return log_likelihood


@leaf
def _forward_group(
    model: DiploidModel, g: int, slots: I64Array, leaves: F32Array, symmetric: bool, entries: _Forward,
    forward: _Forward, scratch: _Scratch,
) -> None:  # fmt: skip
    """Forward values of a group of segments from its entry, each in its slot."""
    last = 0
    for c in range(model.groups[g], model.groups[g + 1]):
        at = slots[c]
        if c == model.groups[g]:
            _copy_slot(entries, g, forward, at)
        else:
            _enter_segment(model, c, last, at, leaves, symmetric, forward, scratch)
        for b in range(model.segments[c], model.segments[c + 1]):
            _block(model, b, c, at, at + 1, symmetric, forward, scratch)
            at += 1
        last = at


@leaf
def _draw_last(key: int, n_blocks: int, values: F32Array, rows: F32Array, total: float, pairs: I64Array) -> None:
    """The pairs that the draws copy in the last block."""
    for d in range(len(pairs)):
        pairs[d, 0], pairs[d, 1] = draw_pair(values, rows, uniform(key, d, n_blocks, 0) * np.float64(total))


@leaf
def _draw_before_segment(
    key: int, block: int, values: F32Array, leaves: F32Array, symmetric: bool, pairs: I64Array, scratch: _Scratch
) -> None:
    """The pairs before candidates changed, from those after: who is new was nobody, or one of those gone."""
    gone, total = leaves[0], _ZERO
    k = len(values)
    scratch.column[:] = _ZERO
    for i in range(k):
        scratch.rows[i] = dot_row(values, i, k, leaves)
        if gone[i] > 0:
            total += scratch.rows[i]
            if not symmetric:
                add_row(scratch.column, values, i, k, _ONE)
    for j in range(k):
        scratch.columns[j] = scratch.rows[j] if symmetric else scratch.column[0, j]
        scratch.leave[j] = gone[j]
    for d in range(len(pairs)):
        x, y = pairs[d, 0], pairs[d, 1]
        pairs[d, 0], pairs[d, 1] = draw_previous(
            values, scratch.previous, scratch.leave, scratch.rows, scratch.columns, total, x, y, _ONE - gone[x],
            _ONE - gone[y], uniform(key, d, block, 1),
        )  # fmt: skip


@leaf
def _draw_before_block(
    key: int, b: int, switch: float, is_fresh: bool, h: int, forward: _Forward, pairs: I64Array, flipped: I64Array,
    scratch: _Scratch,
) -> None:  # fmt: skip
    """The pairs before block b, from those within it; where it begins a phase set, who of them was called first."""
    values, rows, columns = forward.values[h], forward.rows[h], forward.columns[h]
    source = values
    if is_fresh:
        symmetrise(values, rows, columns, scratch.mean, scratch.sums)
        source, rows, columns = scratch.mean, scratch.sums, scratch.sums
    scratch.leave[:] = switch
    for i in range(len(rows)):
        scratch.rows[i] = rows[i] * switch
        scratch.columns[i] = columns[i] * switch
    total, stay = forward.totals[h] * switch * switch, _ONE - switch
    for d in range(len(pairs)):
        x, y, z = pairs[d, 0], pairs[d, 1], uniform(key, d, b, 0)
        if not both_stay(source, scratch.rows, scratch.columns, total, x, y, stay, stay, z):
            x, y = draw_previous(
                source, scratch.previous, scratch.leave, scratch.rows, scratch.columns, total, x, y, stay, stay, z
            )
        if is_fresh:
            kept, turned = np.float64(values[x, y]), np.float64(values[y, x])
            if uniform(key, d, b, 3) * (kept + turned) >= kept:
                x, y = y, x
                flipped[d] = 1 - flipped[d]
        pairs[d, 0], pairs[d, 1] = x, y


@leaf
def _draw_block(
    model: DiploidModel, key: int, b: int, candidates: I32Array, pairs: I64Array, flipped: I64Array,
    phases: I8Array, copied: I32Array,
) -> None:  # fmt: skip
    """Whom the draws copy in block b, and the phases there."""
    start, stop = model.blocks[b], model.blocks[b + 1]
    for d in range(len(pairs)):
        one, other = candidates[pairs[d, 0]], candidates[pairs[d, 1]]
        copied[d, b, flipped[d]], copied[d, b, 1 - flipped[d]] = one, other
        _orient(
            read_pattern(model.words, one, start, stop), read_pattern(model.words, other, start, stop), start, stop,
            model.genotypes, model.first, flipped[d], np.float64(model.mismatch), uniform(key, d, b, 2), d, phases,
        )  # fmt: skip


@kernel
def draw_phases(model: DiploidModel, key: int, phases: I8Array, copied: I32Array) -> float:
    """Draws phases of one sample from the posterior of diploid copying.

    Args:
        model: The sample.
        key: Of the random numbers.
        phases: (D, M) filled with the allele of the first haplotype at heterozygotes; others are left as they are.
        copied: (D, B, 2) filled with the haplotypes that each draw copies.

    Returns:
        The log likelihood.
    """
    n_segments, k = model.candidates.shape
    n_groups = len(model.groups) - 1
    slots, n_slots = _lay_slots(model.segments, model.groups)
    symmetric = not np.any((model.genotypes == 1) & (model.first >= 0))
    leaves = np.zeros((n_segments + 1, 1, padded(k)), dtype=np.float32)
    leaves[1:n_segments, 0, :k] = model.candidates[1:] != model.candidates[:-1]
    entries, forward = _make_slots(n_groups, k), _make_slots(n_slots, k)
    scratch = _make_scratch(k)
    pairs, flipped = np.empty((len(phases), 2), dtype=np.int64), np.zeros(len(phases), dtype=np.int64)
    log_likelihood = _forward_entries(model, leaves, symmetric, entries, forward, scratch)
    for g in range(n_groups - 1, -1, -1):
        _forward_group(model, g, slots, leaves, symmetric, entries, forward, scratch)
        for c in range(model.groups[g + 1] - 1, model.groups[g] - 1, -1):
            begin, end = model.segments[c], model.segments[c + 1]
            last = slots[c] + end - begin
            if c == n_segments - 1:
                _draw_last(key, end, forward.values[last], forward.rows[last], forward.totals[last], pairs)
            else:
                _draw_before_segment(key, end, forward.values[last], leaves[c + 1], symmetric, pairs, scratch)
            for b in range(end - 1, begin - 1, -1):
                _draw_block(model, key, b, model.candidates[c], pairs, flipped, phases, copied)
                is_fresh = model.fresh[b] == 1 and not symmetric
                h = slots[c] + b - begin
                _draw_before_block(key, b, model.switch[b], is_fresh, h, forward, pairs, flipped, scratch)
    return log_likelihood


@kernel
def _lay_slots(segments: I64Array, groups: I64Array) -> tuple[I64Array, int]:
    """(C,) slot of each segment's entry within its group, and the slots of the largest group."""
    slots = np.empty(len(segments) - 1, dtype=np.int64)
    most = 0
    for g in range(len(groups) - 1):
        used = 0
        for c in range(groups[g], groups[g + 1]):
            slots[c] = used
            used += segments[c + 1] - segments[c] + 1
        most = max(most, used)
    return slots, most


@kernel
def count_mismatches(
    words: U64Array, blocks: I64Array, genotypes: I8Array, phases: I8Array, copied: I32Array
) -> tuple[int, int]:
    """Alleles of the draws' haplotypes that differ from the copied ones, and all that are called."""
    wrong = alleles = 0
    for d in range(len(copied)):
        for b in range(len(blocks) - 1):
            one, other = words[copied[d, b, 0]], words[copied[d, b, 1]]
            for m in range(blocks[b], blocks[b + 1]):
                if genotypes[m] < 0:
                    continue
                word, shift = m >> 6, np.uint64(m & 63)
                first, second = phases[d, m], genotypes[m] - phases[d, m]
                wrong += first != np.int8((one[word] >> shift) & np.uint64(1))
                wrong += second != np.int8((other[word] >> shift) & np.uint64(1))
                alleles += 2
    return wrong, alleles
