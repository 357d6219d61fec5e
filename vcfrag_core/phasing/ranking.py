"""Compiled choice of whom a sample copies: few candidates in pairs, who are nearest most often, and many in chains."""

from __future__ import annotations

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import F32Array, I32Array, I64Array

# How much less the last neighbour of a segment counts than the first.
_LAST = np.float32(0.25)


@kernel
def _order_of_query(
    ids: I32Array, inside: I64Array, weights: F32Array, score: F32Array, touched: I64Array, out: I32Array
) -> None:
    """The rows that are neighbours in the segments `inside`, those of most and longest first; -1 beyond."""
    n = 0
    k = ids.shape[1]
    for g in inside:
        for i in range(k):
            row = ids[g, i]
            if row < 0:
                break
            if score[row] == 0:
                touched[n] = row
                n += 1
            score[row] += weights[g] * (np.float32(1) - _LAST * np.float32(i) / np.float32(k))
    order = np.argsort(-score[touched[:n]], kind="mergesort")
    for i in range(len(out)):
        out[i] = touched[order[i]] if i < n else -1
    for i in range(n):
        score[touched[i]] = np.float32(0)


@kernel
def _fill(rows: I32Array, n: int, taken: I64Array, mark: int, out: I32Array) -> int:
    """Puts rows that are not there yet after the first n; returns how many there are then."""
    for row in rows:
        if n == len(out):
            break
        if row >= 0 and taken[row] != mark:
            taken[row] = mark
            out[n] = row
            n += 1
    return n


@kernel
def rank_candidates(
    ids: I32Array, starts: I32Array, stops: I32Array, weights: F32Array, middles: I64Array, copied: I32Array,
    allowed: I32Array, n_rows: int, out: I32Array,
) -> None:  # fmt: skip
    """The candidates of one sample in each of its segments.

    First those that were copied there and in the segments beside, then each query's nearest in turn.

    Args:
        ids: (G, Q, k) neighbours of the sample's queries, nearest first, -1 beyond.
        starts, stops: (G,) sites of the search's segments.
        weights: (G,) what each counts.
        middles: (C,) a site of each segment of copying.
        copied: (C, E) rows that were copied there, -1 beyond.
        allowed: (R,) rows that may be copied; those that come first fill up what is left. At least K.
        n_rows: Rows there are.
        out: (C, K) filled.
    """
    c_segments, k = out.shape
    n_queries = ids.shape[1]
    score, touched = np.zeros(n_rows, dtype=np.float32), np.empty(n_rows, dtype=np.int64)
    taken = np.full(n_rows, -1, dtype=np.int64)
    orders = np.empty((n_queries, k), dtype=np.int32)
    in_turn = np.empty(n_queries * k, dtype=np.int32)
    for c in range(c_segments):
        inside = np.flatnonzero((starts <= middles[c]) & (middles[c] < stops))
        for q in range(n_queries):
            _order_of_query(ids[:, q], inside, weights, score, touched, orders[q])
            in_turn[q::n_queries] = orders[q]
        n = 0
        for beside in range(max(0, c - 1), min(c_segments, c + 2)):
            n = _fill(copied[beside], n, taken, c, out[c])
        n = _fill(in_turn, n, taken, c, out[c])
        _fill(allowed, n, taken, c, out[c])


@kernel
def settle_places(candidates: I32Array, n_rows: int) -> None:
    """Reorders (C, K) candidates so that whoever stays from one segment to the next has the same place in both."""
    here = np.full(n_rows, -1, dtype=np.int64)
    for c in range(1, len(candidates)):
        row = candidates[c].copy()
        settled = np.full(len(row), -1, dtype=np.int32)
        for candidate in row:
            here[candidate] = c
        for place in range(len(row)):
            before = candidates[c - 1, place]
            if here[before] == c:
                settled[place] = before
                here[before] = -1
        place = 0
        for candidate in row:
            if here[candidate] == c:
                while settled[place] >= 0:
                    place += 1
                settled[place] = candidate
                here[candidate] = -1
        candidates[c] = settled


@kernel
def most_copied(copied: I32Array, segments: I64Array, n_rows: int, out: I32Array) -> None:
    """The rows that the draws copy most in each segment.

    Args:
        copied: (D, B, 2) copied rows.
        segments: (C + 1,) first block of each segment, and B.
        n_rows: Rows there are.
        out: (C, E) filled, most often copied first, -1 beyond.
    """
    counts, seen = np.zeros(n_rows, dtype=np.int64), np.empty(n_rows, dtype=np.int64)
    for c in range(len(segments) - 1):
        n = 0
        for d in range(len(copied)):
            for b in range(segments[c], segments[c + 1]):
                for row in copied[d, b]:
                    if counts[row] == 0:
                        seen[n] = row
                        n += 1
                    counts[row] += 1
        order = np.argsort(-counts[seen[:n]], kind="mergesort")
        for i in range(out.shape[1]):
            out[c, i] = seen[order[i]] if i < n else -1
        for i in range(n):
            counts[seen[i]] = 0


@kernel
def _count_again(rows: I32Array, counts: I32Array, count: I32Array, seen: I64Array) -> int:
    """Counts the rows that a window has so far; returns how many rows were seen."""
    for i in range(len(rows)):
        seen[i] = rows[i]
        count[seen[i]] = counts[i]
    return len(rows)


@leaf
def _count_more(some: I32Array, n: int, count: I32Array, seen: I64Array) -> int:
    """Counts rows, -1 beyond; returns how many rows were seen, n of them before."""
    for row in some:
        if row < 0:
            break
        if count[row] == 0:
            seen[n] = row
            n += 1
        count[row] += 1
    return n


@kernel
def _keep_most(n: int, count: I32Array, seen: I64Array, rows: I32Array, counts: I32Array) -> int:
    """Fills a window with the rows seen, the most frequent if too many, ascending; forgets what was counted."""
    chosen = np.sort(seen[:n])
    if n > len(rows):
        order = np.argsort(-count[chosen], kind="mergesort")
        chosen = np.sort(chosen[order[: len(rows)]])
    for i in range(len(chosen)):
        rows[i], counts[i] = chosen[i], count[chosen[i]]
    for i in range(n):
        count[seen[i]] = 0
    return len(chosen)


@kernel
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
        n = _count_again(rows[w, : sizes[w]], counts[w], count, seen)
        for c in range(borders[max(0, w - 1)], borders[min(len(borders) - 1, w + 2)]):
            n = _count_more(candidates[c], n, count, seen)
        sizes[w] = _keep_most(n, count, seen, rows[w], counts[w])


@kernel
def gather_neighbours(
    ids: I32Array, starts: I32Array, stops: I32Array, borders: I64Array, n_rows: int, rows: I32Array,
    counts: I32Array, sizes: I64Array,
) -> None:  # fmt: skip
    """Adds neighbours, as `gather_rows` does candidates: those in segments that touch a window or one beside it.

    Args:
        ids: (G, Q, k) neighbours of a sample's queries, -1 beyond.
        starts, stops: (G,) sites of the search's segments.
        borders: (N + 1,) first site of each window, and M.
        n_rows, rows, counts, sizes: See `gather_rows`.
    """
    count, seen = np.zeros(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int64)
    for w in range(len(borders) - 1):
        n = _count_again(rows[w, : sizes[w]], counts[w], count, seen)
        first, last = borders[max(0, w - 1)], borders[min(len(borders) - 1, w + 2)]
        for g in range(len(starts)):
            if starts[g] < last and stops[g] > first:
                for q in range(ids.shape[1]):
                    n = _count_more(ids[g, q], n, count, seen)
        sizes[w] = _keep_most(n, count, seen, rows[w], counts[w])
