"""Files for the library's face: panels, targets and maps as a researcher reads them, and an example of each."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path

from vcfrag_core.errors import UnknownContigError
from vcfrag_core.files.panel import reader
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.panel.prepared import is_prepared, read_prepared
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf.reader import parse_region
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.haplotypes import settle_haplotypes
from vcfrag_core.targets.placing import place_targets
from vcfrag_core.targets.targets import Targets

__all__ = ["example", "read_map", "read_panel", "read_targets"]


def read_panel(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    missing: MissingRule = MissingRule.REFUSE,
) -> Panel:
    """The panel of a file with one contig, or of a region, along which nobody's ploidy changes.

    Args:
        path: VCF or BCF, or a prepared panel as `vcfrag panel build` makes one.
        region, threads, progress, missing: See `files.panel.reader.read_panels`; of a prepared panel the last two are
            not used.

    Raises:
        PloidyError: There are several stretches; names their regions.
        CacheError: A damaged prepared panel.
        InputError: See `files.panel.reader.read_panels`.
    """
    if is_prepared(path):
        wanted = None if region is None else parse_region(region)
        return reader.only_stretch(read_prepared(Path(path), wanted, threads=threads), path)
    return reader.read_panel(path, region=region, threads=threads, progress=progress, missing=missing)


def read_targets(
    path: str | Path,
    panel: Panel,
    *,
    region: str | None = None,
    fix_swaps: bool = False,
    fix_flips: bool = False,
    threads: int = 1,
) -> Targets:
    """Targets at the sites of a panel. What does not fit is left out; `vcfrag impute` also lists it.

    Where `phase_sets` of the targets is not None, `Phaser.phase` comes before `Imputer.impute`.

    Args:
        path: VCF or BCF; the contig is the panel's, with or without `chr`.
        panel: The panel.
        region: `20:100-200`; the whole contig unless given.
        fix_swaps: Repairs REF/ALT exchanges.
        fix_flips: Repairs strand flips.
        threads: Threads that decompress.

    Raises:
        UnknownContigError: The file lacks the panel's contig.
        TargetError: Another genome build, or no record is a panel site.
        InputError and its kinds: See `files.targets.read_target`.
    """
    contigs = read_target(path, region=region, threads=threads)
    name = contig_alias(panel.contig, [records.contig for records in contigs])
    if name is None:
        there = ", ".join(records.contig for records in contigs)
        raise UnknownContigError(f"has no records of contig {panel.contig}, but of {there}", path=path)
    records, _ = settle_haplotypes(next(calls for calls in contigs if calls.contig == name), panel)
    return place_targets(records, panel, fix_swaps=fix_swaps, fix_flips=fix_flips)


def read_map(path: str | Path | None, panel: Panel) -> GeneticMap:
    """The genetic map of a panel's contig.

    Args:
        path: PLINK, SHAPEIT or Beagle format; None stands for 1 cM per Mb.
        panel: The panel.

    Raises:
        GeneticMapError: The file cannot be used, or does not cover the panel.
    """
    return map_for(panel, path)


def example() -> Path:
    """Folder of a small generated example: `panel.vcf.gz`, `array.vcf.gz`, `truth.vcf.gz` and `map.txt`.

    60 reference samples and 9 targets over 0.3 Mb, made by `scripts/example.py`.
    """
    return Path(str(importlib.resources.files("vcfrag_core"))) / "example"
