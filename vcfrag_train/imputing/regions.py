"""What is read of a panel file for the contigs of a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from vcfrag_core.errors import TargetError
from vcfrag_core.files.panel.contigs import is_indexed, panel_contigs
from vcfrag_core.files.panel.prepared import is_prepared, read_table
from vcfrag_core.files.vcf.reader import Region, open_vcf, parse_region
from vcfrag_core.genome.contigs import contig_alias

# More than 2 cM, the longest flank, at the mean rate of 1 cM per Mb.
MARGIN_BP = 3_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PanelSource:
    """What is read of a panel's file for a contig of the target.

    Attributes:
        file: The panel's file.
        contig: The contig's name there.
        region: What is read of it; all of the file unless given.
        map: The genetic map's file; None without.
    """

    file: Path
    contig: str
    region: str | None
    map: Path | None


def refuse_twice(sources: Mapping[str, PanelSource], target: Path) -> None:
    """Refuses a target of which two contigs are one contig of the panel.

    Raises:
        TargetError: Names them.
    """
    targets_of: dict[str, list[str]] = {}
    for contig, source in sources.items():
        targets_of.setdefault(source.contig, []).append(contig)
    for contig, names in targets_of.items():
        if len(names) > 1:
            raise TargetError(
                f"contigs {' and '.join(names)} are both the panel's {contig}; give each site once, under one name"
                " (`bcftools annotate --rename-chrs`, then `bcftools sort`)",
                path=target,
            )


def panel_sources(
    path: Path, region: str | None, contigs: Sequence[str], genetic_map: Path | None
) -> dict[str, PanelSource]:
    """Target contig to its source in the panel, for those that the panel has, by name or alias.

    With a region, sites around it are read, too: they are the context of those at its ends. The whole file is asked
    for where it holds one contig, so that the panel's cache is shared with other commands.
    """
    # Of a prepared panel a contig is found at once.
    indexed = is_indexed(path) or is_prepared(path)
    known = panel_contigs(path)
    names = {contig: alias for contig in contigs if (alias := contig_alias(contig, known)) is not None}
    alone = len(names) == 1 and (len(known) == 1 or not indexed)
    around = None if region is None else with_margin(parse_region(region))

    def read_of(name: str) -> str | None:
        if around is not None:
            return str(dataclasses.replace(around, contig=name))
        return None if alone else str(Region(name))

    return {
        contig: PanelSource(file=path, contig=name, region=read_of(name), map=genetic_map)
        for contig, name in names.items()
    }


def sites_about(path: Path, contigs: Sequence[str]) -> int | None:
    """About how many sites the panel has on some of its contigs; None where all of it must be read to tell."""
    if is_prepared(path):
        return sum(entry.n_sites for entry in read_table(path)[1] if entry.contig in contigs)
    with open_vcf(path) as reader:
        total = reader.n_records()
        return None if total is None else round(total * len(contigs) / len(reader.contigs_with_records()))


def with_margin(region: Region) -> Region:
    """The region and the context of its ends."""
    stop = None if region.stop is None else region.stop + MARGIN_BP
    return dataclasses.replace(region, start=max(1, region.start - MARGIN_BP), stop=stop)
