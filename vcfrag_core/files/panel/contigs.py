"""Which contigs a panel's file holds."""

from __future__ import annotations

from pathlib import Path

from vcfrag_core.files.panel.prepared import is_prepared, read_table
from vcfrag_core.files.vcf.reader import open_vcf


def panel_contigs(path: Path) -> tuple[str, ...]:
    """The panel's contigs: those with records where an index tells them, else those that the header declares."""
    if is_prepared(path):
        return tuple(dict.fromkeys(entry.contig for entry in read_table(path)[1]))
    with open_vcf(path) as reader:
        return reader.contigs if reader.contigs and not is_indexed(path) else reader.contigs_with_records()


def is_indexed(path: Path) -> bool:
    """Whether an index lies beside the file."""
    return any(Path(f"{path}{suffix}").is_file() for suffix in (".csi", ".tbi"))
