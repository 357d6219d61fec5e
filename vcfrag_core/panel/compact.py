"""Bits of a large panel in compact blocks (`blocks`), read from a file when they are asked for."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from vcfrag_core.panel.blocks import Block
from vcfrag_core.panel.storage import HaplotypeBits, Rows
from vcfrag_core.types import I64Array, IntArray, U8Array, U64Array

# Sites that are made columns at once, and haplotypes that are made rows at once.
_CHUNK_BYTES: Final = 32 << 20
_ROWS_BYTES: Final = 1 << 30
_KEPT_BYTES: Final = 96 << 20


class BlockStore(Protocol):
    """Blocks by number. Safe in threads."""

    def content(self, number: int) -> U8Array:
        """The bytes of a block, checked.

        Raises:
            CacheError: What was written is not there any more.
        """

    def block(self, number: int) -> Block:
        """The block, checked.

        Raises:
            CacheError: What was written is not there any more.
        """


class CompactBits:
    """Bits in blocks.

    Args:
        store: The blocks.
        n_haplotypes: H.
        counts: (sites of all blocks,) ALT alleles.
        block_sites: Sites of every block but the last.
        first: The first site that is meant.
        stop: The one after the last; all that follow unless given.
    """

    def __init__(
        self,
        store: BlockStore,
        n_haplotypes: int,
        counts: I64Array,
        block_sites: int,
        *,
        first: int = 0,
        stop: int | None = None,
    ) -> None:
        self.store, self.block_sites = store, block_sites
        self._n_haplotypes, self._counts = n_haplotypes, counts
        self._first, self._stop = first, len(counts) if stop is None else stop

    @property
    def n_haplotypes(self) -> int:
        return self._n_haplotypes

    @property
    def n_sites(self) -> int:
        return self._stop - self._first

    def whole(self) -> HaplotypeBits:
        """The same, in blocks of which no site is left out."""
        return self if self.n_sites == len(self._counts) else self._again(np.arange(self.n_sites), None)

    def packed(self) -> U8Array:
        return self.rows(slice(0, self.n_haplotypes))

    def rows(self, rows: slice) -> U8Array:
        from vcfrag_core.panel import kernels

        chosen = np.arange(self.n_haplotypes)[rows]
        out = np.empty((len(chosen), -(-self.n_sites // 8)), dtype=np.uint8)
        for sites in self._chunks(np.arange(self.n_sites), len(chosen)):
            columns = self.columns(sites, chosen)
            at = int(sites[0]) >> 3
            kernels.by_row(columns, out[:, at : at + len(columns)])
        return out

    def row_slices(self) -> Iterator[slice]:
        # An even number: a sample's two haplotypes stay together.
        step = 2 * max(1, _ROWS_BYTES // (2 * max(1, -(-self.n_sites // 8))))
        return (slice(b, min(b + step, self.n_haplotypes)) for b in range(0, self.n_haplotypes, step))

    def alleles(self, sites: IntArray, rows: Rows = None) -> U8Array:
        chosen = None if rows is None else np.arange(self.n_haplotypes)[rows]
        order = np.argsort(sites, kind="stable")
        out = np.empty((self.n_haplotypes if chosen is None else len(chosen), len(sites)), dtype=np.uint8)
        for places in self._chunks(order, 8 * len(out)):
            mine, which = np.unique(sites[places], return_inverse=True)
            values = np.unpackbits(self.columns(mine, chosen), axis=0, bitorder="little")
            out[:, places] = values[which].T
        return out

    def columns(self, sites: IntArray, rows: IntArray | None = None) -> U8Array:
        if rows is not None and not bool((np.diff(rows) > 0).all()):
            different, which = np.unique(rows, return_inverse=True)
            return np.ascontiguousarray(self.columns(sites, different)[:, which])
        is_every = rows is None or len(rows) == self.n_haplotypes
        chosen = None if rows is None or is_every else np.asarray(rows, dtype=np.int64)
        n = self.n_haplotypes if chosen is None else len(chosen)
        out = np.zeros((-(-len(sites) // 8), n), dtype=np.uint8)
        places = np.asarray(sites, dtype=np.int64) + self._first
        numbers = places // self.block_sites
        borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(places)]
        for begin, end in zip(borders[:-1], borders[1:], strict=True):
            if begin < end:
                number = int(numbers[begin])
                mine = places[begin:end] - number * self.block_sites
                self.store.block(number).columns(mine, chosen, out, begin)
        return out

    def keep_columns(self, sites: IntArray) -> None:
        """Nothing: the blocks that were read last are kept, whatever is asked of them."""

    def words(self, sites: IntArray) -> U64Array:
        from vcfrag_core.panel import kernels

        out = np.zeros((self.n_haplotypes, -(-len(sites) // 64)), dtype="<u8")
        in_bytes, at = out.view(np.uint8), 0
        for chunk in self._chunks(sites, self.n_haplotypes):
            columns = self.columns(chunk)
            kernels.by_row(columns, in_bytes[:, at : at + len(columns)])
            at += len(columns)
        return out

    def counts(self, rows: IntArray | None = None) -> I64Array:
        if rows is None or np.array_equal(np.sort(rows), np.arange(self.n_haplotypes)):
            return self._counts[self._first : self._stop].copy()
        from vcfrag_core.panel import kernels

        every = self._chunks(np.arange(self.n_sites), len(rows))
        parts = [kernels.site_counts(self.columns(sites, rows))[: len(sites)] for sites in every]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def counts_at(self, sites: IntArray) -> I64Array:
        return self._counts[np.asarray(sites) + self._first]

    def select_rows(self, rows: IntArray) -> HaplotypeBits:
        return self._again(np.arange(self.n_sites), rows)

    def select_sites(self, sites: IntArray) -> HaplotypeBits:
        if len(sites) and sites[-1] - sites[0] == len(sites) - 1:
            first = self._first + int(sites[0])
            return CompactBits(
                self.store,
                self.n_haplotypes,
                self._counts,
                self.block_sites,
                first=first,
                stop=first + len(sites),
            )
        return self._again(sites, None)

    def _again(self, sites: IntArray, rows: IntArray | None) -> HaplotypeBits:
        """Some sites and haplotypes, kept as befits their number."""
        from vcfrag_core.panel.growing_bits import GrowingBits

        n = self.n_haplotypes if rows is None else len(rows)
        made = GrowingBits(n)
        for chunk in self._chunks(sites, n):
            made.append_columns(self.columns(chunk, rows), len(chunk))
        return made.finish()

    @staticmethod
    def _chunks(sites: IntArray, n_columns: int) -> Iterator[IntArray]:
        """The sites, a multiple of 64 at a time but for the last."""
        step = 64 * max(1, _CHUNK_BYTES // (8 * max(1, n_columns)))
        return (sites[b : b + step] for b in range(0, len(sites), step))


def read_fully(descriptor: int, block: memoryview, at: int) -> bool:
    """Reads as many bytes of a file as the block holds; says whether there were so many."""
    while block:
        n = os.preadv(descriptor, [block], at)
        if n == 0:
            return False
        block, at = block[n:], at + n
    return True


class RecentBlocks:
    """Blocks that were read last, kept within some memory: neighbouring sites are asked for one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Block] = OrderedDict()
        self._n_bytes = 0

    def get(self, number: int) -> Block | None:
        """The block, if it is kept."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
            return self._kept.get(number)

    def put(self, number: int, block: Block) -> None:
        """Keeps a block, and forgets others."""
        with self._lock:
            if number in self._kept:
                return
            self._kept[number] = block
            self._n_bytes += block.n_bytes
            while self._n_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._n_bytes -= self._kept.popitem(last=False)[1].n_bytes
