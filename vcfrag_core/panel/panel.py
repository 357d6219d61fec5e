"""The reference panel: phased haplotypes of one contig, as bits."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError, UnknownSampleError
from vcfrag_core.hashing import hasher, update_strings
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits, HaplotypeBits
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, F64Array, I32Array, I64Array, IntArray, U8Array, U64Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Phased, complete, biallelic haplotypes at the sorted sites of one contig.

    Attributes:
        contig: Name of the contig as in the file.
        positions: (V,) 1-based positions, non-decreasing.
        refs: V reference alleles.
        alts: V alternate alleles.
        site_ids: V identifiers of the ID column, "." where there is none; not part of the digest.
        samples: S sample names, unique.
        ploidy: Which haplotypes are whose.
        bits: The alleles, however they are kept.
        contig_length: Base pairs of the contig where the file says so; not part of the digest.
        source: The file that it was read from, for messages and records; not part of the digest.
        counts: What was done to the file's records as they were read, by name; not part of the digest.
    """

    contig: str
    positions: I32Array
    refs: tuple[str, ...]
    alts: tuple[str, ...]
    site_ids: tuple[str, ...]
    samples: tuple[str, ...]
    ploidy: Ploidy
    bits: HaplotypeBits
    contig_length: int | None = None
    source: str = ""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    __repr__ = repr_by_shape

    def __post_init__(self) -> None:
        v = len(self.positions)
        if not len(self.refs) == len(self.alts) == len(self.site_ids) == v:
            raise ShapeError(f"{v} positions, {len(self.refs)} REF, {len(self.alts)} ALT, {len(self.site_ids)} ids")
        if self.ploidy.n_samples != len(self.samples):
            raise ShapeError(f"{len(self.samples)} samples, ploidy of {self.ploidy.n_samples}")
        shape = (self.bits.n_haplotypes, self.bits.n_sites)
        if shape != (self.ploidy.n_haplotypes, v):
            raise ShapeError(
                f"{len(self.samples)} samples of {self.ploidy.n_haplotypes} haplotypes x {v} sites, bits of {shape}"
            )
        if len(set(self.samples)) != len(self.samples):
            raise ShapeError("sample names are not unique")
        if v and bool((np.diff(self.positions) < 0).any()):
            raise RangeError("positions are not sorted")

    @classmethod
    def from_haplotypes(
        cls,
        haplotypes: IntArray | BoolArray,
        *,
        contig: str = "1",
        positions: IntArray | None = None,
        samples: Sequence[str] | None = None,
        refs: Sequence[str] | None = None,
        alts: Sequence[str] | None = None,
        ploidy: Ploidy | None = None,
    ) -> Panel:
        """A panel from (H, V) zeros and ones; what is not given is made up: diploid, positions 1000, 1100, ..., A>C.

        Raises:
            RangeError: Haplotypes are not 0 or 1, or positions no ascending whole numbers from 1 to 2147483647.
            ShapeError: The lengths do not agree.
        """
        h, v = haplotypes.shape
        places = 1000 + 100 * np.arange(v) if positions is None else np.asarray(positions)
        whole = places.astype(np.int32)
        if not bool(((whole == places) & (whole >= 1)).all()):
            raise RangeError(f"positions are whole numbers from 1 to {np.iinfo(np.int32).max}")
        ploidy = Ploidy.of_rows(h, ploidy)
        if not bool(((haplotypes == 0) | (haplotypes == 1)).all()):
            raise RangeError("panel haplotypes are 0 or 1")
        return cls(
            contig=contig,
            positions=whole,
            refs=tuple(refs) if refs is not None else ("A",) * v,
            alts=tuple(alts) if alts is not None else ("C",) * v,
            site_ids=(".",) * v,
            samples=tuple(samples) if samples is not None else tuple(f"S{i:04d}" for i in range(ploidy.n_samples)),
            ploidy=ploidy,
            bits=DenseBits(bit.pack(haplotypes.astype(np.uint8)), v),
        )

    @functools.cached_property
    def digest(self) -> str:
        """Of contig, positions, alleles, samples and bits, computed once: a panel's arrays are not to be written to."""
        return panel_digest(self)

    @functools.cached_property
    def keys(self) -> U64Array:
        """(H,) `keys.haplotype_keys`, computed once."""
        from vcfrag_core.panel.keys import haplotype_keys

        return haplotype_keys(self)

    @functools.cached_property
    def allele_changes(self) -> I64Array:
        """(2, V) `pbwt.changes_both_ways` of all haplotypes, computed once."""
        from vcfrag_core.panel.pbwt import changes_both_ways

        return changes_both_ways(self.bits, np.arange(self.n_haplotypes), self.alt_frequency())

    @property
    def packed(self) -> U8Array:
        """(H, ceil(V / 8)) alleles as in `vcfrag_core.panel.bits`; of a large panel made anew, in as much memory."""
        return self.bits.packed()

    @property
    def n_sites(self) -> int:
        return len(self.positions)

    @property
    def n_samples(self) -> int:
        return len(self.samples)

    @property
    def n_haplotypes(self) -> int:
        return self.bits.n_haplotypes

    def haplotypes(self, rows: IntArray | slice | None = None, start: int = 0, stop: int | None = None) -> U8Array:
        """(n, stop - start) uint8 alleles of the haplotypes `rows` (all of them unless given)."""
        return self.bits.alleles(np.arange(start, self.n_sites if stop is None else stop), rows)

    def rows_of(self, samples: Iterable[str]) -> I64Array:
        """(n,) haplotype ids of the samples, in the order given.

        Raises:
            UnknownSampleError: A name is not in the panel.
        """
        return self.ploidy.rows(self._numbers_of(samples))

    def ploidy_of(self, samples: Iterable[str]) -> Ploidy:
        """Which of `rows_of` the samples are whose.

        Raises:
            UnknownSampleError: A name is not in the panel.
        """
        return self.ploidy.select(self._numbers_of(samples))

    def _numbers_of(self, samples: Iterable[str]) -> I64Array:
        index = {name: i for i, name in enumerate(self.samples)}
        names = list(samples)
        unknown = [name for name in names if name not in index]
        if unknown:
            raise UnknownSampleError(f"{len(unknown)} samples are not in the panel, the first is {unknown[0]!r}")
        return np.array([index[name] for name in names], dtype=np.int64)

    def alt_frequency(self, rows: IntArray | None = None) -> F64Array:
        """(V,) share of ALT among the haplotypes `rows` (all unless given); NaN when there is none."""
        n = self.n_haplotypes if rows is None else len(rows)
        with np.errstate(invalid="ignore"):
            return self.bits.counts(rows) / np.float64(n)

    def site_label(self, site: int) -> str:
        """`contig:position REF>ALT`, for messages."""
        return f"{self.contig}:{self.positions[site]} {self.refs[site]}>{self.alts[site]}"

    def select_samples(self, names: Sequence[str]) -> Panel:
        """The panel of the named samples only, in that order."""
        bits = self.bits.select_rows(self.rows_of(names))
        return dataclasses.replace(self, samples=tuple(names), ploidy=self.ploidy_of(names), bits=bits)

    def select_sites(self, sites: IntArray) -> Panel:
        """The panel at the given ascending site indices only."""
        chosen = [int(i) for i in sites]
        return dataclasses.replace(
            self,
            positions=self.positions[sites],
            refs=tuple(self.refs[i] for i in chosen),
            alts=tuple(self.alts[i] for i in chosen),
            site_ids=tuple(self.site_ids[i] for i in chosen),
            bits=self.bits.select_sites(sites),
        )


def panel_digest(panel: Panel) -> str:
    """Contig, positions, alleles, sample names, ploidy and haplotype bits; takes about 1 s per GB of bits."""
    made = digest_without_bits(panel)
    for rows in panel.bits.row_slices():
        made.update(np.ascontiguousarray(panel.bits.rows(rows)).data)
    return made.hexdigest()


def digest_without_bits(panel: Panel) -> hashlib.blake2b:
    """The digest before it has taken in the first haplotype."""
    made = hasher("panel" if panel.ploidy.is_diploid else "ploidy")
    if not panel.ploidy.is_diploid:
        update_strings(made, [str(panel.ploidy)])
    update_strings(made, [panel.contig])
    made.update(np.asarray(panel.positions, dtype="<i4").tobytes())
    for strings in (panel.refs, panel.alts, panel.samples):
        update_strings(made, strings)
    return made


def alleles_at(panel: Panel, sites: I64Array, rows: IntArray | slice | None = None) -> U8Array:
    """(n, M) alleles of haplotypes, all unless `rows` chooses, at the panel sites (M,)."""
    return panel.bits.alleles(sites, rows)


def frequency_at(panel: Panel, sites: I64Array) -> F64Array:
    """(M,) share of ALT at the panel sites (M,)."""
    return panel.bits.counts_at(sites) / np.float64(panel.n_haplotypes)
