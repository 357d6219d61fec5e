"""What contigs are called: the names that one chromosome goes by, in files of every kind.

    20  chr20  Chr20  NC_000020.10 (GRCh37)  NC_000020.11 (GRCh38)  NC_060944.1 (T2T-CHM13)  CM000682.1  CM000682.2
    X   chrX  23                 X's pseudo-autosomal regions, under X's coordinates:  25  XY  PAR1  PAR2
    Y   chrY  24                 MT  M  chrM  26  NC_012920.1

Names of other organisms' contigs mean themselves. Numbers above 22 are PLINK's codes, and only where a file has no
contig of that very name.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Final

from vcfrag_core.genome.builds import GRCH37, GRCH38, T2T_CHM13

PSEUDO_AUTOSOMAL: Final = frozenset({"XY", "PAR1", "PAR2"})
_PLINK_CODES: Final = {23: "X", 24: "Y", 25: "XY", 26: "MT"}
_PLAIN: Final = re.compile(r"(?:chr(?:omosome)?_?)?0*([0-9]{1,2}|X|Y|XY|MT?|PAR1|PAR2)", re.IGNORECASE)
_ACCESSION: Final = re.compile(r"(NC_|CM)([0-9]{6})\.([0-9]+)", re.IGNORECASE)
# RefSeq's versions of GRCh37's chromosomes 1 to 22, X and Y; those of GRCh38 are the next ones.
_REFSEQ_GRCH37: Final = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9)
_GENBANK_FIRST: Final = 663
_T2T_FIRST: Final = 60925
_MITOCHONDRION: Final = 12920


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """What a name says.

    Attributes:
        chromosome: `1` to `22`, `X`, `Y`, `MT`.
        build: The assembly, where the name is an accession.
        pseudo_autosomal: Whether only the pseudo-autosomal part of X is meant.
    """

    chromosome: str
    build: str | None = None
    pseudo_autosomal: bool = False

    @property
    def is_autosome(self) -> bool:
        """Whether everybody has two of them; not of X, Y and MT, of which men, or all, may have one."""
        return self.chromosome not in ("X", "Y", "MT")


@functools.lru_cache(maxsize=4096)
def meaning(contig: str) -> Meaning | None:
    """The human chromosome that a name stands for; None where it is none of the known ones."""
    if plain := _PLAIN.fullmatch(contig):
        return _of_plain(plain[1].upper())
    if accession := _ACCESSION.fullmatch(contig):
        return _of_accession(accession[1].upper(), int(accession[2]), int(accession[3]))
    return None


def contig_alias(contig: str, contigs: Iterable[str]) -> str | None:
    """The name in `contigs` that means `contig`: itself, or another name of the same chromosome; None if absent.

    Where several do, one that differs by `chr` alone comes first, then the order of `contigs`.
    """
    names = list(dict.fromkeys(contigs))
    other = contig[3:] if contig.startswith("chr") else f"chr{contig}"
    for name in (contig, other):
        if name in names:
            return name
    wanted = meaning(contig)
    same = (name for name in names if wanted is not None and _is_same(wanted, meaning(name)))
    return next(same, None)


def _is_same(one: Meaning, other: Meaning | None) -> bool:
    return other is not None and one.chromosome == other.chromosome


def _of_plain(name: str) -> Meaning | None:
    if name.isdecimal():
        number = int(name)
        if 1 <= number <= 22:
            return Meaning(str(number))
        if number not in _PLINK_CODES:
            return None
        name = _PLINK_CODES[number]
    if name in PSEUDO_AUTOSOMAL:
        return Meaning("X", pseudo_autosomal=True)
    return Meaning("MT" if name == "M" else name)


def _of_accession(archive: str, number: int, version: int) -> Meaning | None:
    if archive == "CM":
        return _nuclear(number - _GENBANK_FIRST, {1: GRCH37, 2: GRCH38}.get(version))
    if number == _MITOCHONDRION:
        return Meaning("MT")
    if _T2T_FIRST <= number < _T2T_FIRST + len(_REFSEQ_GRCH37):
        return _nuclear(number - _T2T_FIRST, T2T_CHM13)
    if 1 <= number <= len(_REFSEQ_GRCH37):
        first = _REFSEQ_GRCH37[number - 1]
        return _nuclear(number - 1, {first: GRCH37, first + 1: GRCH38}.get(version))
    return None


def _nuclear(index: int, build: str | None) -> Meaning | None:
    """The chromosome with so many before it among 1 to 22, X and Y."""
    if not 0 <= index < len(_REFSEQ_GRCH37):
        return None
    return Meaning(str(index + 1) if index < 22 else "XY"[index - 22], build)
