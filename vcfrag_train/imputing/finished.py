"""What a finished run leaves in its QC summary, so that the same command with `--resume` imputes nothing anew."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.outputs import companions
from vcfrag_core.files.tables.qc import summary_path
from vcfrag_core.hashing import text_digest

_KEY: Final = "finished"
_HOW: Final = ("--jobs", "--threads", "--memory", "--cluster", "--report", "--scratch")


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended: its outputs with their numbers of records, and its samples."""

    outputs: tuple[tuple[Path, int], ...]
    n_samples: int


def what_is_done(command: str) -> list[str]:
    """The words of a command that say what is done, not how it is run."""
    words = [part for word in shlex.split(command) for part in word.split("=", 1)]
    kept = []
    while words:
        word = words.pop(0)
        if word in _HOW:
            del words[:1]
        elif word != "--resume":
            kept.append(word)
    return kept


def mark_finished(table: Path, command: str, outputs: Sequence[tuple[Path, int]], n_samples: int) -> None:
    """Adds what was written to the QC summary.

    Args:
        table: The QC table, beside which the summary lies.
        command: The command line of the run.
        outputs: Outputs that are whole, and their numbers of records.
        n_samples: Samples in them.
    """
    content = _summary(table)
    content[_KEY] = {
        "command": what_is_done(command),
        "folder": _folder(),
        "beside": sorted(str(file) for path, _ in outputs for file in companions(path) if file.is_file()),
        "samples": n_samples,
        "outputs": [{"file": str(p), "bytes": p.stat().st_size, "records": n} for p, n in outputs],
    }
    with atomic_path(summary_path(table)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def find_finished(table: Path, command: str, inputs: Sequence[Path]) -> Finished | None:
    """What the same command has written before, if all of it is there as it was and no input is newer.

    It is the same where its relative names mean the same files. An input is newer, too, where another file was put in
    its place since, whatever time of change that one brings along.

    Args:
        table: The QC table.
        command: The command line.
        inputs: Files that it reads.
    """
    mark = _summary(table).get(_KEY)
    if not isinstance(mark, Mapping):
        return None
    if mark.get("command") != what_is_done(command) or mark.get("folder") != _folder():
        return None
    try:
        outputs = tuple((Path(str(one["file"])), int(one["records"])) for one in mark["outputs"])
        sizes = [int(one["bytes"]) for one in mark["outputs"]]
        there = [path.stat() for path, _ in outputs]
        read = [max(status.st_mtime_ns, status.st_ctime_ns) for status in map(Path.stat, inputs)]
        beside = [Path(str(file)).is_file() for file in mark["beside"]]
        n_samples = int(mark["samples"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
    if not there or not all(beside) or [status.st_size for status in there] != sizes:
        return None
    written = min(status.st_mtime_ns for status in there)
    return Finished(outputs, n_samples) if all(time < written for time in read) else None


def _folder() -> str:
    """What relative names of a command follow from."""
    return text_digest("folder", str(Path.cwd()))


def _summary(table: Path) -> dict[str, Any]:
    try:
        content = json.loads(summary_path(table).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
