"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Iterator
from pathlib import Path

from vcfrag_core.errors import OutputError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The temporary name begins with `.partial-` and keeps every suffix, from which writers choose their format. An error
    for want of room on the disk names `path`.

    Raises:
        OutputError: At `path` is no file but a device, a pipe or a folder, in whose place a file would come.
    """
    final = Path(path)
    if final.exists() and not final.is_file():
        raise OutputError(f"{final} is no regular file, and would be replaced by one; name a file")
    temporary = final.with_name(f".partial-{secrets.token_hex(4)}-{final.name}")
    try:
        yield temporary
        temporary.replace(final)
    except OSError as error:
        # The system names no file where a write fails for want of room.
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = str(final)
        raise
    finally:
        temporary.unlink(missing_ok=True)
