"""Lines of a text file, gzipped or not."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TextIO

from vcfrag_core.errors import InputError

_PIECE: Final = 1 << 21


def file_state(path: str | Path) -> tuple[int, ...]:
    """What changes when a file does, for who keeps what was read of it; nothing where it cannot be looked at."""
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def numbered_lines(path: str | Path, error: type[InputError]) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text, without the line end, of every line that is not blank.

    Raises:
        InputError: As `error`: the file cannot be opened, decompressed or decoded.
    """
    with _opened(path, error) as lines:
        yield from lines_that_say(1, lines)


def numbered_pieces(path: str | Path, error: type[InputError]) -> Iterator[tuple[int, str]]:
    """Whole lines, some 100,000 at a time, and the number (from 1) of the first of them.

    Raises:
        InputError: As `numbered_lines`.
    """
    number = 1
    with _opened(path, error) as lines:
        while piece := lines.read(_PIECE):
            piece += lines.readline()
            yield number, piece
            number += piece.count("\n")


def lines_that_say(first: int, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number and text, without the line end, of those that are not blank, where the first one has a number."""
    for number, line in enumerate(lines, start=first):
        if line.strip():
            yield number, line.rstrip("\r\n")


@contextlib.contextmanager
def _opened(path: str | Path, error: type[InputError]) -> Iterator[TextIO]:
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_gzipped = file.read(2) == b"\x1f\x8b"
        # A byte order mark, as some editors put it first, says nothing.
        with gzip.open(path, "rt", encoding="utf-8-sig") if is_gzipped else path.open(encoding="utf-8-sig") as lines:
            yield lines
    except UnicodeDecodeError as fault:
        raise error("this is no text file", path=path) from fault
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise error("the file is damaged or ends early", path=path) from fault
    except OSError as fault:
        raise error(f"cannot be read: {fault.strerror}", path=path) from fault
