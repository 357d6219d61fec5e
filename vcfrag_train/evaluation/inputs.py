"""Files of an evaluation: one of each kind, or one for each contig."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import PLACE
from vcfrag_core.files.panel.cache import load_panels
from vcfrag_core.files.panel.contigs import panel_contigs
from vcfrag_core.files.vcf.reader import parse_region
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
    """The panel of each stretch of each contig that is asked for, one in memory at a time."""
    paths = files.panels
    if files.region is not None and len(paths) > 1:
        contig = parse_region(files.region).contig
        # Where none has it the first one says so.
        paths = tuple(path for path in paths if contig_alias(contig, panel_contigs(path))) or paths[:1]
    for path in paths:
        contigs = panel_contigs(path) if files.region is None else ()
        regions = contigs if len(contigs) > 1 else (files.region,)
        for region in regions:
            yield from load_panels(path, region=region, threads=threads)


def file_of(path: Path, contig: str) -> Path:
    """The file itself, or the contig's where its name holds `{contig}`; `20` and `chr20` name one contig.

    Raises:
        ConfigError: The contig has none.
    """
    if PLACE not in str(path):
        return path
    other = contig[3:] if contig.startswith("chr") else f"chr{contig}"
    named = [Path(str(path).replace(PLACE, name)) for name in (contig, other)]
    found = next((file for file in named if file.is_file()), None)
    if found is None:
        raise ConfigError(f"{path}: contig {contig} has no such file, neither {named[0]} nor {named[1]}")
    return found


def contig_files(path: Path) -> list[Path]:
    """The file itself, or those of all contigs."""
    if PLACE not in str(path):
        return [path]
    folder = Path(path.anchor)
    return sorted(folder.glob(str(path.relative_to(path.anchor)).replace(PLACE, "*")))


def named_files(files: EvaluationFiles) -> Mapping[str, Path]:
    """All files but the imputed ones by what they are, each of several numbered."""
    kinds = {"truth": contig_files(files.truth), "panel": [*files.panels], "typed": contig_files(files.typed)}
    return {
        kind if len(paths) == 1 else f"{kind} {number}": path
        for kind, paths in kinds.items()
        for number, path in enumerate(paths, start=1)
    }
