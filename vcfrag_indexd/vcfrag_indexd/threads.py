"""Threads of which none dies unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vcfrag_indexd.logs import get_log

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
log = get_log()


class Supervised:
    """A thread that begins again when what it does fails: a lack of memory or descriptors passes.

    Args:
        name: Names it.
        target: What it does; it has ended when this returns.
    """

    def __init__(self, name: str, target: Callable[[], None]) -> None:
        self.name = name
        self.failures = 0
        self._target = target
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"vcfrag-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        """Whether it runs, or has ended as it should."""
        return self._thread.is_alive() or self._stopping.is_set()

    def stop(self, wait_seconds: float) -> None:
        """It does not begin again; waits for its end."""
        self._stopping.set()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(wait_seconds)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._target()
                self._stopping.set()
            except Exception:  # whatever it was, the thread goes on and the log says what it was
                self.failures += 1
                log.exception("a thread failed and begins again", thread=self.name, pause_seconds=pause)
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
