"""Which reference rows are equal over a range of observed sites: compiled loops.

Rows that are equal have one pattern. Patterns of a long range follow from those of its two parts, so that no site is
looked at twice. All functions release the GIL.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.search.select import kth, splitmix64
from vcfrag_core.types import I32Array, U8Array, U64Array

N_LEAF_PATTERNS = 1 << 16
# Of a pattern with more rows, so many with the smallest hashes come first.
HEAD = 64
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def patterns_of_bytes(
    low: U8Array, low_mask: int, high: U8Array, high_mask: int, table: I32Array, pattern_of: I32Array, bits: I32Array
) -> int:
    """Patterns over at most 16 sites; returns their number.

    Args:
        low, high: (R,) bytes of the strip.
        low_mask, high_mask: Their bits that count; 0 where there is no such byte.
        table: (N_LEAF_PATTERNS,) of -1, which it is left as.
        pattern_of: (R,) receives the pattern of each row.
        bits: (R,) receives the bits of each pattern.
    """
    n = 0
    for r in range(len(low)):
        mine = (low[r] & low_mask) | (high[r] & high_mask) << 8
        found = table[mine]
        if found < 0:
            found = n
            table[mine] = n
            bits[n] = mine
            n += 1
        pattern_of[r] = found
    for p in range(n):
        table[bits[p]] = -1
    return n


@kernel
def join_patterns(
    left_of: I32Array, right_of: I32Array, slots: U64Array, numbers: I32Array, pattern_of: I32Array, lefts: I32Array,
    rights: I32Array,
) -> int:  # fmt: skip
    """Patterns over two ranges together; returns their number.

    Args:
        left_of, right_of: (R,) pattern of each row over either range.
        slots, numbers: (n,) scratch, n a power of two and at least 2 R.
        pattern_of: (R,) receives the pattern of each row.
        lefts, rights: (R,) receive the two patterns that each is made of.
    """
    slots[:] = _EMPTY
    last = np.uint64(len(slots) - 1)
    n = 0
    for r in range(len(left_of)):
        pair = np.uint64(left_of[r]) << np.uint64(32) | np.uint64(right_of[r])
        at = splitmix64(pair) & last
        while slots[at] != pair and slots[at] != _EMPTY:
            at = (at + np.uint64(1)) & last
        if slots[at] == _EMPTY:
            slots[at], numbers[at] = pair, n
            lefts[n], rights[n] = left_of[r], right_of[r]
            n += 1
        pattern_of[r] = numbers[at]
    return n


@kernel
def join_few_patterns(
    left_of: I32Array, right_of: I32Array, n_right: int, table: I32Array, pattern_of: I32Array, lefts: I32Array,
    rights: I32Array,
) -> int:  # fmt: skip
    """`join_patterns` where a table has room for every pair of patterns.

    Args:
        n_right: Patterns of the right range.
        table: (n,) of -1, which it is left as; n is at least the product of the numbers of patterns.
    """
    n = 0
    for r in range(len(left_of)):
        pair = left_of[r] * n_right + right_of[r]
        found = table[pair]
        if found < 0:
            found = n
            table[pair] = n
            lefts[n], rights[n] = left_of[r], right_of[r]
            n += 1
        pattern_of[r] = found
    for p in range(n):
        table[lefts[p] * n_right + rights[p]] = -1
    return n


@kernel
def sort_by(group: I32Array, starts: I32Array, order: I32Array) -> None:
    """Counting sort, stable: entries of group g become order[starts[g] : starts[g + 1]]."""
    starts[:] = 0
    for g in group:
        starts[g + 1] += 1
    for g in range(1, len(starts)):
        starts[g] += starts[g - 1]
    for i in range(len(group)):
        order[starts[group[i]]] = i
        starts[group[i]] += 1
    for g in range(len(starts) - 1, 0, -1):
        starts[g] = starts[g - 1]
    starts[0] = 0


@kernel
def arrange(
    near_of: I32Array, near_lefts: I32Array, near_rights: I32Array, wide_of: I32Array, left_starts: I32Array,
    rights: I32Array, sizes: I32Array, wide_starts: I32Array, near_of_wide: I32Array, row_starts: I32Array,
    rows: I32Array, wide_of_row: I32Array, one_of: I32Array,
) -> None:  # fmt: skip
    """Puts a segment's patterns in the order of those of its left part, enclosing ones and rows in that of patterns.

    Args:
        near_of: (R,) pattern of each row.
        near_lefts, near_rights: (n,) patterns of the left and the right part that each is made of.
        wide_of: (R,) enclosing pattern of each row.
        left_starts: (L + 1,) receives the first pattern of each pattern of the left part.
        rights, sizes: (n,) receive the right part and the number of rows of each pattern.
        wide_starts: (n + 1,) receives the first enclosing pattern of each pattern.
        near_of_wide: (W,) receives the pattern of each enclosing one.
        row_starts: (W + 1,) receives the first row of each enclosing pattern.
        rows: (R,) receives the rows by enclosing pattern, ascending in each.
        wide_of_row: (R,) receives the enclosing pattern of each row.
        one_of: (W,) receives one row of each enclosing pattern.
    """
    n_near, n_wide = len(near_lefts), len(near_of_wide)
    order, place = np.empty(max(n_near, n_wide), dtype=np.int32), np.empty(max(n_near, n_wide), dtype=np.int32)
    sort_by(near_lefts, left_starts, order)
    for p in range(n_near):
        place[order[p]] = p
        rights[p] = near_rights[order[p]]
    one, near_of_one = np.empty(n_wide, dtype=np.int32), np.empty(n_wide, dtype=np.int32)
    sizes[:] = 0
    for r in range(len(near_of)):
        sizes[place[near_of[r]]] += 1
        one[wide_of[r]] = r
    for w in range(n_wide):
        near_of_one[w] = place[near_of[one[w]]]
    sort_by(near_of_one, wide_starts, order)
    for w in range(n_wide):
        place[order[w]] = w
        near_of_wide[w], one_of[w] = near_of_one[order[w]], one[order[w]]
    for r in range(len(wide_of)):
        wide_of_row[r] = place[wide_of[r]]
    sort_by(wide_of_row, row_starts, rows)


@kernel
def bring_heads_forward(rows: I32Array, starts: I32Array, keys: U64Array, segment_hash: np.uint64) -> None:
    """Of every pattern with more than HEAD rows, puts HEAD rows first that come first by hash and row.

    Args:
        rows: (R,) rows by pattern, ascending in each.
        starts: (n + 1,) where each pattern begins.
        keys: (R,) tie-breaking keys.
        segment_hash: Of the segment.
    """
    head = np.empty(HEAD, dtype=np.int32)
    hashes, scratch = np.empty(len(rows), dtype=np.uint64), np.empty(len(rows), dtype=np.uint64)
    for p in range(len(starts) - 1):
        mine = rows[starts[p] : starts[p + 1]]
        n = len(mine)
        if n <= HEAD:
            continue
        for i in range(n):
            hashes[i] = scratch[i] = splitmix64(keys[mine[i]] ^ segment_hash)
        largest = kth(scratch, n, HEAD - 1)
        below, equal = 0, 0
        for i in range(n):
            below += hashes[i] < largest
            equal += hashes[i] == largest
        # From the end, so that what is not in the head moves up in place.
        in_head, in_tail = HEAD, n
        for i in range(n - 1, -1, -1):
            chosen = hashes[i] < largest
            if hashes[i] == largest:
                equal -= 1
                chosen = below + equal < HEAD
            if chosen:
                in_head -= 1
                head[in_head] = mine[i]
            else:
                in_tail -= 1
                mine[in_tail] = mine[i]
        mine[:HEAD] = head
