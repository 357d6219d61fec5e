"""Threads that work for clients in fair turns."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from vcfrag_indexd.service.call import Client
from vcfrag_indexd.service.turns import FairQueue
from vcfrag_indexd.threads import Supervised

STOP_SECONDS = 5.0


@dataclasses.dataclass(eq=False, slots=True)
class Job:
    """Something to be done for a client, told how many seconds it waited."""

    client: Client
    run: Callable[[float], None]
    since: float = dataclasses.field(default_factory=time.monotonic)


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
        self._threads = [Supervised(f"{name}-{i}", self._work) for i in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        """Whether all its threads work."""
        return all(thread.alive() for thread in self._threads)

    def put(self, client: Client, run: Callable[[float], None]) -> Job:
        """Queues a job; its `run` must see to its own errors."""
        job = Job(client, run)
        with self._ready:
            self._queue.push(client, job)
            self._ready.notify()
        return job

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
            job.run(time.monotonic() - job.since)
            # An idle thread keeps nothing of the last job alive.
            del job
