"""The reference panel: phased haplotypes of one contig, packed to bits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError, UnknownSampleError
from vcfrag_core.hashing import hasher, update_strings
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F64Array, I32Array, I64Array, IntArray, U8Array

ROWS_AT_ONCE = 512


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
        packed: (H, ceil(V / 8)) alleles; bit order as in `vcfrag_core.panel.bits`.
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
    packed: U8Array
    contig_length: int | None = None
    source: str = ""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        v = len(self.positions)
        if not len(self.refs) == len(self.alts) == len(self.site_ids) == v:
            raise ShapeError(f"{v} positions, {len(self.refs)} REF, {len(self.alts)} ALT, {len(self.site_ids)} ids")
        if self.ploidy.n_samples != len(self.samples):
            raise ShapeError(f"{len(self.samples)} samples, ploidy of {self.ploidy.n_samples}")
        shape = (self.ploidy.n_haplotypes, bit.n_bytes(v))
        if self.packed.shape != shape or self.packed.dtype != np.uint8:
            raise ShapeError(
                f"{len(self.samples)} samples x {v} sites need uint8 of shape {shape}, "
                f"got {self.packed.dtype} of {self.packed.shape}"
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
        """A panel from (H, V) zeros and ones; what is not given is made up: diploid, positions 1000, 1100, ..., A>C."""
        h, v = haplotypes.shape
        ploidy = Ploidy.of_rows(h, ploidy)
        if not bool(((haplotypes == 0) | (haplotypes == 1)).all()):
            raise RangeError("panel haplotypes are 0 or 1")
        return cls(
            contig=contig,
            positions=(1000 + 100 * np.arange(v) if positions is None else np.asarray(positions)).astype(np.int32),
            refs=tuple(refs) if refs is not None else ("A",) * v,
            alts=tuple(alts) if alts is not None else ("C",) * v,
            site_ids=(".",) * v,
            samples=tuple(samples) if samples is not None else tuple(f"S{i:04d}" for i in range(ploidy.n_samples)),
            ploidy=ploidy,
            packed=bit.pack(haplotypes.astype(np.uint8)),
        )

    @functools.cached_property
    def digest(self) -> str:
        """Of contig, positions, alleles, samples and bits, computed once: a panel's arrays are not to be written to."""
        return panel_digest(self)

    @property
    def n_sites(self) -> int:
        return len(self.positions)

    @property
    def n_samples(self) -> int:
        return len(self.samples)

    @property
    def n_haplotypes(self) -> int:
        return len(self.packed)

    def haplotypes(self, rows: IntArray | slice | None = None, start: int = 0, stop: int | None = None) -> U8Array:
        """(n, stop - start) uint8 alleles of the haplotypes `rows` (all of them unless given)."""
        chosen = self.packed if rows is None else self.packed[rows]
        return bit.unpack(chosen, start, self.n_sites if stop is None else stop)

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
        counts = np.zeros(self.n_sites, dtype=np.int64)
        for block in range(0, n, ROWS_AT_ONCE):
            part = slice(block, block + ROWS_AT_ONCE)
            chosen = self.packed[part if rows is None else rows[part]]
            counts += bit.unpack(chosen, 0, self.n_sites).sum(axis=0, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            return counts / np.float64(n)

    def site_label(self, site: int) -> str:
        """`contig:position REF>ALT`, for messages."""
        return f"{self.contig}:{self.positions[site]} {self.refs[site]}>{self.alts[site]}"

    def select_samples(self, names: Sequence[str]) -> Panel:
        """The panel of the named samples only, in that order."""
        return dataclasses.replace(
            self, samples=tuple(names), ploidy=self.ploidy_of(names), packed=self.packed[self.rows_of(names)]
        )

    def select_sites(self, sites: IntArray) -> Panel:
        """The panel at the given ascending site indices only."""
        chosen = [int(i) for i in sites]
        return dataclasses.replace(
            self,
            positions=self.positions[sites],
            refs=tuple(self.refs[i] for i in chosen),
            alts=tuple(self.alts[i] for i in chosen),
            site_ids=tuple(self.site_ids[i] for i in chosen),
            packed=np.concatenate(
                [
                    bit.pack(self.haplotypes(slice(b, b + ROWS_AT_ONCE))[:, sites])
                    for b in range(0, self.n_haplotypes, ROWS_AT_ONCE)
                ]
            ),
        )


def panel_digest(panel: Panel) -> str:
    """Contig, positions, alleles, sample names, ploidy and haplotype bits; takes about 1 s per GB of bits."""
    made = hasher("panel" if panel.ploidy.is_diploid else "ploidy")
    if not panel.ploidy.is_diploid:
        update_strings(made, [str(panel.ploidy)])
    update_strings(made, [panel.contig])
    made.update(np.asarray(panel.positions, dtype="<i4").tobytes())
    for strings in (panel.refs, panel.alts, panel.samples):
        update_strings(made, strings)
    made.update(np.ascontiguousarray(panel.packed).data)
    return made.hexdigest()


def alleles_at(panel: Panel, sites: I64Array, rows: slice | None = None) -> U8Array:
    """(n, M) alleles of haplotypes, all unless `rows` chooses, at the panel sites (M,)."""
    packed = panel.packed if rows is None else panel.packed[rows]
    return np.asarray((packed[:, sites >> 3] >> (sites & 7).astype(np.uint8)) & 1, dtype=np.uint8)


def frequency_at(panel: Panel, sites: I64Array) -> F64Array:
    """(M,) share of ALT at the panel sites (M,)."""
    counts = np.zeros(len(sites), dtype=np.int64)
    for start in range(0, panel.n_haplotypes, ROWS_AT_ONCE):
        counts += alleles_at(panel, sites, slice(start, start + ROWS_AT_ONCE)).sum(axis=0, dtype=np.int64)
    return counts / np.float64(panel.n_haplotypes)
