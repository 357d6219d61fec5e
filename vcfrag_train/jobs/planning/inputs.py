"""A genome's files: panels and maps as one file, several, a folder, or a pattern with `{contig}`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, GeneticMapError
from vcfrag_core.files.names import BESIDE, PLACE, files_of_word
from vcfrag_core.files.panel.contigs import is_indexed, panel_contigs
from vcfrag_core.files.panel.prepared import is_prepared
from vcfrag_core.files.tables.genetic_map import require_contigs
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_train.imputing.regions import PanelSource, panel_sources

_SHOWN: Final = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContigFiles:
    """What is read for a contig.

    Attributes:
        panel: The panel's file.
        source: What is read of it.
        map: The genetic map's file; None without maps.
    """

    panel: Path
    source: PanelSource
    map: Path | None


def expand(option: str, words: Sequence[str]) -> tuple[Path, ...]:
    """The files that words name: files, folders, and patterns in which `{contig}` stands for anything.

    Raises:
        ConfigError: A word names none.
    """
    found: dict[Path, None] = {}
    for word in words:
        files = files_of_word(word, texts=option == "--map")
        if not files:
            raise ConfigError(f"{option} {word}: {_nothing_found(word)}")
        found |= dict.fromkeys(files)
    return tuple(found)


def find_files(
    contigs: Sequence[str], panels: Sequence[Path], maps: Sequence[Path], region: str | None
) -> tuple[dict[str, ContigFiles], list[str]]:
    """The files of each contig of the targets, and the contigs that no panel has.

    Raises:
        ConfigError: Two panels have a contig.
        GeneticMapError: No map has one that a panel has.
    """
    known = {path: panel_contigs(path) for path in panels}
    found: dict[str, ContigFiles] = {}
    foreign = []
    for contig in contigs:
        having = [path for path, names in known.items() if contig_alias(contig, names) is not None]
        if len(having) > 1:
            unsure = [path for path in having if not is_indexed(path) and not is_prepared(path)]
            index = f", or index {unsure[0]}, whose header names it (`bcftools index`)" if unsure else ""
            raise ConfigError(
                f"--panel: both {having[0]} and {having[1]} have contig {contig}; name one of them, join them"
                f" (`bcftools concat`) if each has a part{index}"
            )
        if not having:
            foreign.append(contig)
            continue
        source = panel_sources(having[0], region, [contig])[contig]
        found[contig] = ContigFiles(panel=having[0], source=source, map=_map_of(source.contig, maps))
    return found, foreign


def contigs_without_targets(contigs: Sequence[str], panels: Sequence[Path]) -> list[str]:
    """The contigs that panels have records of, as far as an index tells, and targets none."""
    sure = [path for path in panels if is_indexed(path) or is_prepared(path)]
    return [name for path in sure for name in panel_contigs(path) if contig_alias(name, contigs) is None]


def _map_of(contig: str, maps: Sequence[Path]) -> Path | None:
    """The first map that has the contig; one that names its file after the contig goes before others."""
    if not maps:
        return None
    refusal: GeneticMapError | None = None
    for path in maps:
        try:
            require_contigs(path, [contig])
        except GeneticMapError as error:
            refusal = refusal or error
        else:
            return path
    if refusal is None or len(maps) == 1:
        raise refusal or GeneticMapError(f"no map has contig {contig}")
    raise GeneticMapError(f"none of the {len(maps)} maps has contig {contig}; the first says: {refusal}")


def _nothing_found(word: str) -> str:
    """Why a word names no file, with what there is instead."""
    if PLACE not in word:
        return "the folder has no files that could be read"
    folder = Path(word[: word.index(PLACE)] + "x").parent
    if not folder.is_dir():
        return f"no contig has such a file: there is no folder {folder}"
    looked_for = word.replace(PLACE, "*").removeprefix(f"{folder}/")
    there = [p for p in folder.iterdir() if p.suffix not in BESIDE and p.name[0] != "."]
    names = [p.name for p in sorted(there, key=lambda p: (p.suffix != Path(word).suffix, p.name))]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"no contig has such a file: looked for {looked_for} in {folder.absolute()}, which has {shown or 'no files'}"
