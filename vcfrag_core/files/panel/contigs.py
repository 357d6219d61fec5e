"""Which contigs a panel's file holds, and that no two files hold the same sites."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.panel.prepared import is_prepared, read_table
from vcfrag_core.files.vcf.reader import open_vcf, parse_region
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.panel import Panel


def panel_contigs(path: Path) -> tuple[str, ...]:
    """The panel's contigs: those with records where an index tells them, else those that the header declares."""
    if is_prepared(path):
        return tuple(dict.fromkeys(entry.contig for entry in read_table(path)[1]))
    with open_vcf(path) as reader:
        return reader.contigs if reader.contigs and not is_indexed(path) else reader.contigs_with_records()


def region_in(path: Path, region: str) -> str:
    """The region under the panel's own name of its contig; as it is where the panel has no such contig."""
    wanted = parse_region(region)
    name = contig_alias(wanted.contig, panel_contigs(path))
    # The panel's cache goes by the very text.
    return region if name in (None, wanted.contig) else str(dataclasses.replace(wanted, contig=name))


def is_indexed(path: Path) -> bool:
    """Whether an index lies beside the file."""
    return any(Path(f"{path}{suffix}").is_file() for suffix in (".csi", ".tbi"))


@dataclasses.dataclass(frozen=True, slots=True)
class FileStretch:
    """What a file has of a contig: positions of the first and the last site."""

    path: Path
    contig: str
    first: int
    last: int

    @classmethod
    def of(cls, path: Path, panel: Panel) -> FileStretch:
        """What a panel that was read from a file holds; it has a site."""
        return cls(path, panel.contig, int(panel.positions[0]), int(panel.positions[-1]))

    def refuse_overlap(self, other: FileStretch) -> None:
        """Refuses another file that has sites of the same stretch.

        Raises:
            ConfigError: Names both.
        """
        start, stop = max(self.first, other.first), min(self.last, other.last)
        if self.path != other.path and start <= stop and contig_alias(other.contig, (self.contig,)) is not None:
            raise ConfigError(
                f"--panel: both {self.path} and {other.path} have sites of contig {self.contig} from {start} to {stop},"
                " which would count twice; name one of them"
            )
