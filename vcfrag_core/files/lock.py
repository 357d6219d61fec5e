"""One writer at a time for what several runs would write to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vcfrag_core.errors import OutputError
from vcfrag_core.locks import take_lock


@contextlib.contextmanager
def sole_writer(path: str | Path) -> Iterator[None]:
    """Holds a lock beside `path` while the block runs; a file system without locks goes without.

    Raises:
        OutputError: Another run writes to it.
    """
    final = Path(path)
    beside = final.with_name(f".{final.name}.lock")
    with beside.open("a") as file:
        if take_lock(file.fileno()) is False:
            raise OutputError(f"another run writes {path}; wait for it, or give this one another name")
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


def refuse_other_writer(path: str | Path) -> None:
    """Refuses where another run writes to `path` now, before there is work to lose.

    Raises:
        OutputError: It does.
    """
    with sole_writer(path):
        pass
