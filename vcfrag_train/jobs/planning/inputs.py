"""A genome's files: panels and maps as one file, several, a folder, or a pattern with `{contig}`."""

from __future__ import annotations

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
) -> tuple[dict[str, tuple[PanelSource, ...]], list[str], list[str]]:
    """What is read for each contig of the targets, the contigs that no panel has, and those that only panels have.

    The last are told by indexes alone: a header may declare contigs without a record.

    Several files may each have a part of a contig, as X's pseudo-autosomal regions and the rest.

    Raises:
        ConfigError: Two panels have a contig, and one lacks an index that tells what it holds of it, or they call it by
            different names.
        GeneticMapError: No map has one that a panel has.
    """
    known = {path: panel_contigs(path) for path in panels}
    found: dict[str, tuple[PanelSource, ...]] = {}
    foreign = []
    for contig in contigs:
        having = [path for path, names in known.items() if contig_alias(contig, names) is not None]
        if not having:
            foreign.append(contig)
            continue
        _refuse_unsure(contig, having)
        genetic_map = _map_of(contig_alias(contig, known[having[0]]) or contig, maps)
        sources = tuple(panel_sources(path, region, [contig], genetic_map)[contig] for path in having)
        for source in sources:
            if source.contig != sources[0].contig:
                raise ConfigError(
                    f"--panel: {sources[0].file} calls contig {sources[0].contig} what {source.file} calls"
                    f" {source.contig}; give it one name (`bcftools annotate --rename-chrs`)"
                )
        found[contig] = sources
    sure = (names for path, names in known.items() if is_indexed(path) or is_prepared(path))
    others = [name for names in sure for name in names if contig_alias(name, contigs) is None]
    return found, foreign, others


def _refuse_unsure(contig: str, having: Sequence[Path]) -> None:
    """Refuses several files of a contig of which one's header alone says that it has some."""
    unsure = [path for path in having if not is_indexed(path) and not is_prepared(path)]
    if len(having) > 1 and unsure:
        raise ConfigError(
            f"--panel: both {having[0]} and {having[1]} have contig {contig}; name one of them, or index"
            f" {' and '.join(map(str, unsure))}, whose header{'s name' if len(unsure) > 1 else ' names'} it (`bcftools"
            " index`)"
        )


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
    raise GeneticMapError(
        f"no map for contig {contig} is among --map, of which the first says: {refusal}"
        if len(maps) == 1
        else f"none of the {len(maps)} maps has contig {contig}; the first says: {refusal}"
    )


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
