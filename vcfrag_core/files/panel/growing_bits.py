"""Bits that come site by site and are wanted haplotype by haplotype."""

from __future__ import annotations

import mmap

import numpy as np

from vcfrag_core.panel import bits as bit
from vcfrag_core.types import BoolArray, U8Array

_GROUPS = 16


class GrowingBits:
    """Takes bits by site and gives them by haplotype.

    They are kept in groups of haplotypes, so that the transposition at the end needs the panel and one group, not
    the panel twice; each group in a mapping of its own, because only mappings are sure to go back to the system.
    """

    def __init__(self, n_haplotypes: int) -> None:
        borders = sorted({n_haplotypes * i // _GROUPS for i in range(_GROUPS + 1)})
        self._slices = [slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True)]
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._groups = [mmap.mmap(-1, mmap.PAGESIZE, flags=flags) for _ in self._slices]
        self._n_bytes = 0

    def append(self, alleles: BoolArray) -> None:
        """Adds (n, H) alleles; n is a multiple of 8 except at the end."""
        # Packing along the last axis of a transposed copy is twice as fast as along the first.
        rows = bit.pack(np.ascontiguousarray(alleles.T)).T
        for part, group in zip(self._slices, self._groups, strict=True):
            width = part.stop - part.start
            needed = (self._n_bytes + len(rows)) * width
            if needed > len(group):
                # Moves pages, not bytes; a page that is never written to takes no memory.
                group.resize(2 * needed)
            self._rows(group, width, self._n_bytes, len(rows))[:] = rows[:, part]
        self._n_bytes += len(rows)

    def haplotype_major(self) -> U8Array:
        """(H, bytes) bits; empties this object as it goes."""
        packed = np.empty((self._slices[-1].stop, self._n_bytes), dtype=np.uint8)
        for part, group in zip(self._slices, self._groups, strict=True):
            packed[part] = self._rows(group, part.stop - part.start, 0, self._n_bytes).T
            group.close()
        return packed

    @staticmethod
    def _rows(group: mmap.mmap, width: int, start: int, n_rows: int) -> U8Array:
        return np.frombuffer(group, np.uint8, n_rows * width, start * width).reshape(n_rows, width)
