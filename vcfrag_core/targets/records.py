"""The target's records as they were read, and what became of each of them."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import nowhere, refuse_where
from vcfrag_core.types import BoolArray, I8Array, I32Array


class Reason(enum.StrEnum):
    """What became of a target record; in the QC file under this name."""

    USED = "used"
    SWAP_REPAIRED = "swap_repaired"
    FLIP_REPAIRED = "flip_repaired"
    BOTH_REPAIRED = "flip_and_swap_repaired"
    ORIENTED = "oriented"
    TURNED = "turned"
    WITHOUT_ALT = "without_alt"
    SWAPPED = "swapped"
    FLIPPED = "flipped"
    FLIPPED_SWAPPED = "flipped_and_swapped"
    AMBIGUOUS = "ambiguous_strand"
    NOT_IN_PANEL = "not_in_panel"
    OTHER_ALLELES = "other_alleles"
    DUPLICATE = "duplicate"
    MULTIALLELIC = "multiallelic"
    NO_ALT = "no_alt"
    INDEL_CODE = "indel_code"
    NO_CALLS = "no_calls"
    INVERTED = "inverted_coding"
    CONTRADICTED = "contradicted"
    THIN = "thin_stretch"
    LISTED = "listed"

    @property
    def is_used(self) -> bool:
        return self in _USED


_USED = {
    Reason.USED,
    Reason.SWAP_REPAIRED,
    Reason.FLIP_REPAIRED,
    Reason.BOTH_REPAIRED,
    Reason.ORIENTED,
    Reason.TURNED,
    Reason.WITHOUT_ALT,
}

MEANING = {
    Reason.USED: "typed and used",
    Reason.SWAP_REPAIRED: "REF and ALT exchanged, repaired",
    Reason.FLIP_REPAIRED: "on the other strand, repaired",
    Reason.BOTH_REPAIRED: "on the other strand with REF and ALT exchanged, repaired",
    Reason.ORIENTED: "the file names no REF; coded as the panel is",
    Reason.TURNED: "the file names no REF; A/T or C/G, on the other strand by frequency and the sites around it",
    Reason.WITHOUT_ALT: "no ALT: everybody has two copies of one of the panel's alleles",
    Reason.SWAPPED: "REF and ALT exchanged; --fix-swaps repairs it",
    Reason.FLIPPED: "on the other strand; --fix-flips repairs it",
    Reason.FLIPPED_SWAPPED: "on the other strand with REF and ALT exchanged; --fix-swaps with --fix-flips repairs it",
    Reason.AMBIGUOUS: "A/T or C/G, and neither the alleles' frequency nor the sites around tell the strand",
    Reason.NOT_IN_PANEL: "no such site in the panel",
    Reason.OTHER_ALLELES: "the panel has other alleles at this position",
    Reason.DUPLICATE: "another record of the site has more calls; it lends its own where that one has none",
    Reason.MULTIALLELIC: "one of several ALT alleles of a record whose REF is not the panel's",
    Reason.NO_ALT: "no ALT allele and not one site that it must be, or an ALT that is no sequence",
    Reason.INDEL_CODE: "an insertion or deletion without its sequence (I, D or -)",
    Reason.NO_CALLS: "no sample has a call",
    Reason.INVERTED: "coded the other way round, by leave-one-out and frequency",
    Reason.CONTRADICTED: "contradicted by the sites around it, by leave-one-out",
    Reason.THIN: "too few typed sites around it; the stretch is left out",
    Reason.LISTED: "dropped by the QC file given",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetRecords:
    """All records of one contig of the target, sorted by position.

    Attributes:
        contig: Its name in the target.
        samples: S sample names.
        ploidy: Which haplotypes are whose.
        positions: (R,) 1-based positions.
        refs: R reference alleles, in upper case.
        alts: R tuples of ALT alleles, in upper case; empty where there is none.
        site_ids: R identifiers.
        alleles: (R, H) allele numbers, -1 missing.
        is_phased: (R, S) false where a sample is heterozygous and it is not known which haplotype has which allele;
            the order of the two says nothing then.
        ref_is_known: (R,) whether REF is the reference genome's, and not just one of two alleles.
        phase_sets: (R, S) phase set of each call, as `TargetCalls` has it; or None.
        contig_length: Base pairs of the contig where the header says so.
        build: The assembly of the human genome that the whole file tells, `genome.markers.told_build`.
        split_at: Positions of records that had several ALT alleles, as `TargetCalls` has them.
        source: The file.
    """

    contig: str
    samples: tuple[str, ...]
    ploidy: Ploidy
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
        n = len(self.positions)
        if not len(self.refs) == len(self.alts) == len(self.site_ids) == n:
            raise ShapeError(f"{n} positions, {len(self.refs)} REF, {len(self.alts)} ALT, {len(self.site_ids)} ids")
        if self.alleles.shape != (n, self.ploidy.n_haplotypes) or self.alleles.dtype != np.int8:
            raise ShapeError(f"{n} records of {self.ploidy.n_haplotypes} haplotypes: alleles are {self.alleles.shape}")
        if self.is_phased.shape != (n, len(self.samples)):
            raise ShapeError(f"{n} records of {len(self.samples)} samples: phase {self.is_phased.shape}")
        if len(self.samples) != self.ploidy.n_samples:
            raise ShapeError(f"{len(self.samples)} samples, ploidy of {self.ploidy.n_samples}")

    @property
    def n_records(self) -> int:
        return len(self.positions)

    def label(self, record: int) -> str:
        """`contig:position REF>ALT`, for messages."""
        alts = ",".join(self.alts[record]) or "."
        return f"{self.contig}:{self.positions[record]} {self.refs[record]}>{alts}"

    def refuse_unphased(self) -> None:
        """For those who need phase.

        Raises:
            UnphasedError: A heterozygote is not phased; says how many there are, and names the first.
        """
        refuse_where([(self.source, self.label, self.samples, ~self.is_phased)])

    def select(self, keep: BoolArray) -> TargetRecords:
        """The chosen records only."""
        chosen = np.flatnonzero(keep).tolist()
        return dataclasses.replace(
            self,
            positions=self.positions[keep],
            refs=tuple(self.refs[i] for i in chosen),
            alts=tuple(self.alts[i] for i in chosen),
            site_ids=tuple(self.site_ids[i] for i in chosen),
            alleles=self.alleles[keep],
            is_phased=self.is_phased[keep],
            ref_is_known=self.ref_is_known[keep],
            phase_sets=None if self.phase_sets is None else self.phase_sets[keep],
        )
