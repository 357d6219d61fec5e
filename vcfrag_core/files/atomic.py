"""Files that appear whole or not at all.

What is not whole yet has a name of its own, `.partial-` and eight digits before that of the file, and is locked by who
makes it. Who is killed leaves it, and the next one that makes the same file finds it without its lock and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vcfrag_core.errors import OutputError
from vcfrag_core.locks import take_lock

# Who may read and write a file, as far as the process's mask lets them: everybody, or its owner.
SHARED: Final = 0o666
PRIVATE: Final = 0o600
_PREFIX: Final = ".partial-"
_LOCK: Final = "lock"


@contextlib.contextmanager
def atomic_path(path: str | Path, *, mode: int = SHARED) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to it when the block ends well and removed when it does not.

    It is empty, and its name keeps every suffix, from which writers choose their format. An error for want of room on
    the disk names `path`.

    Args:
        path: The file.
        mode: SHARED or PRIVATE.

    Raises:
        OutputError: At `path` is no file but a device, a pipe or a folder, in whose place a file would come.
    """
    final = Path(path)
    if final.exists() and not final.is_file():
        raise OutputError(f"{final} is no regular file, and would be replaced by one; name a file")
    with _naming(final):
        remove_left_behind(final.parent, final.name)
        temporary, file = _locked_file(final, mode)
        try:
            yield temporary
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(file)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, whose content is made in it; it is removed when the block ends."""
    with _naming(path):
        remove_left_behind(path.parent, path.name)
        temporary, file = _locked_folder(path)
        try:
            made = temporary / "made"
            made.mkdir()
            yield made
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(file)


@contextlib.contextmanager
def _naming(final: Path) -> Iterator[None]:
    """The system names no file where a write fails for want of room."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = str(final)
        raise


def _new_name(final: Path) -> Path:
    return final.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{final.name}")


def _locked_file(final: Path, mode: int) -> tuple[Path, int]:
    while True:
        temporary = _new_name(final)
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        # Who cleared up at this moment took it for one that was left behind.
        if take_lock(file) is not False and os.fstat(file).st_nlink:
            return temporary, file
        os.close(file)


def _locked_folder(final: Path) -> tuple[Path, int]:
    while True:
        temporary = _new_name(final)
        temporary.mkdir()
        with contextlib.suppress(FileNotFoundError):
            file = os.open(temporary / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            if take_lock(file) is not False and os.fstat(file).st_nlink:
                return temporary, file
            os.close(file)


def remove_left_behind(folder: Path, name: str | None = None) -> None:
    """Removes from a folder what who was killed had begun to make: of a file of that name, or of any without one."""
    pattern = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]{{8}}-{'.+' if name is None else re.escape(name)}")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                _remove_unlocked(Path(entry.path), entry.is_dir(follow_symlinks=False))


def _remove_unlocked(path: Path, is_folder: bool) -> None:
    """Removes it unless its maker lives, or none can tell."""
    flags = os.O_RDWR | os.O_CREAT if is_folder else os.O_RDONLY
    with contextlib.suppress(OSError):
        file = os.open(path / _LOCK if is_folder else path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if take_lock(file) is True:
                shutil.rmtree(path) if is_folder else path.unlink()
        finally:
            os.close(file)
