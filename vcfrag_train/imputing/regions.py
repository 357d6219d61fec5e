"""What is read of a panel file for the contigs of a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from vcfrag_core.files.vcf.reader import Region, contig_alias, open_vcf, parse_region

# More than 2 cM, the longest flank, at the mean rate of 1 cM per Mb.
MARGIN_BP = 3_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class PanelSource:
    """What is read of the panel for a contig of the target: the contig's name there, and the region or all."""

    contig: str
    region: str | None


def panel_sources(path: Path, region: str | None, contigs: Sequence[str]) -> dict[str, PanelSource]:
    """Target contig to its source in the panel, for those that the panel has, by name or alias.

    With a region, sites around it are read, too: they are the context of those at its ends. The whole file is asked
    for where it holds one contig, so that the panel's cache is shared with other commands.
    """
    with open_vcf(path) as reader:
        indexed = any(Path(f"{path}{suffix}").is_file() for suffix in (".csi", ".tbi"))
        known = reader.contigs if reader.contigs and not indexed else reader.contigs_with_records()
    names = {contig: alias for contig in contigs if (alias := contig_alias(contig, known)) is not None}
    if region is not None:
        wanted = with_margin(parse_region(region))
        return {c: PanelSource(n, str(dataclasses.replace(wanted, contig=n))) for c, n in names.items()}
    alone = len(names) == 1 and (len(known) == 1 or not indexed)
    return {contig: PanelSource(name, None if alone else name) for contig, name in names.items()}


def with_margin(region: Region) -> Region:
    """The region and the context of its ends."""
    stop = None if region.stop is None else region.stop + MARGIN_BP
    return dataclasses.replace(region, start=max(1, region.start - MARGIN_BP), stop=stop)
