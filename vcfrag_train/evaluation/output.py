"""Where an evaluation is written, and what is said while it is made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from vcfrag_core.errors import ConfigError
from vcfrag_train.evaluation.results import Evaluation, write_json, write_tsv
from vcfrag_train.extras import require


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Files to write; none that is not named. `run` is a run folder whose training curves go into the report.

    Raises:
        ConfigError: A folder to write to does not exist; a run that no report was asked for; what a report needs is not
            installed.
    """

    json: Path | None = None
    tsv: Path | None = None
    html: Path | None = None
    run: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.json, self.tsv, self.html):
            if path is not None and not path.parent.is_dir():
                raise ConfigError(f"cannot write {path}: there is no folder {path.parent}")
        if self.run is not None and self.html is None:
            raise ConfigError("--run puts training curves into the report: name it with --html")
        if self.html is not None:
            require("jinja2", "matplotlib")


def write(evaluation: Evaluation, targets: Targets) -> list[Path]:
    """Writes what was asked for and returns the paths."""
    written = []
    if targets.json is not None:
        write_json(evaluation, targets.json)
        written.append(targets.json)
    if targets.tsv is not None:
        write_tsv(evaluation, targets.tsv)
        written.append(targets.tsv)
    if targets.html is not None:
        # matplotlib takes a second to import, and is needed for nothing else.
        from vcfrag_train.evaluation.report import write_report

        write_report(evaluation, targets.html, run=targets.run)
        written.append(targets.html)
    return written


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; nothing when stderr is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading the panel") as status:
        yield lambda what: status.update(what)
