"""A genome's files: panels and maps as one file, several, a folder, or a pattern with `{contig}`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, GeneticMapError
from vcfrag_core.files.outputs import PLACE
from vcfrag_core.files.panel.contigs import panel_contigs
from vcfrag_core.files.tables.genetic_map import require_contigs
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_train.imputing.regions import PanelSource, panel_sources

_BESIDE: Final = (".tbi", ".csi", ".gzi", ".md5", ".txt", ".log", ".bgi", ".json")
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
        files = _expanded(word)
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
            raise ConfigError(f"--panel: both {having[0]} and {having[1]} have contig {contig}; name one of them")
        if not having:
            foreign.append(contig)
            continue
        source = panel_sources(having[0], region, [contig])[contig]
        found[contig] = ContigFiles(panel=having[0], source=source, map=_map_of(source.contig, maps))
    return found, foreign


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


def _expanded(word: str) -> list[Path]:
    """Files of one word; a plain file is looked at where it is opened."""
    path = Path(word)
    if PLACE in word:
        folder, pattern = _pattern(word)
        return sorted(p for p in folder.glob(pattern) if p.is_file())
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and p.suffix not in _BESIDE and p.name[0] != ".")
    return [path]


def _pattern(word: str) -> tuple[Path, str]:
    """The folder that a pattern is looked for in, and the pattern as `glob` takes it."""
    path = Path(word)
    folder = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else word
    return folder, "*".join(re.sub(r"([*?[])", r"[\1]", part) for part in pattern.split(PLACE))


def _nothing_found(word: str) -> str:
    """Why a word names no file, with what there is instead."""
    if PLACE not in word:
        return "the folder has no files that could be read"
    folder = Path(word[: word.index(PLACE)] + "x").parent
    if not folder.is_dir():
        return f"no contig has such a file: there is no folder {folder}"
    looked_for = word.replace(PLACE, "*").removeprefix(f"{folder}/")
    there = [p for p in folder.iterdir() if p.suffix not in _BESIDE and p.name[0] != "."]
    names = [p.name for p in sorted(there, key=lambda p: (p.suffix != Path(word).suffix, p.name))]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"no contig has such a file: looked for {looked_for} in {folder.absolute()}, which has {shown or 'no files'}"
