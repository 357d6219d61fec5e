"""What a panel's readers ask of its bits, however they are kept; and bits that are all in memory.

Bits of at most DENSE_BYTES are kept as they are, haplotype by haplotype; those of a larger panel in compact blocks
(`compact`), in a file of their own or the panel's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel import bits as bit
from vcfrag_core.types import I64Array, IntArray, U8Array, U64Array

DENSE_BYTES = 512 << 20
ROWS_AT_ONCE: Final = 512

# Which haplotypes: all of them where None.
Rows = IntArray | slice | None


class HaplotypeBits(Protocol):
    """The alleles of H haplotypes at V sites. Safe in threads; never written to."""

    @property
    def n_haplotypes(self) -> int:
        """H."""

    @property
    def n_sites(self) -> int:
        """V."""

    def packed(self) -> U8Array:
        """(H, ceil(V / 8)) all of them; of compact bits made anew, in as much memory."""

    def rows(self, rows: slice) -> U8Array:
        """(n, ceil(V / 8)) all sites of haplotypes that follow each other."""

    def row_slices(self) -> Iterator[slice]:
        """All haplotypes, as many at once as `rows` should be asked for: an even number, but for the last."""

    def alleles(self, sites: IntArray, rows: Rows = None) -> U8Array:
        """(n, M) zeros and ones of haplotypes at some sites, in any order."""

    def columns(self, sites: IntArray, rows: IntArray | None = None) -> U8Array:
        """(ceil(M / 8), n) bits at ascending sites, eight sites to a row, site m being bit m & 7 of row m >> 3."""

    def keep_columns(self, sites: IntArray) -> None:
        """Reads the columns of ascending sites once, for many that are asked of some of these."""

    def words(self, sites: IntArray) -> U64Array:
        """(H, ceil(M / 64)) bits at ascending sites, bit i of a row being that of sites[i]."""

    def counts(self, rows: IntArray | None = None) -> I64Array:
        """(V,) ALT alleles of haplotypes."""

    def counts_at(self, sites: IntArray) -> I64Array:
        """(M,) ALT alleles of all haplotypes at some sites."""

    def select_rows(self, rows: IntArray) -> HaplotypeBits:
        """Those of the haplotypes only, in that order."""

    def select_sites(self, sites: IntArray) -> HaplotypeBits:
        """Those at the ascending sites only."""


class DenseBits:
    """Bits in memory.

    Args:
        packed: (H, ceil(V / 8)) bits; order as in `vcfrag_core.panel.bits`.
        n_sites: V.

    Raises:
        ShapeError: The bits have another shape or type.
    """

    def __init__(self, packed: U8Array, n_sites: int) -> None:
        width = bit.n_bytes(n_sites)
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != width:
            raise ShapeError(f"{n_sites} sites need uint8 of (H, {width}), got {packed.dtype} of {packed.shape}")
        self._packed, self._n_sites = packed, n_sites
        self._counts: I64Array | None = None
        self._kept: tuple[I64Array, U8Array] | None = None

    @property
    def n_haplotypes(self) -> int:
        return len(self._packed)

    @property
    def n_sites(self) -> int:
        return self._n_sites

    def packed(self) -> U8Array:
        return self._packed

    def rows(self, rows: slice) -> U8Array:
        return self._packed[rows]

    def row_slices(self) -> Iterator[slice]:
        yield slice(0, self.n_haplotypes)

    def alleles(self, sites: IntArray, rows: Rows = None) -> U8Array:
        packed = self._packed if rows is None else self._packed[rows]
        if len(sites) and bool((np.diff(sites) == 1).all()):
            return bit.unpack(packed, int(sites[0]), int(sites[-1]) + 1)
        return np.asarray((packed[:, sites >> 3] >> (sites & 7).astype(np.uint8)) & 1, dtype=np.uint8)

    def columns(self, sites: IntArray, rows: IntArray | None = None) -> U8Array:
        from vcfrag_core.panel import kernels

        every = np.arange(self.n_haplotypes)
        kept = self._of_kept(sites)
        if kept is not None:
            return kept if rows is None or np.array_equal(rows, every) else np.take(kept, rows, axis=1)
        chosen = every if rows is None else np.asarray(rows, dtype=np.int64)
        return kernels.observed_columns(self._packed, chosen, np.asarray(sites, dtype=np.int64))

    def keep_columns(self, sites: IntArray) -> None:
        if self._kept is None or not np.array_equal(self._kept[0], sites):
            self._kept = (np.asarray(sites, dtype=np.int64), self.columns(sites))

    def _of_kept(self, sites: IntArray) -> U8Array | None:
        """The columns of the sites, where all of them are kept."""
        from vcfrag_core.panel import kernels

        if self._kept is None:
            return None
        known, columns = self._kept
        places = np.searchsorted(known, sites)
        if not np.array_equal(known[places[places < len(known)]], sites):
            return None
        return kernels.regroup(columns, places)

    def words(self, sites: IntArray) -> U64Array:
        from vcfrag_core.panel import kernels

        kept = self._of_kept(sites)
        if kept is not None:
            return kernels.words_of(kernels.by_column(kept))
        return kernels.site_words(self._packed, np.asarray(sites, dtype=np.int64))

    def counts(self, rows: IntArray | None = None) -> I64Array:
        from vcfrag_core.panel import kernels

        every = np.arange(self.n_haplotypes)
        if rows is None or np.array_equal(rows, every):
            if self._counts is None:
                self._counts = kernels.bit_counts(self._packed, every)[: self._n_sites]
            return self._counts.copy()
        return kernels.bit_counts(self._packed, np.asarray(rows, dtype=np.int64))[: self._n_sites]

    def counts_at(self, sites: IntArray) -> I64Array:
        return self.counts()[sites] if self._counts is None else self._counts[sites]

    def select_rows(self, rows: IntArray) -> HaplotypeBits:
        return DenseBits(self._packed[rows], self._n_sites)

    def select_sites(self, sites: IntArray) -> HaplotypeBits:
        every = range(0, self.n_haplotypes, ROWS_AT_ONCE)
        parts = [bit.pack(self.alleles(sites, slice(b, b + ROWS_AT_ONCE))) for b in every]
        return DenseBits(np.concatenate(parts), len(sites))
