"""Who is told how a command goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

# Said once by a run that compiles kernels.
COMPILING: Final = "compiling kernels, once for an installation (`vcfrag compile` does it ahead)"


class Reporter:
    """Is told how a run goes; this one does nothing."""

    def say(self, line: str) -> None:
        """Something that the user should know."""

    def stage(self, name: str) -> None:
        """What is done now."""

    def sites(self, done: int, total: int) -> None:
        """Sites of this contig that are written."""


class LineReporter(Reporter):
    """Hands every line on, stages among them."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def say(self, line: str) -> None:
        self._write(line)

    def stage(self, name: str) -> None:
        self._write(name)


SILENT = Reporter()


@contextlib.contextmanager
def telling_interrupted(say: Callable[[str], None], words: Callable[[], str]) -> Iterator[None]:
    """Says what an interruption of the block leaves, and how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted{words()}")
        raise
