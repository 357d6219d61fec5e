"""Exact distances over packed observed sites, and the k nearest in the full order: compiled loops.

The observed sites of a range are held as a strip: (B, R) bytes, byte-major, R reference haplotypes; an observed site
is one bit of one byte, bytes in site order, unused bits 0. A query's strip is (B,) bytes of alleles and (B,) bytes
that are 1 where it has a call. Distances are whole steps of 2**-10 (`vcfrag_core.metric`), so every sum is exact.
`vcfrag_core.nearest` says slowly what these loops must answer. All functions release the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vcfrag_core.types import F32Array, I32Array, I64Array, U8Array, U64Array

CLASSES_PER_NEIGHBOUR = 4
ROWS_PER_CLASS = 32


@njit(cache=True, nogil=True)
def pack_observed(packed: U8Array, rows: I64Array, sites: I64Array, bit_index: I64Array, strip: U8Array) -> None:
    """Writes the strip of the given sites.

    Args:
        packed: (H, bytes) panel haplotypes.
        rows: (R,) haplotype ids.
        sites: (m,) observed sites.
        bit_index: (m,) place of each in the strip: 8 * byte + bit.
        strip: (B, R) zeros; receives the bits.
    """
    for r in range(len(rows)):
        haplotype = packed[rows[r]]
        for j in range(len(sites)):
            allele = (haplotype[sites[j] >> 3] >> (sites[j] & 7)) & 1
            strip[bit_index[j] >> 3, r] |= np.uint8(allele << (bit_index[j] & 7))


@njit(cache=True, nogil=True)
def _splitmix64(x: np.uint64) -> np.uint64:
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _kth(values: Any, n: int, k: int) -> Any:
    """The k-th smallest (from 0) of values[:n], which it reorders (Hoare's quickselect)."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@njit(cache=True, nogil=True)
def _keep(key: Any, first: Any, second: Any, start: int, n: int, k: int, scratch: Any) -> tuple[int, int]:
    """Keeps of entries [start, start + n) those that may be among the k smallest by key, smaller ones first.

    Entries are the aligned arrays key, first and second. Returns how many are certainly in, and how many tie at the
    k-th key and come right after those.
    """
    if n <= k:
        return n, 0
    for i in range(n):
        scratch[i] = key[start + i]
    kth = _kth(scratch, n, k - 1)
    less = 0
    for i in range(start, start + n):
        if key[i] < kth:
            at = start + less
            key[i], key[at] = key[at], key[i]
            first[i], first[at] = first[at], first[i]
            second[i], second[at] = second[at], second[i]
            less += 1
    ties = less
    for i in range(start + less, start + n):
        if key[i] == kth:
            at = start + ties
            key[i], key[at] = key[at], key[i]
            first[i], first[at] = first[at], first[i]
            second[i], second[at] = second[at], second[i]
            ties += 1
    return less, ties - less


@njit(cache=True, nogil=True)
def _hashes(rows: I64Array, start: int, n: int, keys: U64Array, segment_hash: np.uint64, hashes: U64Array) -> None:
    for i in range(start, start + n):
        hashes[i] = _splitmix64(keys[rows[i]] ^ segment_hash)


@njit(cache=True, nogil=True)
def _before(a: int, b: int, near: I64Array, wide: I64Array, hashes: U64Array, rows: I64Array) -> bool:
    if near[a] != near[b]:
        return bool(near[a] < near[b])
    if wide[a] != wide[b]:
        return bool(wide[a] < wide[b])
    if hashes[a] != hashes[b]:
        return bool(hashes[a] < hashes[b])
    return bool(rows[a] < rows[b])


@njit(cache=True, nogil=True)
def _order(n: int, near: I64Array, wide: I64Array, hashes: U64Array, rows: I64Array, order: I64Array) -> None:
    """Shell sort of 0..n-1 into the full order."""
    for i in range(n):
        order[i] = i
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for i in range(gap, n):
            entry = order[i]
            j = i
            while j >= gap and _before(entry, order[j - gap], near, wide, hashes, rows):
                order[j] = order[j - gap]
                j -= gap
            order[j] = entry
        gap //= 3


@njit(cache=True, nogil=True)
def _settle(
    less: int,
    ties: int,
    k: int,
    near: I64Array,
    wide: I64Array,
    hashes: U64Array,
    rows: I64Array,
    keys: U64Array,
    segment_hash: np.uint64,
    scratch: I64Array,
    scratch_hash: U64Array,
) -> int:
    """From `less` certain entries and `ties` at the k-th distance, leaves the k nearest in front; returns how many."""
    if ties == 0:
        _hashes(rows, 0, less, keys, segment_hash, hashes)
        return less
    sure, open_ties = _keep(wide, near, rows, less, ties, k - less, scratch)
    less += sure
    _hashes(rows, 0, less + open_ties, keys, segment_hash, hashes)
    if open_ties == 0:
        return less
    sure, equal = _keep(hashes, wide, rows, less, open_ties, k - less, scratch_hash)
    less += sure
    while less < k and equal > 0:
        smallest = less
        for i in range(less + 1, less + equal):
            if rows[i] < rows[smallest]:
                smallest = i
        rows[less], rows[smallest] = rows[smallest], rows[less]
        less += 1
        equal -= 1
    return less


@njit(cache=True, nogil=True)
def _emit(
    n: int,
    k: int,
    near: I64Array,
    wide: I64Array,
    hashes: U64Array,
    rows: I64Array,
    order: I64Array,
    ids: I32Array,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    _order(n, near, wide, hashes, rows, order)
    for i in range(k):
        if i < n:
            out_ids[i] = ids[rows[order[i]]]
            out_distances[i] = np.float32(near[order[i]] / 1024.0)
        else:
            out_ids[i] = -1
            out_distances[i] = np.inf


@njit(cache=True, nogil=True)
def _tables(base: I32Array, step_byte: I32Array, alleles: U8Array, called: U8Array, tables: I32Array) -> None:
    """(T, 256) cost of every reference byte against this query's byte."""
    for t in range(len(step_byte)):
        mine, mask = alleles[step_byte[t]], called[step_byte[t]]
        for value in range(256):
            tables[t, value] = base[t, (value ^ mine) & mask]


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _subtract(low: Any, high: Any, near: Any, least: Any) -> None:
    """near = high - low, and least the smaller of itself and near; a loop of its own so that it becomes SIMD."""
    for i in range(len(near)):
        near[i] = high[i] - low[i]
        least[i] = near[i] if near[i] < least[i] else least[i]


@njit(cache=True, nogil=True)
def _candidates(
    low: Any, high: Any, n_rows: int, excluded: I64Array, k: int, far: Any, near: Any, least: Any, scratch: Any,
    rows: I64Array, found: I64Array,
) -> int:  # fmt: skip
    """Rows that may be among the k nearest by high - low: at least k where so many exist, and every tie.

    Rows fall into classes by their number modulo `n_classes`; the k-th smallest of the classes' least distances
    bounds the k-th smallest distance from above, so only classes below that bound are looked into.
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
        scratch[:n_classes] = least[:n_classes]
        bound = min(bound, _kth(scratch, n_classes, k - 1))
    n = 0
    for i in range(n_classes):
        if least[i] <= bound:
            for r in range(i, n_rows, n_classes):
                if near[r] <= bound:
                    rows[n] = r
                    found[n] = near[r]
                    n += 1
    return n


@njit(cache=True, nogil=True)
def scan(
    strip: U8Array,
    step_byte: I32Array,
    piece_steps: I32Array,
    base: I32Array,
    alleles: U8Array,
    called: U8Array,
    excluded: I64Array,
    excluded_starts: I64Array,
    pieces: I32Array,
    segment_hashes: U64Array,
    keys: U64Array,
    ids: I32Array,
    far: Any,
    prefix: Any,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    """The k nearest of all R references to every query in every segment, from prefix sums over pieces.

    Args:
        strip: (B, R) observed bits.
        step_byte: (T,) the byte that each step reads; a byte that lies in two pieces is read by two steps.
        piece_steps: (P + 1,) first step of each piece, and T.
        base: (T, 256) cost of a byte of differences, counting only the bits of the step's piece.
        alleles: (Q, B) query strips.
        called: (Q, B) bits that count.
        excluded: rows left out, all queries' after each other.
        excluded_starts: (Q + 1,) where each query's begin.
        pieces: (G, 4) first piece and piece after the last, of each segment and of its enclosing segment.
        segment_hashes: (G,) splitmix64(start << 32 | stop).
        keys: (R,) tie-breaking keys.
        ids: (R,) panel haplotype ids, ascending.
        far: the largest number of the type of prefix; no distance reaches it.
        prefix: (P + 1, R) int32 or int64 scratch, wide enough for the sum of all weights.
        out_ids: (G, Q, K) receives the ids.
        out_distances: (G, Q, K) receives the distances.
    """
    n_rows, k = strip.shape[1], out_ids.shape[2]
    tables = np.empty((len(step_byte), 256), dtype=np.int32)
    near_all, least, scratch_all = np.empty_like(prefix[0]), np.empty_like(prefix[0]), np.empty_like(prefix[0])
    work = np.empty((5, n_rows), dtype=np.int64)
    rows, near, wide, scratch, order = work[0], work[1], work[2], work[3], work[4]
    hashes, scratch_hash = np.empty(n_rows, dtype=np.uint64), np.empty(n_rows, dtype=np.uint64)
    for q in range(len(alleles)):
        _tables(base, step_byte, alleles[q], called[q], tables)
        _prefix(strip, step_byte, piece_steps, tables, prefix)
        mine = excluded[excluded_starts[q] : excluded_starts[q + 1]]
        for g in range(len(pieces)):
            low, high = prefix[pieces[g, 0]], prefix[pieces[g, 1]]
            n = _candidates(low, high, n_rows, mine, k, far, near_all, least, scratch_all, rows, near)
            less, ties = _keep(near, rows, wide, 0, n, k, scratch)
            low, high = prefix[pieces[g, 2]], prefix[pieces[g, 3]]
            for i in range(less + ties):
                wide[i] = high[rows[i]] - low[rows[i]]
            n = _settle(less, ties, k, near, wide, hashes, rows, keys, segment_hashes[g], scratch, scratch_hash)
            _emit(n, k, near, wide, hashes, rows, order, ids, out_ids[g, q], out_distances[g, q])


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
        less, ties = _keep(near, rows, wide, 0, n, k, scratch)
        furthest = np.int64(-1)
        for i in range(less + ties):
            furthest = max(furthest, near[i])
            wide[i] = _row_distance(strip, halves, alleles[q], called[q], wide_bits, rows[i])
        complete = n_fetched >= strip.shape[1]
        resolved[q] = complete or (n >= k and furthest < beyond[q])
        n = _settle(less, ties, k, near, wide, hashes, rows, keys, segment_hash, scratch, scratch_hash)
        _emit(n, k, near, wide, hashes, rows, order, ids, out_ids[q], out_distances[q])
