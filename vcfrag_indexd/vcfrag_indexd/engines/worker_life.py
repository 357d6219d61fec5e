"""One life of a worker process, as its parent sees it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from vcfrag_core.search.engine import Engine
from vcfrag_indexd.engines import worker_process
from vcfrag_indexd.engines.child import Child

END_SECONDS = 5.0


class WorkerLife:
    """A child process, and the pipe to it. No thread is started for it: where memory is short, that may never return.

    Args:
        make_engine: Called in the child.

    Attributes:
        seen: When it last gave a sign of life; None before the first.
        answered: Whether it has answered a request.
        progressed: When it last did something for one.
        ended: Set once nothing more is to be had of it.
        opened: Handles of the indexes that it knows.
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self._connection: Connection
        self._connection, theirs = multiprocessing.Pipe()
        self._process = Child(theirs)
        self.started = time.monotonic()
        self.seen: float | None = None
        self.answered = False
        self.progressed = self.started
        self.ended = threading.Event()
        self.opened: set[str] = set()
        self._progress: Any = None
        self._send_lock = threading.Lock()
        try:
            self._process.start()
            self._connection.send(make_engine)
        except BaseException:
            self.end()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def silent_seconds(self) -> float:
        """Since the last sign of life."""
        return time.monotonic() - (self.started if self.seen is None else self.seen)

    def send(self, message: Any) -> None:
        """
        Raises:
            OSError: It has gone.
        """
        with self._send_lock:
            self._connection.send(message)

    def receive(self) -> tuple[int, str, Any, Any] | None:
        """Its next message; None when it has ended, or nothing more of what it says can be understood."""
        try:
            message: tuple[int, str, Any, Any] = self._connection.recv()
        except (EOFError, OSError):
            self.ended.set()
            return None
        except BaseException:
            # A part of a message is left in the pipe.
            self.ended.set()
            raise
        self.seen = time.monotonic()
        _, kind, value, _ = message
        progress = value[1] if kind == worker_process.ALIVE else object()
        if progress != self._progress:
            self._progress, self.progressed = progress, self.seen
        return message

    def end(self) -> None:
        """Kills it, if it lives."""
        self.ended.set()
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(END_SECONDS)
        self._connection.close()
