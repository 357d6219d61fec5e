"""Queries that are alike over a segment: one is searched for, and its neighbours are those of the others.

The draws of one sample's phase differ in few places, and so do its haplotypes in each of them.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.search.select import splitmix64
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U8Array

# Any odd number whose bits are mixed.
_ODD = np.uint64(0x9E3779B97F4A7C15)


@leaf
def _same_rows(excluded: I64Array, starts: I64Array, a: int, b: int) -> bool:
    """Whether two queries may not see the same rows."""
    n = starts[a + 1] - starts[a]
    if starts[b + 1] - starts[b] != n:
        return False
    differ = 0
    for i in range(n):
        differ += excluded[starts[a] + i] != excluded[starts[b] + i]
    return differ == 0


@leaf
def _same_bytes(alleles: U8Array, called: U8Array, a: int, b: int, first: int, last: int) -> bool:
    """Whether two queries have the same bytes first..last, both included."""
    for byte in range(first, last + 1):
        if alleles[a, byte] != alleles[b, byte] or called[a, byte] != called[b, byte]:
            return False
    return True


@kernel
def find_alike(
    alleles: U8Array, called: U8Array, excluded: I64Array, excluded_starts: I64Array, bits: I64Array, first: I32Array
) -> bool:
    """The first of the queries that each is alike in every segment, by all bytes that its enclosing range touches.

    Args:
        alleles, called: (Q, B) query strips.
        excluded, excluded_starts: Rows that they may not see; see `vcfrag_core.search.scan.scan`.
        bits: (G, 2) first strip bit of each segment's enclosing range and the one after its last.
        first: (G, Q) filled.

    Returns:
        Whether any two are alike.
    """
    n_queries = len(alleles)
    n_slots = 2
    while n_slots < 2 * n_queries:
        n_slots *= 2
    slots, found = np.empty(n_slots, dtype=np.int32), False
    for g in range(len(bits)):
        start, stop = bits[g, 0] >> 3, (bits[g, 1] - 1) >> 3
        slots[:] = -1
        for q in range(n_queries):
            mixed = np.uint64(0)
            for byte in range(start, stop + 1):
                mixed = (mixed ^ np.uint64(alleles[q, byte]) ^ np.uint64(called[q, byte]) << np.uint64(8)) * _ODD
            at = np.int64(splitmix64(mixed) & np.uint64(n_slots - 1))
            while slots[at] >= 0 and not (
                _same_bytes(alleles, called, slots[at], q, start, stop)
                and _same_rows(excluded, excluded_starts, slots[at], q)
            ):
                at = (at + 1) & (n_slots - 1)
            if slots[at] < 0:
                slots[at] = q
            first[g, q] = slots[at]
            found |= slots[at] != q
    return found


class Alike:
    """Which queries are searched for in which segments.

    Args:
        alleles, called, excluded, excluded_starts, bits: See `find_alike`.

    Attributes:
        wanted: (G, Q) whether a query is searched for, being the first that is as it is.
    """

    def __init__(
        self, alleles: U8Array, called: U8Array, excluded: I64Array, excluded_starts: I64Array, bits: I64Array
    ) -> None:
        self._first: I32Array = np.empty((len(bits), len(alleles)), dtype=np.int32)
        self._any = find_alike(alleles, called, excluded, excluded_starts, bits, self._first)
        self.wanted: BoolArray = self._first == np.arange(len(alleles), dtype=np.int32)

    def share(self, ids: I32Array, distances: F32Array) -> None:
        """Gives the others, in (G, Q, K) answers, what was found for the first."""
        if not self._any:
            return
        for g in range(len(self._first)):
            others = np.flatnonzero(~self.wanted[g])
            if len(others):
                ids[g, others] = ids[g, self._first[g, others]]
                distances[g, others] = distances[g, self._first[g, others]]
