"""Bits that come site by site: haplotype by haplotype in memory if they stay few, else compact blocks in a file."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np

from vcfrag_core.errors import CacheError
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel import storage
from vcfrag_core.panel.blocks import Block, decode, encode
from vcfrag_core.panel.compact import CompactBits, RecentBlocks, read_fully
from vcfrag_core.panel.storage import DenseBits, HaplotypeBits
from vcfrag_core.types import BoolArray, I64Array, U8Array

_GROUPS = 16
# Columns that become one block.
_BLOCK_BYTES: Final = 32 << 20
_MIN_BLOCK_SITES: Final = 1024
_MAX_BLOCK_SITES: Final = 16_384


def sites_per_block(n_haplotypes: int) -> int:
    """A power of two, fewer of more haplotypes."""
    sites = _MAX_BLOCK_SITES
    while sites > _MIN_BLOCK_SITES and sites // 8 * n_haplotypes > _BLOCK_BYTES:
        sites //= 2
    return sites


class GrowingBits:
    """Takes bits by site and gives all of them in the end; empty afterwards.

    Args:
        n_haplotypes: H.
        scratch: Where the file of compact blocks lies, which has no name and goes with the last that reads it; the
            folder for temporary files unless given.
    """

    def __init__(self, n_haplotypes: int, scratch: Path | None = None) -> None:
        self._n_haplotypes, self._scratch = n_haplotypes, scratch
        self._few: _Transposed | None = _Transposed(n_haplotypes)
        self._blocks: _BlockWriter | None = None
        self._n_sites = 0

    def append(self, alleles: BoolArray) -> None:
        """Adds (n, H) alleles; n is a multiple of 8 except at the end."""
        # Packing along the last axis of a transposed copy is twice as fast as along the first.
        self.append_columns(bit.pack(np.ascontiguousarray(alleles.T)).T, len(alleles))

    def append_columns(self, columns: U8Array, n_sites: int) -> None:
        """Adds (ceil(n_sites / 8), H) columns; n_sites is a multiple of 8 except at the end."""
        self._n_sites += n_sites
        if self._few is not None and (self._few.n_bytes + len(columns)) * self._n_haplotypes > storage.DENSE_BYTES:
            self._blocks = _BlockWriter(self._n_haplotypes, self._scratch)
            for before in self._few.columns():
                self._blocks.append(before, 8 * len(before))
            self._few = None
        if self._few is not None:
            self._few.append(columns)
        elif self._blocks is not None:
            self._blocks.append(columns, n_sites)

    def finish(self) -> HaplotypeBits:
        """All bits."""
        if self._blocks is not None:
            return self._blocks.finish()
        few, self._few = self._few, None
        if few is None:
            raise ValueError("the bits were given away")
        return DenseBits(few.haplotype_major(), self._n_sites)


class _Transposed:
    """Columns in memory that become rows.

    They are kept in groups of haplotypes, so that the transposition at the end needs the panel and one group, not
    the panel twice; each group in a mapping of its own, because only mappings are sure to go back to the system.
    """

    def __init__(self, n_haplotypes: int) -> None:
        borders = sorted({n_haplotypes * i // _GROUPS for i in range(_GROUPS + 1)})
        self._slices = [slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True)]
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._groups = [mmap.mmap(-1, mmap.PAGESIZE, flags=flags) for _ in self._slices]
        self.n_bytes = 0

    def append(self, columns: U8Array) -> None:
        for part, group in zip(self._slices, self._groups, strict=True):
            width = part.stop - part.start
            needed = (self.n_bytes + len(columns)) * width
            if needed > len(group):
                # Moves pages, not bytes; a page that is never written to takes no memory.
                group.resize(2 * needed)
            self._rows(group, width, self.n_bytes, len(columns))[:] = columns[:, part]
        self.n_bytes += len(columns)

    def haplotype_major(self) -> U8Array:
        """(H, bytes) bits; empties this object as it goes."""
        packed = np.empty((self._slices[-1].stop, self.n_bytes), dtype=np.uint8)
        for part, group in zip(self._slices, self._groups, strict=True):
            packed[part] = self._rows(group, part.stop - part.start, 0, self.n_bytes).T
            group.close()
        return packed

    def columns(self) -> Iterator[U8Array]:
        """All of them, in pieces."""
        step = 64
        for start in range(0, self.n_bytes, step):
            parts = [
                self._rows(group, part.stop - part.start, start, min(step, self.n_bytes - start))
                for part, group in zip(self._slices, self._groups, strict=True)
            ]
            yield np.concatenate(parts, axis=1)

    @staticmethod
    def _rows(group: mmap.mmap, width: int, start: int, n_rows: int) -> U8Array:
        return np.frombuffer(group, np.uint8, n_rows * width, start * width).reshape(n_rows, width)


class TemporaryBlocks:
    """Blocks in a file that has no name, and so is nobody else's: its content is believed."""

    def __init__(self, scratch: Path | None) -> None:
        with _temporary_file(scratch) as file:
            self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)
        self.borders = [0]
        self._recent = RecentBlocks()

    def append(self, content: U8Array) -> None:
        """Writes the next block."""
        left, at = content.data, self.borders[-1]
        while left:
            n = os.pwrite(self.descriptor, left, at)
            left, at = left[n:], at + n
        self.borders.append(at)

    def content(self, number: int) -> U8Array:
        """The bytes of a block."""
        start, stop = self.borders[number : number + 2]
        content: U8Array = np.empty(stop - start, dtype=np.uint8)
        if not read_fully(self.descriptor, content.data, start):
            raise CacheError("a temporary file of the panel was cut short")
        return content

    def block(self, number: int) -> Block:
        found = self._recent.get(number)
        if found is None:
            found = decode(self.content(number))
            self._recent.put(number, found)
        return found


def _temporary_file(folder: Path | None) -> IO[bytes]:
    """A file without a name in the folder, which is made if need be; elsewhere if that does not go."""
    try:
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        if folder is None:
            raise
    return tempfile.TemporaryFile()


class _BlockWriter:
    """Gathers columns into blocks."""

    def __init__(self, n_haplotypes: int, scratch: Path | None) -> None:
        self._store = TemporaryBlocks(scratch)
        self._block_sites = sites_per_block(n_haplotypes)
        self._columns: U8Array = np.empty((self._block_sites // 8, n_haplotypes), dtype=np.uint8)
        self._n_sites = 0
        self._counts: list[I64Array] = []

    def append(self, columns: U8Array, n_sites: int) -> None:
        start = 0
        while start < n_sites:
            begin = self._n_sites >> 3
            n = min(n_sites - start, self._block_sites - self._n_sites)
            here = columns[start >> 3 : (start + n + 7) >> 3]
            self._columns[begin : begin + len(here)] = here
            self._n_sites, start = self._n_sites + n, start + n
            if self._n_sites == self._block_sites:
                self._write()

    def finish(self) -> CompactBits:
        if self._n_sites:
            self._write()
        return CompactBits(self._store, self._columns.shape[1], np.concatenate(self._counts), self._block_sites)

    def _write(self) -> None:
        content, counts = encode(self._columns[: -(-self._n_sites // 8)], self._n_sites)
        self._store.append(content)
        self._counts.append(counts)
        self._n_sites = 0
