"""Files of an evaluation: one of each kind, or one for each contig."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.names import PLACE
from vcfrag_core.files.panel.cache import load_panels
from vcfrag_core.files.panel.contigs import FileStretch, panel_contigs, region_in
from vcfrag_core.files.targets import is_there, target_file
from vcfrag_core.files.vcf.reader import Region, parse_region
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.panel import Panel


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFiles:
    """What to evaluate. Where a name holds `{contig}` there is one such file for each contig.

    Attributes:
        imputed: Label and file of each method; the first is compared with every other.
        truth: VCF or BCF with the targets' true genotypes.
        panels: The reference panel's files; targets that are in it are left out of its frequencies.
        typed: The typed sites, VCF or table.
        samples_table: Where super-populations are looked up.
        region: A contig, or a part of it; all contigs of the panel without it.
    """

    imputed: tuple[tuple[str, Path], ...]
    truth: Path
    panels: tuple[Path, ...]
    typed: Path
    samples_table: Path | None = None
    region: str | None = None


def panels_of(files: EvaluationFiles, threads: int) -> Iterator[Panel]:
    """The panel of each stretch of each contig that is asked for, one in memory at a time.

    Raises:
        ConfigError: Two files have sites of one stretch of a contig, which would count twice.
    """
    seen: list[FileStretch] = []
    for path in _panels_with(files):
        for region in _regions(path, files.region):
            for panel in load_panels(path, region=region, threads=threads):
                stretch = FileStretch.of(path, panel)
                for other in seen:
                    other.refuse_overlap(stretch)
                seen.append(stretch)
                yield panel


def _regions(path: Path, region: str | None) -> Sequence[str | None]:
    """What is read of a file at a time: its contigs, or the region under the file's own name of its contig."""
    if region is not None:
        return (region_in(path, region),)
    contigs = panel_contigs(path)
    return [str(Region(contig)) for contig in contigs] if len(contigs) > 1 else (None,)


def _panels_with(files: EvaluationFiles) -> tuple[Path, ...]:
    """The panel's files that have what is asked for; where none has it the first, which says so."""
    paths = tuple({path.resolve(): path for path in files.panels}.values())
    if files.region is None or len(paths) == 1:
        return paths
    contig = parse_region(files.region).contig
    return tuple(path for path in paths if contig_alias(contig, panel_contigs(path))) or paths[:1]


def file_of(path: Path, contig: str) -> Path:
    """The file itself, or the contig's where its name holds `{contig}`; `20` and `chr20` name one contig.

    Raises:
        ConfigError: The contig has none.
    """
    if PLACE not in str(path):
        return path
    other = contig[3:] if contig.startswith("chr") else f"chr{contig}"
    named = [Path(str(path).replace(PLACE, name)) for name in (contig, other)]
    found = next((file for file in named if is_there(file)), None)
    if found is None:
        raise ConfigError(f"{path}: contig {contig} has no such file, neither {named[0]} nor {named[1]}")
    return found


def named_files(files: EvaluationFiles, contigs: Sequence[str]) -> Mapping[str, Path]:
    """All files but the imputed ones by what they are, each of several numbered."""
    kinds = {
        "truth": dict.fromkeys(file_of(files.truth, contig) for contig in contigs),
        "panel": dict.fromkeys(files.panels),
        "typed": dict.fromkeys(target_file(file_of(files.typed, contig)) for contig in contigs),
    }
    return {
        kind if len(paths) == 1 else f"{kind} {number}": path
        for kind, paths in kinds.items()
        for number, path in enumerate(paths, start=1)
    }
