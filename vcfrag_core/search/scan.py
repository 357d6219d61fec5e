"""Exact distances over packed observed sites, and the k nearest in the full order: compiled loops.

The observed sites of a range are held as a strip: (B, R) bytes, byte-major, R reference haplotypes; an observed site
is one bit of one byte, bytes in site order, unused bits 0. A query's strip is (B,) bytes of alleles and (B,) bytes
that are 1 where it has a call. Distances are whole steps of 2**-10 (`vcfrag_core.retrieval.site_weights`), so every
sum is exact. `vcfrag_core.retrieval.order` says slowly what these loops must answer. All functions release the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.search.select import emit, keep, kth_of_few, part, settle
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U8Array, U64Array

CLASSES_PER_NEIGHBOUR = 4
ROWS_PER_CLASS = 32


@leaf
def _tables(base: I32Array, step_byte: I32Array, alleles: U8Array, called: U8Array, tables: I32Array) -> None:
    """(T, 256) cost of every reference byte against this query's byte."""
    for t in range(len(step_byte)):
        mine, mask = alleles[step_byte[t]], called[step_byte[t]]
        for value in range(256):
            tables[t, value] = base[t, (value ^ mine) & mask]


@kernel
def _prefix(strip: U8Array, step_byte: I32Array, piece_steps: I32Array, tables: I32Array, prefix: Any) -> None:
    """prefix[p, r]: distance of reference r over the pieces before p."""
    n_rows = strip.shape[1]
    prefix[0, :] = 0
    for piece in range(len(piece_steps) - 1):
        before, after = prefix[piece], prefix[piece + 1]
        after[:] = before
        step, stop = piece_steps[piece], piece_steps[piece + 1]
        while step + 1 < stop:
            bytes_a, table_a = strip[step_byte[step]], tables[step]
            bytes_b, table_b = strip[step_byte[step + 1]], tables[step + 1]
            for r in range(n_rows):
                after[r] += table_a[bytes_a[r]] + table_b[bytes_b[r]]
            step += 2
        if step < stop:
            bytes_a, table_a = strip[step_byte[step]], tables[step]
            for r in range(n_rows):
                after[r] += table_a[bytes_a[r]]


def _count_ones(_typing: Any, byte: Any) -> Any:
    """Number of bits set in a byte, as LLVM's own operation, which it turns into vector code."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint8(types.uint8), generate if byte == types.uint8 else None


_ones: Any = intrinsic(_count_ones)


@leaf
def _add_two(a: U8Array, mine_a: int, mask_a: int, b: U8Array, mine_b: int, mask_b: int, total: Any) -> None:
    x, y, p, q = np.uint8(mine_a), np.uint8(mine_b), np.uint8(mask_a), np.uint8(mask_b)
    for r in range(len(total)):
        total[r] += _ones(np.uint8((a[r] ^ x) & p)) + _ones(np.uint8((b[r] ^ y) & q))


@kernel
def _prefix_counts(
    strip: U8Array, step_byte: I32Array, step_mask: U8Array, piece_steps: I32Array, alleles: U8Array, called: U8Array,
    prefix: Any,
) -> None:  # fmt: skip
    """`_prefix` where every weight is 1: bits are counted instead of looked up."""
    prefix[0, :] = 0
    for piece in range(len(piece_steps) - 1):
        after = prefix[piece + 1]
        after[:] = prefix[piece]
        stop = piece_steps[piece + 1]
        for step in range(piece_steps[piece], stop, 2):
            a, b = step_byte[step], step_byte[min(step + 1, stop - 1)]
            mask_b = called[b] & step_mask[step + 1] if step + 1 < stop else 0
            _add_two(strip[a], alleles[a], called[a] & step_mask[step], strip[b], alleles[b], mask_b, after)


@leaf
def _subtract(low: Any, high: Any, near: Any, least: Any) -> None:
    """near = high - low, and least the smaller of itself and near; a loop of its own so that it becomes SIMD."""
    for i in range(len(near)):
        near[i] = high[i] - low[i]
        least[i] = near[i] if near[i] < least[i] else least[i]


@leaf
def _candidates(
    low: Any, high: Any, n_rows: int, excluded: I64Array, k: int, far: Any, near: Any, least: Any, scratch: Any,
    rows: I64Array, found: I64Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Rows that may be among the k nearest by high - low: at least k where so many exist, and every tie.

    Returns how many these are, the bound that they do not exceed, and how many are below it.

    Rows fall into classes by their number modulo `n_classes`; the k-th smallest of the classes' least distances
    bounds the k-th smallest distance from above.
    """
    n_classes = min(n_rows, max(CLASSES_PER_NEIGHBOUR * k, (n_rows + ROWS_PER_CLASS - 1) // ROWS_PER_CLASS))
    least[:n_classes] = far
    for begin in range(0, n_rows, n_classes):
        stop = min(begin + n_classes, n_rows)
        _subtract(low[begin:stop], high[begin:stop], near[begin:stop], least[: stop - begin])
    for e in excluded:
        near[e] = far
    for e in excluded:
        least[e % n_classes] = far
        for r in range(e % n_classes, n_rows, n_classes):
            least[e % n_classes] = min(least[e % n_classes], near[r])
    bound = far - 1
    if n_classes >= k:
        bound = min(bound, kth_of_few(least, n_classes, k - 1, scratch))
    n, below = 0, 0
    # Without a branch: a row that does not belong is overwritten by the next.
    for r in range(n_rows):
        rows[n] = r
        found[n] = near[r]
        n += near[r] <= bound
        below += near[r] < bound
    return n, bound, below


@kernel
def scan(
    strip: U8Array,
    step_byte: I32Array,
    step_mask: U8Array,
    piece_steps: I32Array,
    base: I32Array,
    unit: int,
    alleles: U8Array,
    called: U8Array,
    excluded: I64Array,
    excluded_starts: I64Array,
    wanted: BoolArray,
    pieces: I32Array,
    segment_hashes: U64Array,
    keys: U64Array,
    ids: I32Array,
    far: Any,
    prefix: Any,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    """The k nearest of all R references to every query in every segment where it is wanted, by sums over pieces.

    Args:
        strip: (B, R) observed bits.
        step_byte: (T,) the byte that each step reads; a byte that lies in two pieces is read by two steps.
        step_mask: (T,) the bits of the byte that belong to the step's piece and have a weight.
        piece_steps: (P + 1,) first step of each piece, and T.
        base: (T, 256) cost of a byte of differences, counting only those bits; not read where `unit` is above 0.
        unit: The one weight that all bits have, in which case prefix sums count bits; 0 where weights differ.
        alleles: (Q, B) query strips.
        called: (Q, B) bits that count.
        excluded: rows left out, all queries' after each other.
        excluded_starts: (Q + 1,) where each query's begin.
        wanted: (G, Q) which queries are searched for in which segments.
        pieces: (G, 4) first piece and piece after the last, of each segment and of its enclosing segment.
        segment_hashes: (G,) splitmix64(start << 32 | stop).
        keys: (R,) tie-breaking keys.
        ids: (R,) panel haplotype ids, ascending.
        far: the largest number of the type of prefix; no distance reaches it.
        prefix: (P + 1, R) int16, int32 or int64 scratch, wide enough for the sum of all weights or the count.
        out_ids: (G, Q, K) receives the ids.
        out_distances: (G, Q, K) receives the distances.
    """
    n_rows, k = strip.shape[1], out_ids.shape[2]
    tables = np.empty((len(step_byte) if unit == 0 else 0, 256), dtype=np.int32)
    near_all, least, scratch_all = np.empty_like(prefix[0]), np.empty_like(prefix[0]), np.empty_like(prefix[0])
    work = np.empty((5, n_rows), dtype=np.int64)
    rows, near, wide, scratch, order = work[0], work[1], work[2], work[3], work[4]
    hashes, scratch_hash = np.empty(n_rows, dtype=np.uint64), np.empty(n_rows, dtype=np.uint64)
    for q in range(len(alleles)):
        if not wanted[:, q].any():
            continue
        if unit == 0:
            _tables(base, step_byte, alleles[q], called[q], tables)
            _prefix(strip, step_byte, piece_steps, tables, prefix)
        else:
            _prefix_counts(strip, step_byte, step_mask, piece_steps, alleles[q], called[q], prefix)
        mine = excluded[excluded_starts[q] : excluded_starts[q + 1]]
        for g in range(len(pieces)):
            if not wanted[g, q]:
                continue
            low, high = prefix[pieces[g, 0]], prefix[pieces[g, 1]]
            n, bound, below = _candidates(low, high, n_rows, mine, k, far, near_all, least, scratch_all, rows, near)
            if below < k < n:
                less, ties = part(near, rows, wide, 0, n, bound)
            else:
                less, ties = keep(near, rows, wide, 0, n, k, scratch)
            low, high = prefix[pieces[g, 2]], prefix[pieces[g, 3]]
            for i in range(less + ties):
                wide[i] = high[rows[i]] - low[rows[i]]
            n = settle(less, ties, k, near, wide, hashes, rows, keys, segment_hashes[g], scratch, scratch_hash)
            emit(n, k, near, wide, hashes, rows, order, ids, max(unit, 1), out_ids[g, q], out_distances[g, q])


@leaf
def _row_distance(
    strip: U8Array, halves: I32Array, alleles: U8Array, called: U8Array, bits: I64Array, row: int
) -> np.int64:
    """Distance of one reference over strip bits [bits[0], bits[1])."""
    total = np.int64(0)
    if bits[0] >= bits[1]:
        return total
    first, last = bits[0] >> 3, (bits[1] - 1) >> 3
    for b in range(first, last + 1):
        differs = np.int64((strip[b, row] ^ alleles[b]) & called[b])
        if b == first:
            differs &= (255 << (bits[0] & 7)) & 255
        if b == last:
            differs &= 255 >> (7 - ((bits[1] - 1) & 7))
        total += halves[b, 0, differs & 15] + halves[b, 1, differs >> 4]
    return total


@kernel
def rank_fetched(
    strip: U8Array,
    halves: I32Array,
    alleles: U8Array,
    called: U8Array,
    excluded: I64Array,
    excluded_starts: I64Array,
    near_bits: I64Array,
    wide_bits: I64Array,
    segment_hash: np.uint64,
    keys: U64Array,
    ids: I32Array,
    fetched: I64Array,
    beyond: I64Array,
    out_ids: I32Array,
    out_distances: F32Array,
    resolved: Any,
) -> None:
    """Exact order of what an index fetched for one segment, and whether the k nearest must be among it.

    Args:
        strip: (B, R) observed bits.
        halves: (B, 2, 16) cost of the lower and the upper four differing bits of every byte.
        alleles: (Q, B) query strips.
        called: (Q, B) bits that count.
        excluded: rows left out, all queries' after each other.
        excluded_starts: (Q + 1,) where each query's begin.
        near_bits: first strip bit of the segment and the bit after its last.
        wide_bits: the same of the enclosing segment.
        segment_hash: splitmix64(start << 32 | stop).
        keys: (R,) tie-breaking keys.
        ids: (R,) panel haplotype ids, ascending.
        fetched: (Q, F) rows, -1 for none.
        beyond: (Q,) a distance that no row that was not fetched can be below.
        out_ids: (Q, K) receives the ids.
        out_distances: (Q, K) receives the distances.
        resolved: (Q,) bool, receives whether every row that ties with the k-th was fetched.
    """
    n_fetched, k = fetched.shape[1], out_ids.shape[1]
    work = np.empty((5, n_fetched), dtype=np.int64)
    rows, near, wide, scratch, order = work[0], work[1], work[2], work[3], work[4]
    hashes, scratch_hash = np.empty(n_fetched, dtype=np.uint64), np.empty(n_fetched, dtype=np.uint64)
    left_out = np.zeros(strip.shape[1], dtype=np.uint8)
    for q in range(len(alleles)):
        mine = excluded[excluded_starts[q] : excluded_starts[q + 1]]
        for e in mine:
            left_out[e] = 1
        n = 0
        for row in fetched[q]:
            if row >= 0 and left_out[row] == 0:
                rows[n] = row
                near[n] = _row_distance(strip, halves, alleles[q], called[q], near_bits, row)
                n += 1
        for e in mine:
            left_out[e] = 0
        less, ties = keep(near, rows, wide, 0, n, k, scratch)
        furthest = np.int64(-1)
        for i in range(less + ties):
            furthest = max(furthest, near[i])
            wide[i] = _row_distance(strip, halves, alleles[q], called[q], wide_bits, rows[i])
        complete = n_fetched >= strip.shape[1]
        resolved[q] = complete or (n >= k and furthest < beyond[q])
        n = settle(less, ties, k, near, wide, hashes, rows, keys, segment_hash, scratch, scratch_hash)
        emit(n, k, near, wide, hashes, rows, order, ids, 1, out_ids[q], out_distances[q])
