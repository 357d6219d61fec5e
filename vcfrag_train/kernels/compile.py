"""Every kernel that jobs need, compiled once and published for all of them."""

from __future__ import annotations

import collections
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vcfrag_core import kernel_cache
from vcfrag_core.errors import ProgramError
from vcfrag_train.kernels.notice import STEP
from vcfrag_train.reporter import COMPILING

_TAIL_LINES: Final = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompiledKernels:
    """What there is now.

    Attributes:
        folder: Where the kernels are kept.
        n_compiled: Those that were not there before.
        n_kernels: All of them, one for each kernel and the types that it takes.
    """

    folder: Path
    n_compiled: int
    n_kernels: int


def compile_kernels(say: Callable[[str], None] = lambda line: None) -> CompiledKernels:
    """Compiles what is not there yet for this processor, and publishes it; nothing else is done if all is there.

    Kernels go to the folder that NUMBA_CACHE_DIR names where that is set, else to where every later process finds
    them. Others may do the same at the same time.

    Args:
        say: Told what is being done, and when something is compiled.

    Raises:
        ProgramError: A small job failed.
        OSError: Neither the installed package's folder nor the user's cache can be written.
    """
    prepared = kernel_cache.published()
    own = kernel_cache.chosen()
    with tempfile.TemporaryDirectory() as scratch:
        kernels = Path(own or Path(scratch) / "kernels")
        kernels.mkdir(parents=True, exist_ok=True)
        if own is None and prepared is not None:
            kernel_cache.link_all(prepared, kernels)
        before = 0 if own is None else len(_made_in(kernels))
        _run_small_jobs(kernels, Path(scratch), say)
        n_compiled = len(_made_in(kernels)) - before
        if own is not None:
            folder = kernels
        elif prepared is not None and not n_compiled:
            folder = prepared
        else:
            folder = kernel_cache.publish(kernels)
    return CompiledKernels(folder=folder, n_compiled=n_compiled, n_kernels=len(_kernels_in(folder)))


def _kernels_in(folder: Path) -> list[Path]:
    return list(folder.glob("*/*.nbc"))


def _made_in(folder: Path) -> list[Path]:
    """Those that were made there; links lead to others, which were prepared."""
    return [path for path in _kernels_in(folder) if not path.is_symlink()]


def _run_small_jobs(kernels: Path, scratch: Path, say: Callable[[str], None]) -> None:
    """Runs them in a process of its own, since one that has loaded numba keeps to the place that it began with."""
    said = collections.deque[str](maxlen=_TAIL_LINES)
    told = False
    with subprocess.Popen(
        [sys.executable, "-m", "vcfrag_train.kernels.small_jobs", str(scratch)],
        env={**os.environ, kernel_cache.NAME: str(kernels), "VCFRAG_CACHE_DIR": str(scratch / "panels")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as jobs:
        try:
            for line in jobs.stderr or ():
                said.append(line.rstrip("\n"))
                # The jobs' processes say so each for itself.
                if said[-1].startswith(STEP) or (said[-1] == COMPILING and not told):
                    told = told or said[-1] == COMPILING
                    say(said[-1])
        except BaseException:
            jobs.kill()
            raise
    if jobs.returncode != 0:
        raise ProgramError("\n".join([f"compiling ended with exit status {jobs.returncode}:", *said]))
