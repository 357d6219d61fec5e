"""The k nearest from distinct patterns: compiled loops.

Each pattern of a short range is compared once and stands for its rows; a distance over a long range is the sum of those
over its parts. Of a segment's patterns those alone are added up whose left part leaves a chance; of those that tie at
the k-th distance, patterns of the enclosing range are looked at, and rows last of all. What is answered is what
`vcfrag_core.retrieval.order` says, to the bit. All functions release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vcfrag_core.search.distinct import HEAD
from vcfrag_core.search.select import emit, first_by_hash, splitmix64
from vcfrag_core.types import F32Array, I32Array, I64Array, U8Array, U64Array

_FAR = np.int32(2**31 - 1)


@njit(cache=True, nogil=True)
def fill_distances(
    alleles: U8Array, called: U8Array, nodes: I32Array, costs: I32Array, lefts: I32Array, rights: I32Array,
    distances: I32Array,
) -> None:  # fmt: skip
    """Distances of queries from the patterns of every node.

    Args:
        alleles, called: (Q, B) query strips.
        nodes: (n, 5) of each node: its first entry and the one after its last; of a leaf its number and its two bytes
            of the strip, of a sum of two nodes -1 first.
        costs: (leaves, 2, 256) cost of the differences of each byte of each leaf.
        lefts: (N,) of a leaf's entry its bits, else the entry of the left node that it is a sum of.
        rights: (N,) the entry of the right one.
        distances: (Q, N) filled.
    """
    for q in range(len(alleles)):
        found = distances[q]
        for first, stop, leaf, low, high in nodes:
            if leaf < 0:
                for p in range(first, stop):
                    found[p] = found[lefts[p]] + found[rights[p]]
            else:
                mine = np.int32(alleles[q, low]) | np.int32(alleles[q, high]) << 8
                counted = np.int32(called[q, low]) | np.int32(called[q, high]) << 8
                for p in range(first, stop):
                    differs = (lefts[p] ^ mine) & counted
                    found[p] = costs[leaf, 0, differs & 255] + costs[leaf, 1, differs >> 8]


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _near(
    left: I32Array, right: I32Array, left_starts: I32Array, rights: I32Array, sizes: I32Array, less_by: I32Array,
    k: int, found: I32Array, near: I32Array, values: I32Array, counts: I64Array,
) -> tuple[int, int]:  # fmt: skip
    """Patterns that may hold the k nearest: how many there are, and a distance that none of the k exceeds.

    Args:
        left, right: Distances from the patterns of the segment's two parts.
        left_starts, rights, sizes: As `arrange` leaves them.
        less_by: (n,) rows of each pattern that the query does not see.
        found, near: (n,) receive the patterns and their distances.
        values, counts: (k + 2,) scratch.
    """
    least, best = right.min(), left.argmin()
    n, filled, total, bound = 0, 0, 0, _FAR
    # The best left part first, so that the bound is low from the start.
    for turn in range(-1, len(left)):
        a = best if turn < 0 else turn
        d = left[a]
        if d + least > bound or turn == best:
            continue
        for p in range(left_starts[a], left_starts[a + 1]):
            value = d + right[rights[p]]
            size = sizes[p] - less_by[p]
            if value > bound or size == 0:
                continue
            found[n], near[n] = p, value
            n += 1
            if value < bound:
                filled, total = _note(value, size, k, values, counts, filled, total)
                bound = values[filled - 1] if total >= k else _FAR
    return n, bound


@njit(cache=True, nogil=True)
def _wide(distances: I32Array, parts: I32Array) -> np.int32:
    total = np.int32(0)
    for part in parts:
        total += distances[part]
    return total


@njit(cache=True, nogil=True)
def _take(
    some: I32Array, near_value: int, wide_value: int, left_out: U8Array, keys: U64Array, segment_hash: np.uint64,
    at: int, rows: I64Array, near: I64Array, wide: I64Array, hashes: U64Array,
) -> int:  # fmt: skip
    """Appends rows that the query may see; returns how many there are then."""
    for r in some:
        if left_out[r] == 0:
            rows[at], near[at], wide[at] = r, near_value, wide_value
            hashes[at] = splitmix64(keys[r] ^ segment_hash)
            at += 1
    return at


@njit(cache=True, nogil=True)
def scan_patterns(
    distances: I32Array,
    excluded: I64Array,
    excluded_starts: I64Array,
    parts: tuple[int, int, int],
    left_starts: I32Array,
    rights: I32Array,
    sizes: I32Array,
    wide_starts: I32Array,
    wide_parts: I32Array,
    near_of_wide: I32Array,
    row_starts: I32Array,
    rows_by_wide: I32Array,
    wide_of_row: I32Array,
    segment_hash: np.uint64,
    keys: U64Array,
    ids: I32Array,
    unit: int,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    """The k nearest of all R references to every query in one segment.

    Args:
        distances: (Q, N) as `fill_distances` leaves them.
        excluded, excluded_starts, keys, ids, unit: As of `vcfrag_core.search.scan.scan`.
        parts: First entry of the left part's patterns, that of the right part's, and their number.
        left_starts, rights, sizes, wide_starts, near_of_wide, row_starts, wide_of_row: As `arrange` leaves them.
        wide_parts: (W, blocks) entries that the distance of an enclosing pattern is the sum of.
        rows_by_wide: (R,) as `bring_heads_forward` leaves them.
        segment_hash: splitmix64(start << 32 | stop).
        out_ids: (Q, K) receives the ids.
        out_distances: (Q, K) receives the distances.
    """
    n_rows, k = len(keys), out_ids.shape[1]
    few = min(k, n_rows) + 2
    values, counts = np.empty(few, dtype=np.int32), np.empty(few, dtype=np.int64)
    found, near_found = np.empty(len(sizes), dtype=np.int32), np.empty(len(sizes), dtype=np.int32)
    tied, tied_wide = np.empty(len(near_of_wide), dtype=np.int32), np.empty(len(near_of_wide), dtype=np.int32)
    less_by, wide_less_by = np.zeros(len(sizes), dtype=np.int32), np.zeros(len(near_of_wide), dtype=np.int32)
    left_out = np.zeros(n_rows, dtype=np.uint8)
    work = np.empty((4, n_rows), dtype=np.int64)
    rows, near, wide, order = work[0], work[1], work[2], work[3]
    hashes, scratch_hash = np.empty(n_rows, dtype=np.uint64), np.empty(n_rows, dtype=np.uint64)
    for q in range(len(distances)):
        mine = excluded[excluded_starts[q] : excluded_starts[q + 1]]
        for e in mine:
            if left_out[e] == 0:
                left_out[e] = 1
                wide_less_by[wide_of_row[e]] += 1
                less_by[near_of_wide[wide_of_row[e]]] += 1
        left = distances[q, parts[0] : parts[0] + len(left_starts) - 1]
        right = distances[q, parts[1] : parts[1] + parts[2]]
        n_found, bound = _near(
            left, right, left_starts, rights, sizes, less_by, k, found, near_found, values, counts
        )  # fmt: skip
        at = 0
        for i in range(n_found):
            if near_found[i] < bound:
                for w in range(wide_starts[found[i]], wide_starts[found[i] + 1]):
                    at = _take(
                        rows_by_wide[row_starts[w] : row_starts[w + 1]], near_found[i],
                        _wide(distances[q], wide_parts[w]), left_out, keys, segment_hash, at, rows, near, wide, hashes,
                    )  # fmt: skip
        n_tied, filled, total, wide_bound = 0, 0, 0, _FAR
        for i in range(n_found):
            if near_found[i] != bound:
                continue
            for w in range(wide_starts[found[i]], wide_starts[found[i] + 1]):
                size = row_starts[w + 1] - row_starts[w] - wide_less_by[w]
                value = _wide(distances[q], wide_parts[w])
                if size == 0 or value > wide_bound:
                    continue
                tied[n_tied], tied_wide[n_tied] = w, value
                n_tied += 1
                if value < wide_bound:
                    filled, total = _note(value, size, k - at, values, counts, filled, total)
                    wide_bound = values[filled - 1] if total >= k - at else _FAR
        for i in range(n_tied):
            if tied_wide[i] < wide_bound:
                at = _take(
                    rows_by_wide[row_starts[tied[i]] : row_starts[tied[i] + 1]], bound, tied_wide[i], left_out, keys,
                    segment_hash, at, rows, near, wide, hashes,
                )  # fmt: skip
        stop = at
        for i in range(n_tied):
            if tied_wide[i] == wide_bound and at < k:
                of_one = rows_by_wide[row_starts[tied[i]] : row_starts[tied[i] + 1]]
                before = stop
                stop = _take(
                    of_one[:HEAD], bound, wide_bound, left_out, keys, segment_hash, stop, rows, near, wide, hashes
                )
                if stop - before < k - at:
                    stop = _take(
                        of_one[HEAD:], bound, wide_bound, left_out, keys, segment_hash, stop, rows, near, wide, hashes
                    )
        n = first_by_hash(at, stop - at, k, wide, hashes, rows, scratch_hash)
        emit(n, k, near, wide, hashes, rows, order, ids, max(unit, 1), out_ids[q], out_distances[q])
        for e in mine:
            left_out[e] = 0
            wide_less_by[wide_of_row[e]] = 0
            less_by[near_of_wide[wide_of_row[e]]] = 0
