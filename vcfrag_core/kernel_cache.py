"""Where compiled kernels are kept when neither the package's folder nor the user's can be written, as in containers.

Numba refuses to load a kernel that it can keep nowhere; then a folder of this process, which goes with it, serves.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

NAME = "NUMBA_CACHE_DIR"
_PREFIX = "vcfrag-kernels-"


def provide() -> None:
    """Sets NUMBA_CACHE_DIR to a temporary folder where numba would find no place of its own; else changes nothing."""
    if NAME in os.environ or any(_writable(folder) for folder in _own_places()):
        return
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    os.environ[NAME] = folder
    atexit.register(_remove, folder, os.getpid())


def note() -> str | None:
    """What a user should know once: that kernels are compiled anew by every process, and how that is spared."""
    if not Path(os.environ.get(NAME, "")).name.startswith(_PREFIX):
        return None
    return (
        "neither the installed package nor the home folder can be written: kernels are compiled anew in every run;"
        f" {NAME} names a folder that keeps them"
    )


def user_cache() -> Path:
    """$XDG_CACHE_HOME, else ~/.cache; for who has no home folder, a place in which nothing can be made."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    home = os.path.expanduser("~")  # noqa: PTH111 -- pathlib raises for who has no home
    return Path(home if home.startswith("/") else os.devnull) / ".cache"


def _own_places() -> tuple[Path, Path]:
    """The folders that numba tries: beside the source, and the user's cache."""
    package = Path(__file__).parent
    cached = package / "__pycache__"
    return (cached if cached.is_dir() else package), user_cache() / "numba"


def _writable(folder: Path) -> bool:
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return os.access(there, os.W_OK | os.X_OK)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
