"""The bar of a run on a terminal, with sites per second and time left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vcfrag_train.reporter import Reporter


class _PerSecond(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 2}f} {self._what}/s")


class _Shown(Reporter):
    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def stage(self, name: str) -> None:
        self._progress.reset(self._task, description=name, total=None)

    def sites(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


@contextlib.contextmanager
def drawn(what: str) -> Iterator[Reporter]:
    """A reporter that draws the bar on stderr, and lines above it.

    Args:
        what: What the bar counts.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), _PerSecond(what), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield _Shown(console, progress)
