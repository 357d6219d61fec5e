"""Engines that misbehave on purpose, for tests of the supervision around them."""

from __future__ import annotations

import os
import time

from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Answer, Checkpoint, SearchTask

ABORTING_K = 13
SLOW_K = 17
SLOW_SECONDS = 30.0
STUCK_K = 19
STUCK_SECONDS = 3600.0


class MisbehavingEngine(BitscanEngine):
    """A stand-in for a device: k = 13 aborts the process, as CUDA errors do; k = 17 takes half a minute; k = 19 waits
    for a device that never answers, holding no interpreter lock."""

    name = "misbehaving"
    devices = ("fake:0",)

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        if task.k == ABORTING_K:
            os.abort()
        if task.k == SLOW_K:
            stop = time.monotonic() + SLOW_SECONDS
            while time.monotonic() < stop:
                checkpoint()
                time.sleep(0.01)
        if task.k == STUCK_K:
            time.sleep(STUCK_SECONDS)
        return super().search(handle, task, checkpoint)


def misbehaving() -> MisbehavingEngine:
    """One with a small budget; picklable, so that a worker can make it."""
    return MisbehavingEngine(threads=1, budget_bytes=64 * 1024 * 1024)
