"""A process that runs chunks: all that it imports is what they need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from vcfrag_core.errors import ProgramError
from vcfrag_core.memory import collect_seldom, share_one_heap
from vcfrag_train.jobs.chunks.chunk import OpenedStretch, run_chunk
from vcfrag_train.jobs.chunks.chunk_file import chunk_file, is_done
from vcfrag_train.jobs.manifest import Manifest, job_folder, read_manifest


class Worker:
    """Runs chunks of one manifest and keeps the last stretch open.

    Args:
        path: The manifest.
        threads: Threads of a chunk.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._manifest: Manifest = read_manifest(path)
        self._folder = job_folder(path)
        self._threads = threads
        self._open: tuple[int, OpenedStretch] | None = None

    def require(self, numbers: Sequence[int]) -> None:
        """
        Raises:
            RangeError: The manifest has no such chunk.
        """
        for number in numbers:
            self._manifest.chunk(number)

    def run(self, number: int) -> bool:
        """Runs a chunk; whether there was something to do."""
        chunk = self._manifest.chunk(number)
        if is_done(chunk_file(self._folder, chunk), self._manifest, chunk):
            return False
        stretch = chunk.stretch
        if self._open is None or self._open[0] != stretch:
            # The old one is let go before the new one is read.
            self._open = None
            self._open = (stretch, OpenedStretch(self._manifest, self._folder, stretch, self._threads))
        return run_chunk(self._manifest, self._folder, number, threads=self._threads, opened=self._open[1])


_worker: Worker | None = None


def start(path: Path, threads: int) -> None:
    """Prepares this process, whose parent is at work, for `run_here`."""
    global _worker
    # Ctrl-C goes to all processes of a terminal; the first one ends the others, or they end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_one_heap()
    collect_seldom()
    _worker = Worker(path, threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def run_here(number: int) -> int:
    """Runs a chunk in a process that was started for it."""
    if _worker is None:
        raise ProgramError("the process was not started")
    _worker.run(number)
    return number
