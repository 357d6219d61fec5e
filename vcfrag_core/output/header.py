"""The header of an imputed VCF or BCF."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

INFO_FIELDS = {
    "AF": '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency of ALT among the targets, from their dosages">',
    "MAF": '##INFO=<ID=MAF,Number=1,Type=Float,Description="The lesser of AF and 1 - AF">',
    "R2": '##INFO=<ID=R2,Number=1,Type=Float,Description="Expected r2 of dosage and genotype where the latter varies;'
    ' of fewer than 20 samples the explained share of the expected squared deviation">',
    "ER2": '##INFO=<ID=ER2,Number=1,Type=Float,Description="r2 of typed alleles and their leave-one-out dosages">',
    "IMP": '##INFO=<ID=IMP,Number=0,Type=Flag,Description="Imputed site">',
    "TYPED": '##INFO=<ID=TYPED,Number=0,Type=Flag,Description="Site typed in the target">',
    "UNUSED": '##INFO=<ID=UNUSED,Number=0,Type=Flag,Description="Record of the target that imputation did not use">',
}
FORMAT_FIELDS = {
    "GT": '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype: typed, or the most likely one">',
    "DS": '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage of ALT, the sum of HDS">',
    "HDS": '##FORMAT=<ID=HDS,Number=2,Type=Float,Description="Dosage of ALT on each haplotype">',
    "GP": '##FORMAT=<ID=GP,Number=G,Type=Float,Description="Probabilities of 0, 1 and 2 copies of ALT">',
    "PP": '##FORMAT=<ID=PP,Number=1,Type=Float,Description="Probability of the phase against the heterozygote before">',
    "LOO": '##FORMAT=<ID=LOO,Number=1,Type=Float,Description="Dosage of ALT at a typed site had it been hidden">',
}
# Of the lines that speak of one contig, in the order of the header.
CONTIG_LINES = ("phasing", "rates", "model_check", "input")
_FILTER = '##FILTER=<ID=PASS,Description="All filters passed">'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header says.

    Attributes:
        samples: S sample names.
        contigs: Names of the contigs and their lengths (None where unknown), in the file's order.
        formats: FORMAT fields.
        provenance: KEY and VALUE of the lines `##vcfrag_KEY=VALUE`, in this order.
        infos: INFO fields, in the order of `INFO_FIELDS`.
    """

    samples: Sequence[str]
    contigs: Mapping[str, int | None]
    formats: Sequence[str]
    provenance: Sequence[tuple[str, str]]
    infos: Sequence[str] = tuple(INFO_FIELDS)

    def text(self) -> str:
        """All lines, the last with the samples, each ended."""
        lines = ["##fileformat=VCFv4.3", "##source=vcfrag", _FILTER]
        lines += [f"##vcfrag_{key}={_one_line(value)}" for key, value in self.provenance]
        lines += [_contig_line(name, length) for name, length in self.contigs.items()]
        lines += [*(INFO_FIELDS[name] for name in self.infos), *(FORMAT_FIELDS[name] for name in self.formats)]
        columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *self.samples]
        return "\n".join([*lines, "\t".join(columns)]) + "\n"


def ordered_lines(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """KEY and VALUE of lines that each speak of one contig, kind by kind; contigs stay in order."""
    return sorted(lines, key=lambda line: CONTIG_LINES.index(line[0]))


def string_numbers(formats: Sequence[str], infos: Sequence[str]) -> dict[str, int]:
    """Number of every FILTER, INFO and FORMAT name in a BCF's dictionary: PASS, then by first appearance."""
    return {name: i for i, name in enumerate(["PASS", *infos, *formats])}


def _contig_line(name: str, length: int | None) -> str:
    return f"##contig=<ID={name}>" if length is None else f"##contig=<ID={name},length={length}>"


def _one_line(value: str) -> str:
    return " ".join(value.split())
