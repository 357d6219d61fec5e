"""331 windows of 5,008 x 1,020 at three scales, 64 queries each: every engine through the daemon, and in process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import panels

ALL = str(len(os.sched_getaffinity(0)))


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """All windows by bit scans, some by FAISS, which takes too long for all."""
    measured(note, 5008, 331, 60, [] if brief else [("bitscan", "2", 6)], ("faiss-gpu", 6))


def measured(
    note: Callable[[str, Any], None],
    n_haplotypes: int,
    n_windows: int,
    in_process: int,
    besides: Sequence[tuple[str, str, int]],
    slow: tuple[str, int] | None,
) -> None:
    """One panel's figures: through the daemon and in process.

    Args:
        note: Keeps them.
        n_haplotypes: Of the panel.
        n_windows: Of the panel; bit scans with all threads search all of them.
        in_process: Windows that are searched in process.
        besides: Engines, their threads and their windows, through the daemon too.
        slow: An engine that searches so few windows with all threads.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        file = panels.written(Path(folder), n_haplotypes, n_windows)
        judged = [("bitscan", ALL, n_windows), ("bitscan-gpu", ALL, n_windows)]
        others = [*besides, *([(slow[0], ALL, slow[1])] if slow else [])]
        for engine, threads, windows in [*judged, *others]:
            note(f"daemon {engine} {threads}", ask("through_daemon", str(file), engine, threads, str(windows)))
        for engine in ("bitscan-gpu", "bitscan") if besides else ("bitscan-gpu",):
            for kind in ("equal", "weighted"):
                arguments = (str(file), engine, ALL, str(in_process if engine == "bitscan-gpu" else 6), kind)
                note(f"in process {engine} {kind}", ask("in_process", *arguments))


def ask(module: str, *arguments: str, seconds: float = 45) -> Any:
    """What a process of its own prints, or how it failed."""
    command = [sys.executable, "-m", f"benchmarks.gpu.{module}", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {seconds} s"}
    if done.returncode:
        return {"failed": done.stderr[-1200:]}
    return json.loads(done.stdout.splitlines()[-1])
