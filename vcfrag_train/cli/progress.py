"""How an imputation run is shown: lines on stderr, and on a terminal a bar with sites per second and time left."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vcfrag_core import kernel_cache
from vcfrag_core.files.tables.genetic_map import GeneticMapWarning
from vcfrag_train.kernels.notice import telling
from vcfrag_train.reporter import Reporter


class _PerSecond(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 2}f} {self._what}/s")


class _Shown(Reporter):
    """Shows a run on the console; the bar only where somebody looks at it."""

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
def showing(what: str = "sites", *, compiles: bool = True) -> Iterator[Reporter]:
    """A reporter that writes to stderr; without a terminal only what the user should know, and no bar.

    Args:
        what: What the bar counts.
        compiles: Whether kernels may have to be compiled; where none are used, what compiles them is not imported.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), _PerSecond(what), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        shown = _Shown(console, progress)
        with warnings.catch_warnings():
            warnings.simplefilter("always", GeneticMapWarning)
            warnings.showwarning = lambda message, *_, **__: shown.say(f"warning: {message}")
            if note := kernel_cache.note():
                shown.say(f"note: {note}")
            with telling(shown.say) if note is None and compiles else contextlib.nullcontext():
                yield shown
