"""The compiled side of the neighbours' order: selecting and sorting candidates without sorting all references.

Candidates are aligned arrays: rows (reference numbers), near (distances over the segment), wide (over the enclosing
segment) and hashes, all in whole steps. `vcfrag_core.retrieval.order` says slowly what these loops must answer. All
functions release the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import F32Array, I32Array, I64Array, U64Array

STEPS_PER_UNIT = 1024.0
FEW = 64


@kernel
def splitmix64(x: np.uint64) -> np.uint64:
    """As `nearest.splitmix64`, of one number."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@leaf
def kth(values: Any, n: int, k: int) -> Any:
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


@leaf
def kth_of_few(values: Any, n: int, k: int, scratch: Any) -> Any:
    """The k-th smallest (from 0) of values[:n]; of a few by insertion, where most values are passed over at once."""
    if k >= FEW:
        for i in range(n):
            scratch[i] = values[i]
        return kth(scratch, n, k)
    filled = 0
    for i in range(n):
        v = values[i]
        if filled > k and v >= scratch[k]:
            continue
        at = min(filled, k)
        while at > 0 and scratch[at - 1] > v:
            scratch[at] = scratch[at - 1]
            at -= 1
        scratch[at] = v
        filled = min(filled + 1, k + 1)
    return scratch[k]


@leaf
def keep(key: Any, first: Any, second: Any, start: int, n: int, k: int, scratch: Any) -> tuple[int, int]:
    """Keeps of entries [start, start + n) those that may be among the k smallest by key, smaller ones first.

    Entries are the aligned arrays key, first and second. Returns how many are certainly in, and how many tie at the
    k-th key and come right after those.
    """
    if n <= k:
        return n, 0
    return part(key, first, second, start, n, kth_of_few(key[start:], n, k - 1, scratch))


@leaf
def part(key: Any, first: Any, second: Any, start: int, n: int, kth: Any) -> tuple[int, int]:
    """Puts entries below `kth` first and those equal to it next; how many there are of each."""
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


@leaf
def _hashes(rows: I64Array, start: int, n: int, keys: U64Array, segment_hash: np.uint64, hashes: U64Array) -> None:
    for i in range(start, start + n):
        hashes[i] = splitmix64(keys[rows[i]] ^ segment_hash)


@leaf
def _before(a: int, b: int, near: I64Array, wide: I64Array, hashes: U64Array, rows: I64Array) -> bool:
    if near[a] != near[b]:
        return bool(near[a] < near[b])
    if wide[a] != wide[b]:
        return bool(wide[a] < wide[b])
    if hashes[a] != hashes[b]:
        return bool(hashes[a] < hashes[b])
    return bool(rows[a] < rows[b])


@leaf
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


@leaf
def settle(
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
    sure, open_ties = keep(wide, near, rows, less, ties, k - less, scratch)
    less += sure
    _hashes(rows, 0, less + open_ties, keys, segment_hash, hashes)
    return first_by_hash(less, open_ties, k, wide, hashes, rows, scratch_hash)


@leaf
def first_by_hash(
    less: int, ties: int, k: int, wide: I64Array, hashes: U64Array, rows: I64Array, scratch: U64Array
) -> int:
    """From `less` certain entries and `ties` of equal distances, leaves the k nearest in front; returns how many."""
    if ties == 0:
        return less
    sure, equal = keep(hashes, wide, rows, less, ties, k - less, scratch)
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


@leaf
def emit(
    n: int,
    k: int,
    near: I64Array,
    wide: I64Array,
    hashes: U64Array,
    rows: I64Array,
    order: I64Array,
    ids: I32Array,
    unit: int,
    out_ids: I32Array,
    out_distances: F32Array,
) -> None:
    """Writes the first n candidates, in order, as k ids and distances; -1 and infinity where there are fewer."""
    _order(n, near, wide, hashes, rows, order)
    for i in range(k):
        if i < n:
            out_ids[i] = ids[rows[order[i]]]
            out_distances[i] = np.float32(near[order[i]] * unit / 1024.0)
        else:
            out_ids[i] = -1
            out_distances[i] = np.inf
