"""What one record is among the panel's sites at its position, and which of its alleles is the panel's ALT.

Where a file says which allele is the reference's, exchanged alleles and the other strand are mistakes of the file;
where it does not, as PLINK 1's, neither is, and the panel decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from vcfrag_core.targets.records import Reason

_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")
_BASES: Final = frozenset("ACGT")
_AMBIGUOUS: Final = (frozenset("AT"), frozenset("CG"))
# Illumina's and PLINK's ways to say that there is an insertion or a deletion, but not of what.
_INDEL_CODES: Final = frozenset("ID-")

Sites = Mapping[tuple[str, str], int]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a record is.

    Attributes:
        reason: What becomes of it, unless it is repaired.
        site: The panel's site, -1 where there is none.
        exchanged: Whether its allele 0 is the panel's ALT.
        either_strand: Whether the other coding fits just as well: A/T or C/G, without a REF that is known.
    """

    reason: Reason
    site: int = -1
    exchanged: bool = False
    either_strand: bool = False


def is_ambiguous(ref: str, alt: str) -> bool:
    """A/T and C/G: the same on both strands."""
    return frozenset((ref, alt)) in _AMBIGUOUS


def codings(ref: str, alt: str) -> frozenset[tuple[str, str]]:
    """The alleles as files may write them: in this order or the other, and of a single base on either strand."""
    both = {(ref, alt), (alt, ref)}
    if ref in _BASES and alt in _BASES:
        both |= {(one.translate(_COMPLEMENT), other.translate(_COMPLEMENT)) for one, other in both}
    return frozenset(both)


def find_record(ref: str, alts: tuple[str, ...], here: Sites, *, ref_is_known: bool) -> Found:
    """What a record is.

    Args:
        ref: Its REF, or one of its alleles.
        alts: Its other allele, if it has one.
        here: REF and ALT of the panel's sites at its position, and their indices.
        ref_is_known: Whether REF is the reference genome's.
    """
    if not _INDEL_CODES.isdisjoint((ref, *alts)):
        return Found(Reason.INDEL_CODE)
    if not alts:
        return _find_without_alt(ref, here, ref_is_known)
    alt = alts[0]
    if not alt.isalpha():
        return Found(Reason.NO_ALT)
    if not here:
        return Found(Reason.NOT_IN_PANEL)
    if (ref, alt) in here:
        unsure = not ref_is_known and is_ambiguous(ref, alt)
        return Found(Reason.USED, here[ref, alt], either_strand=unsure)
    if not ref_is_known and (alt, ref) in here:
        return Found(Reason.ORIENTED, here[alt, ref], exchanged=True, either_strand=is_ambiguous(ref, alt))
    if ref in _BASES and alt in _BASES:
        return _find_recoded(ref, alt, here, ref_is_known)
    return Found(Reason.OTHER_ALLELES)


def _find_recoded(ref: str, alt: str, here: Sites, ref_is_known: bool) -> Found:
    """A single-nucleotide variant with its alleles exchanged, on the other strand, or both."""
    if (alt, ref) in here:
        if is_ambiguous(ref, alt):
            return Found(Reason.AMBIGUOUS, here[alt, ref])
        return Found(Reason.SWAPPED, here[alt, ref], exchanged=True)
    other = (ref.translate(_COMPLEMENT), alt.translate(_COMPLEMENT))
    if other in here:
        return Found(Reason.FLIPPED if ref_is_known else Reason.FLIP_REPAIRED, here[other])
    if other[::-1] in here:
        reason = Reason.FLIPPED_SWAPPED if ref_is_known else Reason.FLIP_REPAIRED
        return Found(reason, here[other[::-1]], exchanged=True)
    return Found(Reason.OTHER_ALLELES)


def _find_without_alt(ref: str, here: Sites, ref_is_known: bool) -> Found:
    """A record at which everybody has two copies of one allele: of the one panel site that has it, if there is one."""
    snvs = {pair: site for pair, site in here.items() if pair[0] in _BASES and pair[1] in _BASES}
    if ref_is_known:
        fitting = [site for (panel_ref, _), site in snvs.items() if panel_ref == ref]
        return Found(Reason.WITHOUT_ALT, fitting[0]) if len(fitting) == 1 else Found(Reason.NO_ALT)
    if len(snvs) != 1 or ref not in _BASES:
        return Found(Reason.NO_ALT)
    ((pair, site),) = snvs.items()
    letter = ref if ref in pair else ref.translate(_COMPLEMENT)
    if letter not in pair:
        return Found(Reason.OTHER_ALLELES)
    return Found(Reason.WITHOUT_ALT, site, exchanged=letter == pair[1], either_strand=is_ambiguous(*pair))


def repaired(reason: Reason, fix_swaps: bool, fix_flips: bool) -> Reason:
    """The reason after the repairs that are asked for."""
    if reason is Reason.SWAPPED and fix_swaps:
        return Reason.SWAP_REPAIRED
    if reason is Reason.FLIPPED and fix_flips:
        return Reason.FLIP_REPAIRED
    if reason is Reason.FLIPPED_SWAPPED and fix_swaps and fix_flips:
        return Reason.BOTH_REPAIRED
    return reason
