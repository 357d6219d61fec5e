"""The calls of a target as its file has them, before anybody's ploidy is settled."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError, UnphasedError
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.types import BoolArray, I8Array, I32Array

MISSING: Final = -1
# The phase set of a heterozygote of unknown phase.
UNPHASED: Final = -1
# Stands where a second allele would, in a call of one.
NONE: Final = -2
PHASING_TOOLS: Final = "vcfrag phase, Beagle, SHAPEIT5 or Eagle"
# Where men have one haplotype, and a heterozygous call of theirs is no matter of phase.
_SEX_LINKED: Final = ("X", "Y", "MT")


def nowhere() -> I32Array:
    """No position."""
    return np.zeros(0, dtype=np.int32)


class Sex(enum.StrEnum):
    """How many X chromosomes a sample has."""

    MALE = "male"
    FEMALE = "female"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetCalls:
    """All records of one contig of a target, sorted by position.

    Attributes:
        contig: Its name in the target.
        samples: S sample names.
        sexes: S sexes as the file says them; None where it does not.
        positions: (R,) 1-based positions.
        refs: R reference alleles, in upper case.
        alts: R tuples of ALT alleles, in upper case; empty where there is none.
        site_ids: R identifiers.
        alleles: (R, S, 2) allele numbers; MISSING, and NONE for the second of a call of one allele.
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
    sexes: tuple[Sex | None, ...]
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
        if self.alleles.shape != (n, s, 2) or self.alleles.dtype != np.int8 or self.is_phased.shape != (n, s):
            raise ShapeError(f"{n} records of {s} samples: alleles {self.alleles.shape}, phase {self.is_phased.shape}")
        if len(self.sexes) != s:
            raise ShapeError(f"{s} samples, {len(self.sexes)} sexes")
        if self.phase_sets is not None and self.phase_sets.shape != (n, s):
            raise ShapeError(f"{n} records of {s} samples: phase sets {self.phase_sets.shape}")

    @property
    def n_records(self) -> int:
        return len(self.positions)

    def label(self, record: int) -> str:
        """`contig:position REF>ALT`, for messages."""
        alts = ",".join(self.alts[record]) or "."
        return f"{self.contig}:{self.positions[record]} {self.refs[record]}>{alts}"

    @property
    def unphased(self) -> BoolArray:
        """(R, S) heterozygotes of which it is not known which haplotype carries which allele."""
        first, second = self.alleles[:, :, 0], self.alleles[:, :, 1]
        return np.asarray(~self.is_phased & (first >= 0) & (second >= 0))

    def select(self, records: BoolArray) -> TargetCalls:
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


def refuse_unphased(contigs: Sequence[TargetCalls]) -> None:
    """Refuses heterozygotes without phase before any other work is done.

    On X, Y and MT they are not counted: it is not known yet who has one haplotype.

    Raises:
        UnphasedError: Unphased heterozygotes; says how many there are on all the contigs, and names the first.
    """
    named = [(calls, calls.unphased) for calls in contigs if not _is_sex_linked(calls.contig)]
    refuse_where([(calls.source, calls.label, calls.samples, unphased) for calls, unphased in named])


def refuse_where(contigs: Sequence[tuple[str, Callable[[int], str], tuple[str, ...], BoolArray]]) -> None:
    """Refuses the (R, S) unphased heterozygotes of contigs, each with its file, labels of records and samples.

    Raises:
        UnphasedError: There is any.
    """
    found = [each for each in contigs if bool(each[3].any())]
    if not found:
        return
    source, label, samples, unphased = found[0]
    record = int(np.flatnonzero(unphased.any(axis=1))[0])
    n_genotypes = sum(int(each[3].sum()) for each in found)
    n_records = sum(int(each[3].any(axis=1).sum()) for each in found)
    raise UnphasedError(
        f"{n_genotypes} heterozygous genotypes in {n_records} records are not phased, this is the first; phase the"
        f" targets first with {PHASING_TOOLS}",
        path=source,
        record=label(record),
        sample=samples[int(np.flatnonzero(unphased[record])[0])],
    )


def _is_sex_linked(contig: str) -> bool:
    known = meaning(contig)
    return known is not None and known.chromosome in _SEX_LINKED
