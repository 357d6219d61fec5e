"""Phased genotypes as VCF or BCF: GT, and PP, how sure the phase of each heterozygote is against the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.files.vcf.bcf import BcfFormatter, SiteColumns
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_core.targets.calls import MISSING, NONE
from vcfrag_core.types import BoolArray, F32Array, I8Array, IntArray

PHASED_FORMATS: Final = ("GT", "PP")
_MISSING_FLOAT, _END_INT8 = 0x7F800001, 0x81


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhasedRecords:
    """Genotypes at some records, in the order of their positions.

    Attributes:
        contig: Name of the contig.
        positions: (L,) 1-based positions.
        site_ids: L identifiers.
        refs: L reference alleles.
        alts: L tuples of ALT alleles.
        alleles: (L, S, 2) allele numbers, -1 missing, `calls.NONE` where a sample has no second haplotype.
        is_phased: (L, S) whether the order of a call's alleles says anything.
        probability: (L, S) of a heterozygote's phase against the one before, NaN where there is none.
    """

    contig: str
    positions: IntArray
    site_ids: Sequence[str]
    refs: Sequence[str]
    alts: Sequence[tuple[str, ...]]
    alleles: I8Array
    is_phased: BoolArray
    probability: F32Array

    def __post_init__(self) -> None:
        n, s = self.is_phased.shape
        if self.alleles.shape != (n, s, 2) or self.probability.shape != (n, s) or len(self.positions) != n:
            raise ShapeError(f"{n} records of {s} samples: alleles {self.alleles.shape}, {self.probability.shape}")

    @property
    def n_samples(self) -> int:
        return int(self.is_phased.shape[1])


class PhasedWriter(ImputedWriter):
    """The output of a phasing run; what `write` takes are pieces of `PhasedRecords`."""

    def _formatter_of(self, formats: Sequence[str], x_male_dosage: int) -> BcfFormatter | PhasedLines:  # type: ignore[override]
        return PhasedBcf(formats, self._contigs, infos=()) if self._is_bcf else PhasedLines()


class PhasedLines:
    """Makes lines of a VCF."""

    def lines(self, records: PhasedRecords) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, line) of every record."""
        made: list[tuple[int, int, bytes]] = []
        for i, position in enumerate(records.positions.tolist()):
            ref, alt = records.refs[i], ",".join(records.alts[i]) or "."
            head = f"{records.contig}\t{position}\t{records.site_ids[i]}\t{ref}\t{alt}\t.\t.\t.\tGT:PP\t"
            made.append((position, len(ref), f"{head}{chr(9).join(_cells(records, i))}\n".encode()))
        return made


class PhasedBcf(BcfFormatter):
    """Makes BCF records."""

    def lines(self, records: PhasedRecords) -> list[tuple[int, int, bytes]]:  # type: ignore[override]
        """(position, length of REF, record) of every record."""
        codes = ((records.alleles.astype(np.int64) + 1) << 1).astype(np.uint8)
        codes[:, :, 1] |= records.is_phased.astype(np.uint8)
        codes[:, :, 1][records.alleles[:, :, 1] == NONE] = _END_INT8
        probability = records.probability.astype("<f4")
        probability.view("<u4")[np.isnan(records.probability)] = _MISSING_FLOAT
        made: list[tuple[int, int, bytes]] = []
        for i, position in enumerate(records.positions.tolist()):
            individual = self._prefix("GT", 2) + codes[i].tobytes() + self._prefix("PP", 4) + probability[i].tobytes()
            made.append((position, len(records.refs[i]), self._phased_record(records, i, position, individual)))
        return made

    def _phased_record(self, records: PhasedRecords, i: int, position: int, individual: bytes) -> bytes:
        site = SiteColumns(records.site_ids[i], records.refs[i], records.alts[i], b"", 0, passed=False)
        return self._record(self._contigs[records.contig], position, site, individual, 2, records.n_samples)


def _cells(records: PhasedRecords, i: int) -> Iterator[str]:
    each = zip(records.alleles[i].tolist(), records.is_phased[i].tolist(), records.probability[i].tolist(), strict=True)
    for (first, second), is_phased, probability in each:
        names = [("." if a == MISSING else str(a)) for a in ((first,) if second == NONE else (first, second))]
        gt = ("|" if is_phased else "/").join(names)
        yield f"{gt}:{'.' if probability != probability else f'{probability:.4g}'}"
