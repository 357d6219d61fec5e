"""The k nearest from distinct patterns: compiled loops.

Each pattern of a short range is compared once and stands for its rows; a distance over a long range is the sum of those
over its parts. Of a segment's patterns those alone are added up whose left part leaves a chance; of those that tie at
the k-th distance, patterns of the enclosing range are looked at, and rows last of all. What is answered is what
`vcfrag_core.retrieval.order` says, to the bit. All functions release the GIL.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.search.distinct import HEAD
from vcfrag_core.search.lanes import LANES, add_rows, turn_square
from vcfrag_core.search.select import emit, first_by_hash, splitmix64
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U8Array, U64Array

_FAR = 2**31 - 1


class SegmentPatterns(NamedTuple):
    """The n patterns of a segment's R rows, in the order of those of its left part, and what lies under each.

    Attributes:
        left, right: Entries of pattern 0 of its two parts among a query's distances.
        n_right: Patterns of the right part.
        left_starts: (L + 1,) first pattern of each pattern of the left part.
        rights: (n,) pattern of the right part of each.
        sizes: (n,) rows of each.
        wide_starts: (n + 1,) first enclosing pattern of each, whose patterns these divide.
        wide_parts: (W, parts) entries that the distance of an enclosing pattern is the sum of.
        near_of_wide: (W,) pattern of each enclosing one.
        row_starts: (W + 1,) first row of each enclosing pattern.
        rows: (R,) rows by enclosing pattern, as `distinct.bring_heads_forward` leaves them.
        wide_of_row: (R,) enclosing pattern of each row.
    """

    left: int
    right: int
    n_right: int
    left_starts: I32Array
    rights: I32Array
    sizes: I32Array
    wide_starts: I32Array
    wide_parts: I32Array
    near_of_wide: I32Array
    row_starts: I32Array
    rows: I32Array
    wide_of_row: I32Array


class _Unseen(NamedTuple):
    """Rows that a query may not see: which, and how many of each pattern and of each enclosing one."""

    rows: U8Array
    by_near: I32Array
    by_wide: I32Array


class _Found(NamedTuple):
    """Patterns and their distances, as many as there are; and room for the k smallest of these."""

    patterns: I32Array
    distances: I32Array
    smallest: I32Array
    counts: I64Array


class _Candidates(NamedTuple):
    """As of `vcfrag_core.search.select`, and the keys of all rows with the segment's hash."""

    rows: I64Array
    near: I64Array
    wide: I64Array
    hashes: U64Array
    keys: U64Array
    segment_hash: np.uint64


@kernel
def fill_distances(
    alleles: U8Array, called: U8Array, nodes: I32Array, costs: I32Array, lefts: I32Array, rights: I32Array,
    distances: I32Array,
) -> None:  # fmt: skip
    """Distances of queries from the patterns of every node, of LANES queries at a time.

    Args:
        alleles, called: (Q, B) query strips.
        nodes: (n, 5) of each node: its first entry and the one after its last; of a leaf its number and its two bytes
            of the strip, of a sum of two nodes -1 first.
        costs: (leaves, 2, 256) cost of the differences of each byte of each leaf.
        lefts: (N,) of a leaf's entry its bits, else the entry of the left node that it is a sum of.
        rights: (N,) the entry of the right one.
        distances: (Q, N) filled.
    """
    n_queries, n_entries = len(alleles), len(lefts)
    some = np.empty((n_entries, LANES), dtype=np.int32)
    mine, counted = np.zeros(LANES, dtype=np.int32), np.zeros(LANES, dtype=np.int32)
    for begin in range(0, n_queries, LANES):
        stop = min(begin + LANES, n_queries)
        for node in range(len(nodes)):
            first, last, leaf, low, high = nodes[node]
            if leaf < 0:
                for p in range(first, last):
                    add_rows(some, p, lefts[p], rights[p])
                continue
            for q in range(begin, stop):
                mine[q - begin] = np.int32(alleles[q, low]) | np.int32(alleles[q, high]) << 8
                counted[q - begin] = np.int32(called[q, low]) | np.int32(called[q, high]) << 8
            for p in range(first, last):
                for q in range(LANES):
                    differs = (lefts[p] ^ mine[q]) & counted[q]
                    some[p, q] = costs[leaf, 0, differs & 255] + costs[leaf, 1, differs >> 8]
        whole = n_entries // LANES * LANES if stop - begin == LANES else 0
        for p in range(0, whole, LANES):
            turn_square(some, p, distances, begin, p)
        for p in range(whole, n_entries):
            for q in range(begin, stop):
                distances[q, p] = some[p, q - begin]


@leaf
def _note(value: int, count: int, k: int, values: I32Array, counts: I64Array, n: int, total: int) -> tuple[int, int]:
    """Keeps the smallest values whose counts together reach k; returns how many they are and the sum of counts."""
    at = n
    while at > 0 and values[at - 1] > value:
        values[at], counts[at] = values[at - 1], counts[at - 1]
        at -= 1
    values[at], counts[at] = value, count
    n, total = n + 1, total + count
    while total - counts[n - 1] >= k:
        n -= 1
        total -= counts[n]
    return n, total


@leaf
def _near(distances: I32Array, q: int, of: SegmentPatterns, unseen: _Unseen, k: int, found: _Found) -> tuple[int, int]:
    """Finds patterns that may hold the k nearest: how many, and a distance that none of the k exceeds."""
    least, best = _FAR, 0
    for b in range(of.right, of.right + of.n_right):
        least = min(least, distances[q, b])
    for a in range(len(of.left_starts) - 1):
        best = a if distances[q, of.left + a] < distances[q, of.left + best] else best
    n, filled, total, bound = 0, 0, 0, _FAR
    # The best left part first, so that the bound is low from the start.
    for turn in range(-1, len(of.left_starts) - 1):
        a = best if turn < 0 else turn
        d = distances[q, of.left + a]
        if d + least > bound or turn == best:
            continue
        for p in range(of.left_starts[a], of.left_starts[a + 1]):
            value = d + distances[q, of.right + of.rights[p]]
            size = of.sizes[p] - unseen.by_near[p]
            if value > bound or size == 0:
                continue
            found.patterns[n], found.distances[n] = p, value
            n += 1
            if value < bound:
                filled, total = _note(value, size, k, found.smallest, found.counts, filled, total)
                bound = found.smallest[filled - 1] if total >= k else _FAR
    return n, bound


@leaf
def _wide(distances: I32Array, q: int, parts: I32Array, w: int) -> int:
    """Distance of a query from an enclosing pattern."""
    total = 0
    for part in range(parts.shape[1]):
        total += distances[q, parts[w, part]]
    return total


@leaf
def _take(
    some: I32Array, start: int, stop: int, near: int, wide: int, unseen: _Unseen, into: _Candidates, n: int
) -> int:
    """Appends those of rows [start, stop) that the query may see to n candidates; returns how many there are then."""
    for i in range(start, stop):
        r = some[i]
        if unseen.rows[r] == 0:
            into.rows[n], into.near[n], into.wide[n] = r, near, wide
            into.hashes[n] = splitmix64(into.keys[r] ^ into.segment_hash)
            n += 1
    return n


@leaf
def _take_nearer(
    distances: I32Array, q: int, of: SegmentPatterns, unseen: _Unseen, near: _Found, n_near: int, bound: int,
    into: _Candidates,
) -> int:  # fmt: skip
    """Takes the rows of patterns below the bound, which are fewer than k."""
    n = 0
    for i in range(n_near):
        if near.distances[i] < bound:
            for w in range(of.wide_starts[near.patterns[i]], of.wide_starts[near.patterns[i] + 1]):
                wide = _wide(distances, q, of.wide_parts, w)
                n = _take(of.rows, of.row_starts[w], of.row_starts[w + 1], near.distances[i], wide, unseen, into, n)
    return n


@leaf
def _tied(
    distances: I32Array, q: int, of: SegmentPatterns, unseen: _Unseen, near: _Found, n_near: int, bound: int, k: int,
    found: _Found,
) -> tuple[int, int]:  # fmt: skip
    """Finds enclosing patterns at the bound that may hold the k nearest of these: how many, and their bound."""
    n, filled, total, wide_bound = 0, 0, 0, _FAR
    for i in range(n_near):
        if near.distances[i] != bound:
            continue
        for w in range(of.wide_starts[near.patterns[i]], of.wide_starts[near.patterns[i] + 1]):
            value = _wide(distances, q, of.wide_parts, w)
            size = of.row_starts[w + 1] - of.row_starts[w] - unseen.by_wide[w]
            if value > wide_bound or size == 0:
                continue
            found.patterns[n], found.distances[n] = w, value
            n += 1
            if value < wide_bound:
                filled, total = _note(value, size, k, found.smallest, found.counts, filled, total)
                wide_bound = found.smallest[filled - 1] if total >= k else _FAR
    return n, wide_bound


@leaf
def _take_tied(
    of: SegmentPatterns, unseen: _Unseen, tied: _Found, n_tied: int, bound: int, wide_bound: int, k: int,
    into: _Candidates, n: int,
) -> tuple[int, int]:  # fmt: skip
    """Takes the rows of enclosing patterns up to their bound: how many are certain, and how many tie there."""
    for i in range(n_tied):
        if tied.distances[i] < wide_bound:
            w = tied.patterns[i]
            n = _take(of.rows, of.row_starts[w], of.row_starts[w + 1], bound, tied.distances[i], unseen, into, n)
    stop = n
    for i in range(n_tied):
        if tied.distances[i] == wide_bound and n < k:
            first, last = of.row_starts[tied.patterns[i]], of.row_starts[tied.patterns[i] + 1]
            head, before = min(first + HEAD, last), stop
            stop = _take(of.rows, first, head, bound, wide_bound, unseen, into, stop)
            if stop - before < k - n:
                stop = _take(of.rows, head, last, bound, wide_bound, unseen, into, stop)
    return n, stop - n


@leaf
def _hide(excluded: I64Array, start: int, stop: int, of: SegmentPatterns, unseen: _Unseen, change: int) -> None:
    """Counts rows among the unseen, or no longer; one that is named twice counts once."""
    for i in range(start, stop):
        r = excluded[i]
        w = of.wide_of_row[r]
        if unseen.rows[r] != (change > 0):
            unseen.rows[r] = change > 0
            unseen.by_wide[w] += change
            unseen.by_near[of.near_of_wide[w]] += change


@kernel
def scan_patterns(
    distances: I32Array,
    excluded: I64Array,
    excluded_starts: I64Array,
    wanted: BoolArray,
    of: SegmentPatterns,
    segment_hash: np.uint64,
    keys: U64Array,
    ids: I32Array,
    unit: int,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    """The k nearest of all R references to every query that is wanted in one segment.

    Args:
        distances: (Q, N) as `fill_distances` leaves them.
        excluded, excluded_starts, keys, ids, unit: As of `vcfrag_core.search.scan.scan`.
        wanted: (Q,) the queries that are searched for.
        of: The segment's patterns.
        segment_hash: splitmix64(start << 32 | stop).
        out_ids: (Q, K) receives the ids.
        out_distances: (Q, K) receives the distances.
    """
    n_rows, n_near, n_wide, k = len(keys), len(of.sizes), len(of.near_of_wide), out_ids.shape[1]
    few = min(k, n_rows) + 2
    smallest, counts = np.empty(few, dtype=np.int32), np.empty(few, dtype=np.int64)
    patterns = np.empty((4, max(n_near, n_wide)), dtype=np.int32)
    near, tied = _Found(patterns[0], patterns[1], smallest, counts), _Found(patterns[2], patterns[3], smallest, counts)
    unseen = _Unseen(
        np.zeros(n_rows, dtype=np.uint8), np.zeros(n_near, dtype=np.int32), np.zeros(n_wide, dtype=np.int32)
    )
    work, hashes = np.empty((4, n_rows), dtype=np.int64), np.empty((2, n_rows), dtype=np.uint64)
    into = _Candidates(work[0], work[1], work[2], hashes[0], keys, segment_hash)
    for q in range(len(distances)):
        if not wanted[q]:
            continue
        _hide(excluded, excluded_starts[q], excluded_starts[q + 1], of, unseen, 1)
        n_found, bound = _near(distances, q, of, unseen, k, near)
        n = _take_nearer(distances, q, of, unseen, near, n_found, bound, into)
        n_tied, wide_bound = _tied(distances, q, of, unseen, near, n_found, bound, k - n, tied)
        n, ties = _take_tied(of, unseen, tied, n_tied, bound, wide_bound, k, into, n)
        n = first_by_hash(n, ties, k, into.wide, into.hashes, into.rows, hashes[1])
        emit(
            n, k, into.near, into.wide, into.hashes, into.rows, work[3], ids, max(unit, 1), out_ids[q], out_distances[q]
        )
        _hide(excluded, excluded_starts[q], excluded_starts[q + 1], of, unseen, -1)
