"""What a target's records have in common before and after everybody's ploidy is settled."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.types import BoolArray, I8Array, I32Array


def nowhere() -> I32Array:
    """No position."""
    return np.zeros(0, dtype=np.int32)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecordColumns:
    """All R records of one contig of a target, sorted by position.

    Attributes:
        contig: Its name in the target.
        samples: S sample names.
        positions: (R,) 1-based positions.
        refs: R reference alleles, in upper case.
        alts: R tuples of ALT alleles, in upper case; empty where there is none.
        site_ids: R identifiers.
        alleles: (R, …) allele numbers, each kind of record with axes of its own.
        is_phased: (R, S) whether it is known which haplotype carries which allele; true where both are equal.
        ref_is_known: (R,) whether REF is the reference genome's, and not just one of two alleles.
        phase_sets: (R, S) phase set of each call, 0 where none is named: phase is known within one only. None where
            all calls of each sample are in one.
        contig_length: Base pairs of the contig where the header says so.
        build: The assembly of the human genome that the whole file tells, `genome.markers.told_build`.
        split_at: Positions of records that had several ALT alleles, once for each; see `splitting.split_records`.
        source: The file.
    """

    contig: str
    samples: tuple[str, ...]
    positions: I32Array
    refs: tuple[str, ...]
    alts: tuple[tuple[str, ...], ...]
    site_ids: tuple[str, ...]
    alleles: I8Array
    is_phased: BoolArray
    ref_is_known: BoolArray
    phase_sets: I32Array | None = None
    contig_length: int | None = None
    build: str | None = None
    split_at: I32Array = dataclasses.field(default_factory=nowhere)
    source: str = ""

    def __post_init__(self) -> None:
        n, s = len(self.positions), len(self.samples)
        if not len(self.refs) == len(self.alts) == len(self.site_ids) == len(self.ref_is_known) == n:
            raise ShapeError(f"{n} positions, {len(self.refs)} REF, {len(self.alts)} ALT, {len(self.site_ids)} ids")
        if self.alleles.shape[0] != n or self.alleles.dtype != np.int8 or self.is_phased.shape != (n, s):
            raise ShapeError(f"{n} records of {s} samples: alleles {self.alleles.shape}, phase {self.is_phased.shape}")
        if self.phase_sets is not None and self.phase_sets.shape != (n, s):
            raise ShapeError(f"{n} records of {s} samples: phase sets {self.phase_sets.shape}")

    @property
    def n_records(self) -> int:
        return len(self.positions)

    def label(self, record: int) -> str:
        """`contig:position REF>ALT`, for messages."""
        alts = ",".join(self.alts[record]) or "."
        return f"{self.contig}:{self.positions[record]} {self.refs[record]}>{alts}"

    def of_another_set(self, het: BoolArray) -> BoolArray:
        """(R, S) which of the phased heterozygotes are of another phase set than their sample's first.

        Args:
            het: (R, S) the phased heterozygotes.
        """
        if self.phase_sets is None or not self.n_records:
            return np.zeros_like(het)
        first = self.phase_sets[het.argmax(axis=0), np.arange(len(self.samples))]
        return np.asarray(het & (self.phase_sets != first))

    def select(self, records: BoolArray) -> Self:
        """The chosen (R,) records only."""
        chosen = np.flatnonzero(records).tolist()
        return dataclasses.replace(
            self,
            positions=self.positions[records],
            refs=tuple(self.refs[i] for i in chosen),
            alts=tuple(self.alts[i] for i in chosen),
            site_ids=tuple(self.site_ids[i] for i in chosen),
            alleles=self.alleles[records],
            is_phased=self.is_phased[records],
            ref_is_known=self.ref_is_known[records],
            phase_sets=None if self.phase_sets is None else self.phase_sets[records],
        )
