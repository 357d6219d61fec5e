"""One writer at a time for what several runs would write to, and who of them still lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

from vcfrag_core.errors import OutputError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


def take_lock(file: int) -> bool | None:
    """Takes the lock of an open file, which is held until it is closed, or the process ends in whatever way.

    Returns:
        Whether it was free; None where the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


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
