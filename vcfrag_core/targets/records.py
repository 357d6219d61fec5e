"""The target's records as they were read, and what became of each of them."""

from __future__ import annotations

import dataclasses
import enum

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import OF_OTHER_SETS, UNPHASED_CALLS, refuse_where
from vcfrag_core.targets.columns import RecordColumns


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
    Reason.NO_ALT: "no ALT allele and not one site that it must be, or an ALT that is no sequence (1 to 4 are codes of"
    " letters: `plink --alleleACGT` or --update-alleles)",
    Reason.INDEL_CODE: "an insertion or deletion without its sequence (I, D or -)",
    Reason.NO_CALLS: "no sample has a call",
    Reason.INVERTED: "coded the other way round, by leave-one-out and frequency",
    Reason.CONTRADICTED: "contradicted by the sites around it, by leave-one-out",
    Reason.THIN: "too few typed sites around it; the stretch is left out",
    Reason.LISTED: "dropped by the QC file given",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetRecords(RecordColumns):
    """All records of one contig of the target, haplotype by haplotype.

    Attributes:
        ploidy: Which haplotypes are whose.
        alleles: (R, H) allele numbers, -1 missing.
        is_phased: (R, S) false where a sample is heterozygous and it is not known which haplotype has which allele;
            the order of the two says nothing then.
    """

    ploidy: Ploidy

    def __post_init__(self) -> None:
        RecordColumns.__post_init__(self)
        if self.alleles.shape != (self.n_records, self.ploidy.n_haplotypes):
            raise ShapeError(
                f"{self.n_records} records of {self.ploidy.n_haplotypes} haplotypes: alleles are {self.alleles.shape}"
            )
        if len(self.samples) != self.ploidy.n_samples:
            raise ShapeError(f"{len(self.samples)} samples, ploidy of {self.ploidy.n_samples}")

    def refuse_unphased(self) -> None:
        """For those who need phase.

        Raises:
            UnphasedError: A heterozygote is not phased, or not in the phase set of its sample's first; says how many
                there are, and names the first.
        """
        first, last = self.alleles[:, self.ploidy.starts[:-1]], self.alleles[:, self.ploidy.starts[1:] - 1]
        het = self.is_phased & (first >= 0) & (last >= 0) & (first != last)
        refuse_where([(self.source, self.label, self.samples, ~self.is_phased)], UNPHASED_CALLS)
        refuse_where([(self.source, self.label, self.samples, self.of_another_set(het))], OF_OTHER_SETS)
