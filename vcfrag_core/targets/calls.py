"""The calls of a target as its file has them, before anybody's ploidy is settled."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError, UnphasedError
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.targets.columns import RecordColumns
from vcfrag_core.types import BoolArray

MISSING: Final = -1
# The phase set of a heterozygote of unknown phase.
UNPHASED: Final = -1
# Stands where a second allele would, in a call of one.
NONE: Final = -2
UNPHASED_CALLS: Final = "are not phased"
OF_OTHER_SETS: Final = "are not in the phase set (PS) of their sample's first"
PHASING_TOOLS: Final = "vcfrag phase, Beagle, SHAPEIT5 or Eagle"


class Sex(enum.StrEnum):
    """How many X chromosomes a sample has."""

    MALE = "male"
    FEMALE = "female"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetCalls(RecordColumns):
    """All records of one contig of a target, whoever has how many haplotypes.

    Attributes:
        sexes: S sexes as the file says them; None where it does not.
        alleles: (R, S, 2) allele numbers; MISSING, and NONE for the second of a call of one allele.
    """

    sexes: tuple[Sex | None, ...]

    def __post_init__(self) -> None:
        RecordColumns.__post_init__(self)
        if self.alleles.shape != (self.n_records, len(self.samples), 2):
            raise ShapeError(f"{self.n_records} records of {len(self.samples)} samples: alleles {self.alleles.shape}")
        if len(self.sexes) != len(self.samples):
            raise ShapeError(f"{len(self.samples)} samples, {len(self.sexes)} sexes")

    @property
    def unphased(self) -> BoolArray:
        """(R, S) heterozygotes of which it is not known which haplotype carries which allele."""
        first, second = self.alleles[:, :, 0], self.alleles[:, :, 1]
        return np.asarray(~self.is_phased & (first >= 0) & (second >= 0))

    @property
    def between_sets(self) -> BoolArray:
        """(R, S) phased heterozygotes of another phase set than their sample's first."""
        first, second = self.alleles[:, :, 0], self.alleles[:, :, 1]
        return self.of_another_set(self.is_phased & (first >= 0) & (second >= 0) & (first != second))


def refuse_unphased(contigs: Sequence[TargetCalls]) -> None:
    """Refuses heterozygotes without phase before any other work is done.

    On X, Y and MT they are not counted: it is not known yet who has one haplotype.

    Raises:
        UnphasedError: Heterozygotes of unknown phase, or whose phase is known among themselves alone; says how many
            there are on all the contigs, and names the first.
    """
    named = [calls for calls in contigs if not _is_sex_linked(calls.contig)]
    refuse_where([(calls.source, calls.label, calls.samples, calls.unphased) for calls in named], UNPHASED_CALLS)
    refuse_where([(calls.source, calls.label, calls.samples, calls.between_sets) for calls in named], OF_OTHER_SETS)


def refuse_where(
    contigs: Sequence[tuple[str, Callable[[int], str], tuple[str, ...], BoolArray]], what_they_are: str
) -> None:
    """Refuses (R, S) heterozygotes of contigs, each with its file, labels of records and samples, for what they are.

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
        f"{n_genotypes} heterozygous genotypes in {n_records} records {what_they_are}, this is the first; phase the"
        f" targets first with {PHASING_TOOLS}",
        path=source,
        record=label(record),
        sample=samples[int(np.flatnonzero(unphased[record])[0])],
    )


def _is_sex_linked(contig: str) -> bool:
    """Whether men have one haplotype, and a heterozygous call of theirs is no matter of phase."""
    known = meaning(contig)
    return known is not None and not known.is_autosome
