"""An engine in a process of its own, supervised: when it dies, hangs or makes no progress, callers are told and it is
started again.

CUDA errors abort the process they happen in; so a daemon that is to outlive them keeps its devices in another one.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vcfrag_core.errors import InternalError, UnavailableError
from vcfrag_core.panel.storage import DenseBits, HaplotypeBits
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.engine import Answer, Checkpoint, Engine, IndexSource, SearchTask, Usage
from vcfrag_indexd.engines import worker_process
from vcfrag_indexd.engines.worker_life import WorkerLife
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.threads import Supervised
from vcfrag_proto.status import ERROR_OF

STALE_SECONDS = 3.0
START_SECONDS = 120.0
WATCH_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
MOST_PATIENCE = 64
EMPTY: HaplotypeBits = DenseBits(np.zeros((0, 0), dtype=np.uint8), 0)
log = get_log()


@dataclasses.dataclass(slots=True)
class _Pending:
    """A request on its way."""

    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    kind: str = ""
    value: Any = None


class WorkerEngine:
    """Runs the engine that `make_engine` makes in a child process.

    Args:
        name: Name of that engine.
        make_engine: Called in the child; must be picklable.
        budget_bytes: Its budget, for `usage` while it is away.
        hang_seconds: A child that is silent, or does nothing for a request, for so long is killed. Until it has
            answered once, which takes its compilers, it has `START_SECONDS`; after a kill, twice as long as before.
    """

    def __init__(
        self, name: str, make_engine: Callable[[], Engine], *, budget_bytes: int, hang_seconds: float = 30.0
    ) -> None:
        self.name = name
        self.devices: tuple[str, ...] = ()
        self.restarts = 0
        self._make_engine = make_engine
        self._hang_seconds = hang_seconds
        self._usage = Usage(holdings={}, used_bytes=0, peak_bytes=0, budget_bytes=budget_bytes)
        self._sources: dict[str, IndexSource] = {}
        self._shared: dict[int, tuple[int, worker_process.SharedBits, HaplotypeBits]] = {}
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._pause = FIRST_PAUSE_SECONDS
        self._patience = 1
        self._process = WorkerLife(make_engine)
        self._threads = [Supervised("worker-watch", self._watch), Supervised("worker-reader", self._read)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Of the child that lives now."""
        return self._process.pid

    def available(self) -> bool:
        process = self._process
        return process.seen is not None and not process.ended.is_set() and process.silent_seconds() < STALE_SECONDS

    def open(self, source: IndexSource) -> None:
        with self._lock:
            self._sources[source.handle] = source

    def keep(self, n_bytes: int) -> None:
        """Nothing: the budget is the child's, and open indexes are kept here."""

    def close(self, handle: str) -> None:
        with self._lock:
            source = self._sources.pop(handle, None)
            if handle in self._process.opened:
                self._process.opened.discard(handle)
                self._post("close", handle)
            if source is not None and not any(other.bits is source.bits for other in self._sources.values()):
                self._unshare(source.bits)

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        self._request(checkpoint, "prepare", handle, segments)

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        answer: Answer = self._request(checkpoint, "search", handle, task)
        return answer

    def usage(self) -> Usage:
        return dataclasses.replace(self._usage, restarts=self.restarts)

    def shutdown(self) -> None:
        self._stopping.set()
        self._threads[0].stop(5.0)
        self._process.end()
        self._threads[1].stop(5.0)
        with self._lock:
            for descriptor, _, _ in self._shared.values():
                os.close(descriptor)
            self._shared.clear()

    def _request(self, checkpoint: Checkpoint, method: str, handle: str, argument: Any) -> Any:
        checkpoint()
        process = self._process
        if not self.available():
            raise UnavailableError("the engine's worker is being restarted: try again")
        self._open_in(process, handle)
        number, pending = self._send(process, method, (handle, argument))
        try:
            while not pending.done.wait(WATCH_SECONDS):
                if process.ended.is_set():
                    raise UnavailableError("the engine's worker died during the call: try again")
                checkpoint()
        except BaseException:
            self._forget(process, number)
            raise
        self._pending.pop(number, None)
        if pending.kind == worker_process.OK:
            return pending.value
        reason, message = pending.value
        raise ERROR_OF.get(reason, InternalError)(message)

    def _open_in(self, process: WorkerLife, handle: str) -> None:
        with self._lock:
            source = self._sources.get(handle)
            if source is None or handle in process.opened:
                return
            process.opened.add(handle)
            bits = self._share(source.bits)
        self._send(process, "open", (dataclasses.replace(source, bits=EMPTY), bits), keep=False)

    def _send(
        self, process: WorkerLife, method: str, arguments: tuple[Any, ...], *, keep: bool = True
    ) -> tuple[int, _Pending]:
        number, pending = next(self._numbers), _Pending()
        if keep:
            if not self._pending:
                process.progressed = time.monotonic()
            self._pending[number] = pending
        try:
            process.send((number, method, arguments))
        except OSError as error:
            self._pending.pop(number, None)
            raise UnavailableError("the engine's worker died: try again") from error
        return number, pending

    def _post(self, method: str, *arguments: Any) -> None:
        try:
            self._send(self._process, method, arguments, keep=False)
        except UnavailableError:
            return

    def _forget(self, process: WorkerLife, number: int) -> None:
        self._pending.pop(number, None)
        if not process.ended.is_set():
            self._post_cancel(process, number)

    def _post_cancel(self, process: WorkerLife, number: int) -> None:
        try:
            process.send((number, worker_process.CANCEL, ()))
        except OSError:
            return

    def _read(self) -> None:
        """Until it stops; may be begun again after it failed."""
        while not self._stopping.is_set():
            process = self._process
            if process.ended.is_set():
                self._stopping.wait(WATCH_SECONDS)
                continue
            message = process.receive()
            if message is not None:
                self._take(process, *message)

    def _take(self, process: WorkerLife, number: int, kind: str, value: Any, usage: Usage | None) -> None:
        self._usage = usage or self._usage
        if kind == worker_process.ALIVE:
            self.devices = tuple(value[0])
        else:
            self._patience = 1
        pending = self._pending.get(number)
        if pending is not None:
            process.answered = True
            pending.kind, pending.value = kind, value
            pending.done.set()

    def _watch(self) -> None:
        """Until it stops; may be begun again after it failed."""
        while not self._stopping.wait(WATCH_SECONDS):
            process = self._process
            why = self._why_to_kill(process)
            if why is not None:
                log.error("the engine's worker is killed", pid=process.pid, why=why)
                process.end()
            if not process.ended.is_set():
                continue
            lived = time.monotonic() - process.started
            self._pause = (
                FIRST_PAUSE_SECONDS if lived > LONGEST_PAUSE_SECONDS else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            )
            log.error("the engine's worker died and is started again", pid=process.pid, pause_seconds=self._pause)
            process.end()
            if self._stopping.wait(self._pause):
                return
            self._process = WorkerLife(self._make_engine)
            self.restarts += 1

    def _why_to_kill(self, process: WorkerLife) -> str | None:
        """What is wrong with a worker that lives; None for nothing."""
        if process.ended.is_set():
            return None
        silent = process.silent_seconds()
        if silent > (START_SECONDS if process.seen is None else self._hang_seconds):
            return f"it shows no sign of life for {silent:.0f} s"
        stuck = time.monotonic() - process.progressed if self._pending else 0.0
        limit = self._hang_seconds * self._patience
        if stuck > (limit if process.answered else max(limit, START_SECONDS)):
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            return f"it does nothing for a request for {stuck:.0f} s"
        return None

    def _share(self, bits: HaplotypeBits) -> worker_process.SharedBits:
        """Copies a panel's bits once into memory that the child can map."""
        found = self._shared.get(id(bits))
        if found is None:
            descriptor = os.memfd_create("vcfrag-panel")
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                for rows in bits.row_slices():
                    stream.write(np.ascontiguousarray(bits.rows(rows)).data)
            path, shape = f"/proc/{os.getpid()}/fd/{descriptor}", (bits.n_haplotypes, bits.n_sites)
            shared = worker_process.SharedBits(next(self._numbers), path, shape)
            found = self._shared[id(bits)] = (descriptor, shared, bits)
        return found[1]

    def _unshare(self, bits: HaplotypeBits) -> None:
        found = self._shared.pop(id(bits), None)
        if found is not None:
            self._post("forget", found[1].serial)
            os.close(found[0])
