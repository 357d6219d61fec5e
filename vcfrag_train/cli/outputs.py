"""What every command holds to for its files: no output is an input, and an output that cannot be written is told first.

A command marks its outputs in their annotations; every other path among its options is an input.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from typer.models import ArgumentInfo

from vcfrag_core.errors import ConfigError, OutputError
from vcfrag_core.files.names import PLACE, files_of_word

OUTPUT: Final = "output file"
OUTPUT_FOLDER: Final = "output folder"
# Options that take a folder for the files in it.
_GENOME: Final = ("panel", "map")
_INDEXES: Final = (".tbi", ".csi")
_PLINK: Final = (".bed", ".bim", ".fam", ".pgen", ".pvar", ".psam")


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, run only where its outputs are apart from its inputs and from each other, and can be written."""
    kinds, arguments = _kinds(command), _arguments(command)

    @functools.wraps(command)
    def run(**options: Any) -> None:
        given = {name: list(_paths(value)) for name, value in options.items()}
        outputs = {name: kind for name, kind in kinds.items() if kind is not None}
        named = _with_kinds(given, outputs)
        # What follows from --out comes after it, and before the outputs that could be named otherwise.
        first = {"--out": named["--out"]} if "--out" in named else {}
        check_outputs(
            {**first, **_implied(given), **named},
            {
                name.upper() if name in arguments else _option(name): [*_belonging(_read(name, options[name]))]
                for name in options
                if name not in outputs
            },
        )
        command(**options)

    return run


def check_outputs(outputs: Mapping[str, tuple[Path, str]], inputs: Mapping[str, Iterable[Path]]) -> None:
    """Refuses outputs that would overwrite something else than an earlier output, or cannot be written.

    Args:
        outputs: By option, the path and whether it is OUTPUT or OUTPUT_FOLDER.
        inputs: By option, the paths that are read.

    Raises:
        ConfigError: An output is an input, by whatever name, or another output.
        OutputError: An output's folder cannot be written, or a file's path is a folder.
    """
    taken: list[tuple[str, Path]] = [(option, path) for option, paths in inputs.items() for path in paths]
    for option, (path, kind) in outputs.items():
        for other, there in taken:
            if _same(path, there):
                raise ConfigError(f"{option} {path} is {other}, too, which it would overwrite; give it another name")
        taken.append((option, path))
        _check_writable(option, path, kind)


def _check_writable(option: str, path: Path, kind: str) -> None:
    if kind == OUTPUT and path.is_dir():
        raise OutputError(f"{option} {path} is a folder; name a file in it")
    if kind == OUTPUT and path.exists() and not path.is_file():
        raise OutputError(f"{option} {path} is a device or a pipe, in whose place a file would come; name a file")
    if kind == OUTPUT_FOLDER and path.exists() and not path.is_dir():
        raise OutputError(f"{option} {path} is a file; name a folder")
    folder = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
    below = path.absolute() if kind == OUTPUT_FOLDER else path.absolute().parent
    blocking = next((p for p in (below, *below.parents) if p.exists() and not p.is_dir()), None)
    if blocking is not None:
        raise OutputError(f"{option} {path}: {blocking} is a file, no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{option} {path}: the folder {folder} cannot be written (permissions, or a read-only disk)")


def _same(path: Path, other: Path) -> bool:
    """Whether an output is that file, or of a contig would be where `{contig}` stands in its name."""
    if PLACE in str(path):
        pattern = "[^/]+".join(re.escape(part) for part in str(path.resolve()).split(PLACE))
        return re.fullmatch(pattern, str(other.resolve())) is not None
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _kinds(command: Callable[..., None]) -> dict[str, str | None]:
    hints = typing.get_type_hints(command, include_extras=True)
    return {
        name: next((mark for mark in typing.get_args(hints.get(name))[1:] if mark in (OUTPUT, OUTPUT_FOLDER)), None)
        for name in inspect.signature(command).parameters
    }


def _arguments(command: Callable[..., None]) -> set[str]:
    """What is given by its place and not by an option."""
    hints = typing.get_type_hints(command, include_extras=True)
    return {
        name
        for name, hint in hints.items()
        if any(isinstance(mark, ArgumentInfo) for mark in getattr(hint, "__metadata__", ()))
    }


def _with_kinds(given: Mapping[str, list[Path]], kinds: Mapping[str, str]) -> dict[str, tuple[Path, str]]:
    return {_option(name): (path, kind) for name, kind in kinds.items() for path in given.get(name, ())}


def _implied(given: Mapping[str, list[Path]]) -> dict[str, tuple[Path, str]]:
    """What is written beside an output that was named: QC table and summary, the cohort record, index and tables."""
    if "qc" not in given:
        return {}
    from vcfrag_core.files.outputs import SUFFIXES, companions, stem_of
    from vcfrag_core.files.tables.names import summary_path

    out = next((path for path in given.get("out", ()) if path.name.endswith(SUFFIXES)), None)
    implied = {}
    # A name is lacked by `.`, which is refused as the folder that it is.
    if given["qc"] and given["qc"][0].name:
        implied["the summary of --qc"] = (summary_path(given["qc"][0]), OUTPUT)
    elif out is not None and not given["qc"]:
        table = out.with_name(f"{stem_of(out)}.qc.tsv")
        implied = {"the QC table of --out": (table, OUTPUT), "the QC summary of --out": (summary_path(table), OUTPUT)}
    if out is not None and "cohort" in given and not given["cohort"]:
        record = out.with_name(f"{stem_of(out)}.cohort.json")
        implied["the cohort record of --out"] = (record, OUTPUT)
        implied["the targets that serve as references, beside the cohort record of --out"] = (
            record.with_suffix(".npz"),
            OUTPUT,
        )
    if out is not None:
        implied |= {f"what goes with --out ({path.suffix}):": (path, OUTPUT) for path in companions(out)}
    return implied


def _belonging(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths, and what is read beside them: indexes, and the other files of a PLINK set."""
    for path in paths:
        yield path
        if not path.name:
            continue
        yield from (path.with_name(path.name + suffix) for suffix in _INDEXES)
        stem = path.stem if path.suffix in _PLINK else path.name
        yield from (path.with_name(stem + suffix) for suffix in _PLINK if stem + suffix != path.name)


def _paths(value: Any) -> Iterable[Path]:
    """The paths in an option's value, also as `NAME=FILE`, where there is such a file."""
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, Path):
            yield item
        elif isinstance(item, str):
            yield from (Path(text) for text in (item, item.partition("=")[2]) if text and _is_there(text))


def _read(name: str, value: Any) -> Iterable[Path]:
    """The files that an input's words mean: those of all contigs where `{contig}` stands in them, those of a folder."""
    yield from _paths(value)
    for item in value if isinstance(value, list | tuple) else [value]:
        for text in (str(item), str(item).partition("=")[2]) if isinstance(item, str | Path) else ():
            if PLACE in text or (name in _GENOME and text and _is_there(text) and Path(text).is_dir()):
                yield from files_of_word(text, texts=True)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
