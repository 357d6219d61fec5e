"""Several records of one site: the one that is used, and what the others lend it."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.sites.matching import Matching
from vcfrag_core.types import BoolArray, I8Array

# Probes of one site that differ in more of their common calls do not measure the same thing.
MAX_DISCORDANCE: Final = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Discordance:
    """A duplicate that calls some genotypes otherwise than the record that is used.

    Attributes:
        record: The duplicate.
        n_both: Samples with a call in both.
        n_differ: Those whose genotypes differ.
    """

    record: int
    n_both: int
    n_differ: int

    @property
    def lends(self) -> bool:
        """Whether its calls are used where the other has none."""
        return self.n_differ <= MAX_DISCORDANCE * self.n_both


def lend_calls(records: TargetRecords, matching: Matching) -> tuple[TargetRecords, list[Discordance]]:
    """The records with missing calls of used ones filled from their duplicates, and the duplicates that differ.

    A duplicate that differs too often lends nothing, nor does one whose strand is not known.
    """
    used_at = {int(matching.sites[i]): i for i in matching.used().tolist()}
    duplicates = [
        (i, used_at[int(matching.sites[i])])
        for i, reason in enumerate(matching.reasons)
        if reason is Reason.DUPLICATE and int(matching.sites[i]) in used_at and not matching.either_strand[i]
    ]
    if not duplicates:
        return records, []
    alleles, is_phased = records.alleles.copy(), records.is_phased.copy()
    sets = None if records.phase_sets is None else records.phase_sets.copy()
    found: list[Discordance] = []
    for other, used in duplicates:
        theirs = _recoded(records.alleles[other], exchanged=bool(matching.exchanged[other] != matching.exchanged[used]))
        discordance, missing = _compare(records, other, alleles[used], theirs)
        if discordance.n_differ:
            found.append(discordance)
        if not discordance.lends:
            continue
        rows = missing[records.ploidy.sample_of]
        alleles[used, rows] = theirs[rows]
        is_phased[used, missing] = records.is_phased[other, missing]
        if sets is not None:
            sets[used, missing] = sets[other, missing]
    return dataclasses.replace(records, alleles=alleles, is_phased=is_phased, phase_sets=sets), found


def _recoded(alleles: I8Array, *, exchanged: bool) -> I8Array:
    return np.where(alleles >= 0, 1 - alleles, alleles).astype(np.int8) if exchanged else alleles


def _compare(records: TargetRecords, other: int, ours: I8Array, theirs: I8Array) -> tuple[Discordance, BoolArray]:
    """How (H,) calls of both differ, and (S,) samples with a call in the other one only."""
    ploidy = records.ploidy
    called = ploidy.every(ours >= 0)
    lent = ploidy.every(theirs >= 0)
    both = called & lent
    differ = both & (ploidy.sums(ours.astype(np.int64)) != ploidy.sums(theirs.astype(np.int64)))
    return Discordance(other, int(both.sum()), int(differ.sum())), lent & ~called
