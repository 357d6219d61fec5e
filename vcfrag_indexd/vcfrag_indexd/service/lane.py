"""Threads that work for clients in fair turns."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

from vcfrag_indexd.service.call import Call, Client
from vcfrag_indexd.service.turns import FairQueue
from vcfrag_indexd.threads import Supervised

STOP_SECONDS = 5.0
# No piece of work between two checkpoints takes so long, however slow the machine.
STUCK_SECONDS = 600.0


@dataclasses.dataclass(eq=False, slots=True)
class Job:
    """Something to be done for a client, told how many seconds it waited.

    Attributes:
        client: Whose it is.
        run: Does it.
        call: The call that it is for.
        subject: What it is about, for who may take it along.
        since: Since when it waits.
    """

    client: Client
    run: Callable[[float], None]
    call: Call | None = None
    subject: Any = None
    since: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def progressed(self) -> float:
        return 0.0 if self.call is None else self.call.progressed


class Lane:
    """A few threads with one queue.

    Args:
        name: Names the threads.
        threads: Their number.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._queue: FairQueue[Job] = FairQueue()
        self._ready = threading.Condition()
        self._closed = False
        self._running: dict[Job, float] = {}
        self._threads = [Supervised(f"{name}-{i}", self._work) for i in range(threads)]

    @property
    def waiting(self) -> int:
        """Jobs that nothing is done for yet."""
        return len(self._queue)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        """Whether all its threads work, and none has been with one job for long without a checkpoint."""
        last = time.monotonic() - STUCK_SECONDS
        stuck = [job for job, since in list(self._running.items()) if max(since, job.progressed) < last]
        return not stuck and all(thread.alive() for thread in self._threads)

    def put(self, client: Client, run: Callable[[float], None], call: Call | None = None, subject: Any = None) -> Job:
        """Queues a job; its `run` must see to its own errors."""
        job = Job(client, run, call, subject)
        with self._ready:
            self._queue.push(client, job)
            self._ready.notify()
        return job

    def take_along(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """The jobs that are next in turn, as long as they are wanted; whoever asks does them, from within a job."""
        taken: list[Job] = []
        with self._ready:
            while (job := self._queue.peek()) is not None and wanted(job):
                taken.append(self._queue.pop())
        return taken

    def discard(self, job: Job) -> bool:
        """Takes back a job; whether it waited still, and so never runs."""
        with self._ready:
            return self._queue.discard(job.client, job)

    def close(self) -> None:
        """Ends the threads; what waits is never done."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.stop(STOP_SECONDS)

    def _work(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._closed or len(self._queue) > 0)
                if self._closed:
                    return
                job = self._queue.pop()
            self._running[job] = time.monotonic()
            try:
                job.run(self._running[job] - job.since)
            finally:
                del self._running[job]
            # An idle thread keeps nothing of the last job alive.
            del job
