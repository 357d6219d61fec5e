"""The engine's side of a worker process: owns all that the engine builds, answers one request at a time.

Messages are tuples over one pipe from the parent. To here: (number, method, arguments) and (number, CANCEL, ()).
From here: (number, OK, value, usage), (number, FAILED, (reason, message), usage) and (0, ALIVE, (devices, progress),
usage or None), where progress is a pair of numbers that changes whenever something was done for a request.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import InternalError, UnavailableError, VcfragError
from vcfrag_core.panel.storage import DenseBits, HaplotypeBits
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.engine import Answer, Engine, IndexSource, SearchTask, Usage

OK, FAILED, ALIVE, CANCEL = "ok", "failed", "alive", "cancel"
HEARTBEAT_SECONDS = 0.25
GONE = 4


@dataclasses.dataclass(frozen=True, slots=True)
class SharedBits:
    """Where a panel's bits lie in memory that the parent shares: a file of its descriptors.

    The serial names them; the path does not, since descriptors are used again.
    """

    serial: int
    path: str
    shape: tuple[int, int]

    def load(self) -> HaplotypeBits:
        with Path(self.path).open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        n_haplotypes, n_sites = self.shape
        return DenseBits(np.frombuffer(mapped, dtype=np.uint8).reshape(n_haplotypes, -1), n_sites)


def run(connection: Connection, make_engine: Callable[[], Engine]) -> None:
    """The worker's main function; ends with the parent."""
    # The parent decides when to go; a Ctrl-C in its terminal reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Worker(connection, make_engine).serve()


class _Worker:
    def __init__(self, connection: Connection, make_engine: Callable[[], Engine]) -> None:
        self._connection = connection
        self._requests: queue.Queue[tuple[int, str, tuple[Any, ...]]] = queue.Queue()
        self._cancelled: set[int] = set()
        self._current = 0
        self._steps = 0
        self._send_lock = threading.Lock()
        self._bits: dict[int, HaplotypeBits] = {}
        self._engine = make_engine()

    def serve(self) -> None:
        for target in (self._read, self._beat):
            threading.Thread(target=target, daemon=True).start()
        self._send(0, ALIVE, self._alive())
        while True:
            self._current, method, arguments = self._requests.get()
            self._cancelled -= {number for number in self._cancelled.copy() if number < self._current}
            try:
                value = getattr(self, f"_{method}")(*arguments)
            except VcfragError as error:
                self._send(self._current, FAILED, (error.reason, str(error)))
            except Exception as error:  # noqa: BLE001  the edge of this process: the parent must get an answer
                message = f"{type(error).__name__}: {error}"
                self._send(self._current, FAILED, (InternalError.reason, message))
            else:
                self._send(self._current, OK, value)

    def _open(self, source: IndexSource, bits: SharedBits | None) -> None:
        if bits is not None:
            if bits.serial not in self._bits:
                self._bits[bits.serial] = bits.load()
            source = dataclasses.replace(source, bits=self._bits[bits.serial])
        self._engine.open(source)

    def _close(self, handle: str) -> None:
        self._engine.close(handle)

    def _forget(self, serial: int) -> None:
        self._bits.pop(serial, None)

    def _prepare(self, handle: str, segments: Sequence[Segment]) -> None:
        self._engine.prepare(handle, segments, self._checkpoint)

    def _search(self, handle: str, task: SearchTask) -> Answer:
        return self._engine.search(handle, task, self._checkpoint)

    def _alive(self) -> tuple[tuple[str, ...], tuple[int, int]]:
        return self._engine.devices, (self._current, self._steps)

    def _checkpoint(self) -> None:
        self._steps += 1
        if self._current in self._cancelled:
            raise UnavailableError("the call was cancelled")

    def _read(self) -> None:
        while True:
            try:
                number, method, arguments = self._connection.recv()
            except (EOFError, OSError):
                os._exit(GONE)
            if method == CANCEL:
                self._cancelled.add(number)
            else:
                self._requests.put((number, method, arguments))

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            # Without the usage: asking for it could wait for a long build, and silence means death.
            self._post((0, ALIVE, self._alive(), None))

    def _send(self, number: int, kind: str, value: Any) -> None:
        self._post((number, kind, value, self._engine.usage()))

    def _post(self, message: tuple[int, str, Any, Usage | None]) -> None:
        with self._send_lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(GONE)
