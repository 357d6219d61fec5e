"""Where compiled kernels are kept: those prepared for all jobs, numba's own places, or a folder of this process.

`vcfrag compile` publishes a folder of kernels, whole and by one renaming. A process that finds one sees it through a
folder of links of its own: it reads what was published and writes elsewhere, so that any number of jobs on a shared
file system never write to one place, and what is installed may be read-only. Without one, kernels are kept beside the
source or in the user's cache, in a folder that goes by the sources of all of them: numba looks at the file of a kernel
alone, and would go on with the old code of those that are compiled into it. It refuses to load a kernel that it can
keep nowhere; then a folder of this process serves.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from vcfrag_core.locks import take_lock

NAME = "NUMBA_CACHE_DIR"
# Every module that numba compiles a kernel of.
KERNEL_MODULES = (
    "copying/carriers.py",
    "copying/gradient.py",
    "copying/kernels.py",
    "copying/match_lengths.py",
    "copying/vectors.py",
    "evidence/input_kernels.py",
    "evidence/kernels.py",
    "files/vcf/kernels.py",
    "kernel.py",
    "kernel_files.py",
    "leaf.py",
    "model/kernels.py",
    "output/kernels.py",
    "panel/kernels.py",
    "phasing/chains.py",
    "phasing/diploid/kernels.py",
    "phasing/diploid/pairs.py",
    "phasing/diploid/vectors.py",
    "phasing/ranking.py",
    "search/alike.py",
    "search/distinct.py",
    "search/lanes.py",
    "search/pattern_scan.py",
    "search/scan.py",
    "search/select.py",
)
_PREFIX = "vcfrag-kernels-"
_OWN_PREFIX = "numba-"
_LOCK = "lock"
_PACKAGE = Path(__file__).parent
# What was published before stays for the jobs that read it.
_KEPT = 2
# So many folders of other sources stay where kernels are kept as they are compiled.
_KEPT_ELSEWHERE = 4


def provide_for_numba() -> None:
    """Has `provide` called when numba is imported, which reads its settings then; many processes never do."""
    if "numba" in sys.modules:
        provide()
    else:
        sys.meta_path.insert(0, _BeforeNumba())


class _BeforeNumba:
    """Is asked for every module before it is looked for, finds none, and is gone once numba is asked for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "numba" and self in sys.meta_path:
            sys.meta_path.remove(self)
            provide()


def provide() -> None:
    """Sets NUMBA_CACHE_DIR: to a folder of this process where kernels were prepared, else to where they are kept.

    Where they can be kept nowhere a folder goes with this process, too. Whoever set the variable has chosen, and
    nothing is changed.
    """
    if NAME in os.environ:
        return
    prepared = published()
    if prepared is None and (kept := _kept_folder()) is not None:
        os.environ[NAME] = str(kept)
        return
    folder = _own_folder()
    atexit.register(_remove, folder, os.getpid())
    if prepared is not None:
        # All of them, since the processes that this one starts look there, too. Whoever publishes twice at this moment
        # clears it away; then kernels are compiled.
        with contextlib.suppress(FileNotFoundError):
            link_all(prepared, folder)
    os.environ[NAME] = str(folder)


def note() -> str | None:
    """What a user should know once: that kernels are compiled anew by every process, and how that is spared."""
    provide()
    if not is_temporary(os.environ[NAME]) or published() is not None:
        return None
    return (
        "neither the installed package nor the home folder can be written: kernels are compiled anew in every run;"
        f" `vcfrag compile` where one of them can be written spares that, or {NAME} with a folder that keeps them"
    )


def published() -> Path | None:
    """The newest folder that `publish` left for these sources, this Python and this numba; None where there is none."""
    found = [folder for place in _places() for folder in _published_in(place)]
    return max(found, key=_when, default=None)


def publish(kernels: Path) -> Path:
    """Makes a folder of compiled kernels that of all later processes, by one renaming.

    Args:
        kernels: What numba left; nothing is written to it.

    Returns:
        The folder, beside the package where that can be written and else in the user's cache.

    Raises:
        OSError: Neither can be written.
    """
    hidden = _hidden_folder()
    place = hidden.parent
    try:
        whole = hidden / "kernels"
        shutil.copytree(kernels, whole, ignore=shutil.ignore_patterns("*.tmp.*"))
        for path in (whole, *whole.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        final = place / f"{_key()}.{time.time_ns()}"
        whole.rename(final)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    for old in sorted(_published_in(place), key=_when)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def link_all(kernels: Path, folder: Path) -> None:
    """Makes `folder` show the kernels: folders of its own, whose files are links; what is written replaces a link."""
    for inner in os.scandir(kernels):
        own = folder / inner.name
        own.mkdir()
        for file in os.scandir(inner.path):
            os.symlink(file.path, f"{own}/{file.name}")  # noqa: PTH211 -- many, and a path takes longer to make


def is_temporary(folder: str) -> bool:
    """Whether a folder goes with the process that made it."""
    return Path(folder).name.startswith(_PREFIX)


def chosen() -> Path | None:
    """The folder that somebody named for kernels; None where this package did, or nobody."""
    folder = os.environ.get(NAME, "")
    own = is_temporary(folder) or Path(folder).name.startswith(_OWN_PREFIX)
    return None if own or not folder else Path(folder)


def user_cache() -> Path:
    """$XDG_CACHE_HOME, else ~/.cache; for who has no home folder, a place in which nothing can be made."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    home = os.path.expanduser("~")  # noqa: PTH111 -- pathlib raises for who has no home
    return Path(home if home.startswith("/") else os.devnull) / ".cache"


def _places() -> tuple[Path, Path]:
    """Where prepared kernels may lie: those of the installation, and the user's."""
    return _PACKAGE / "__pycache__" / "kernels", user_cache() / "vcfrag" / "kernels"


def _hidden_folder() -> Path:
    """A new folder in the first place that can be written."""
    *others, last = _places()
    for place in others:
        with contextlib.suppress(OSError):
            return _hidden_folder_in(place)
    return _hidden_folder_in(last)


def _hidden_folder_in(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".", dir=place))


def _published_in(place: Path) -> list[Path]:
    return list(place.glob(f"{_key()}.*")) if place.is_dir() else []


def _when(folder: Path) -> int:
    return int(folder.suffix[1:])


def _key() -> str:
    """Of all that compiled kernels follow from but the processor, which numba asks for itself."""
    # Takes part of the start of those who need no kernels.
    import importlib.metadata

    made_from = hashlib.sha256(f"{sys.version} {importlib.metadata.version('numba')} {_PACKAGE}".encode())
    for name in KERNEL_MODULES:
        made_from.update((_PACKAGE / name).read_bytes())
    return made_from.hexdigest()[:16]


def _kept_folder() -> Path | None:
    """Where the kernels of these sources are kept as they are compiled; None where nothing can be written."""
    for place in (_PACKAGE / "__pycache__", user_cache() / "vcfrag"):
        if _writable(place):
            _clear_older(place)
            return place / f"{_OWN_PREFIX}{_key()}"
    return None


def _clear_older(place: Path) -> None:
    """Removes kernels of sources that are not these, but for the newest: other versions may be at work."""
    others = [folder for folder in place.glob(f"{_OWN_PREFIX}*") if folder.name != f"{_OWN_PREFIX}{_key()}"]
    with contextlib.suppress(FileNotFoundError):
        for old in sorted(others, key=lambda folder: folder.stat().st_mtime)[:-_KEPT_ELSEWHERE]:
            shutil.rmtree(old, ignore_errors=True)


def _writable(folder: Path) -> bool:
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """A new folder of this process, locked while it lives; those of processes that were killed go."""
    _clear_left_behind(Path(tempfile.gettempdir()))
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Open until the process ends, in whatever way.
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        # Who cleared up at this moment took it for one that was left behind.
        if take_lock(file) is not False and os.fstat(file).st_nlink:
            return folder
        os.close(file)


def _clear_left_behind(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        # No lock: just being made; another user's: not to be opened.
        with contextlib.suppress(OSError):
            file = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                if take_lock(file):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(file)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
