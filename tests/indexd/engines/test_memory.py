"""Resident memory over many requests: flat, within the budget, and a leak would be seen."""

from __future__ import annotations

import ctypes
import gc
import mmap
import threading
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Answer, Checkpoint, Engine, SearchTask
from vcfrag_indexd.config.config import LimitsConfig, ServeConfig
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient

BUDGET = 8 * 2**20
LEAK_BYTES = 32 * 1024
MASKS = 8
STRETCHES = 5
MAX_GROWTH_BYTES = 8192
ALLOCATOR_BYTES = 4 * 2**20


class Leaking(BitscanEngine):
    """Keeps something of every search, in pages of its own: what the measurement must notice.

    From the allocator it could come out of holes that other tests of this process left in pages that stayed resident.
    """

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        pages = mmap.mmap(-1, LEAK_BYTES)
        pages.write(b"1" * LEAK_BYTES)
        self.kept = [*getattr(self, "kept", ()), pages]
        return super().search(handle, task, checkpoint)


def give_back_freed_memory() -> None:
    """What other tests of this process have freed must not hide what a search keeps: it is no longer resident."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def growth_per_search(described: Callable, engine: Engine, n: int) -> float:
    """Bytes of resident memory that a search adds: the median of some stretches of n searches, after one to warm up.

    What is kept of searches is seen in every stretch. What the allocator keeps for a thread that it had not met at its
    most is seen once, whenever the scheduler likes.

    Masks change all the time, so that indexes are opened, pushed out by others, opened again, built and evicted.
    """
    panel = Panel.from_haplotypes(np.random.default_rng(1).integers(0, 2, size=(200, 1500)))
    made = [described(panel, density=0.5, wanted=(16, 64), seed=seed) for seed in range(MASKS)]
    assert len({mask_digest(one.observed) for one in made}) == MASKS
    limits = LimitsConfig(memory_budget_bytes=BUDGET, max_open_indexes=MASKS // 2)
    process = psutil.Process()
    resident = []
    with (
        serve({"panel": panel}, ServeConfig(listen="127.0.0.1:0", limits=limits), engine=engine) as daemon,
        IndexClient(daemon.address) as client,
    ):
        opened = [client.open_index(**one.opening()) for one in made]
        blocks = [one.own(panel.samples[:2], 100, 1400) for one in made]
        for _ in range(STRETCHES + 1):
            for i in range(n):
                client.search(opened[i % MASKS], blocks[i % MASKS], 8)
            give_back_freed_memory()
            resident.append(process.memory_info().rss)
        usage = daemon.engine.usage()
    assert usage.peak_bytes <= usage.budget_bytes
    assert usage.builds > MASKS
    print("resident bytes that a search adds, by stretch:", *np.diff(resident) // n)
    return float(np.median(np.diff(resident))) / n


def bitscan() -> BitscanEngine:
    return BitscanEngine(threads=1, budget_bytes=BUDGET)


def test_memory__is_flat_and_a_leak_is_seen(described: Callable) -> None:
    assert growth_per_search(described, bitscan(), 80) < MAX_GROWTH_BYTES
    leaking = Leaking(threads=1, budget_bytes=BUDGET)
    assert growth_per_search(described, leaking, 80) > LEAK_BYTES / 2 > MAX_GROWTH_BYTES


@pytest.mark.soak
def test_memory__two_hours_of_requests(described: Callable) -> None:
    # A trainer at two searches a second asks 14,400 times in two hours.
    assert growth_per_search(described, bitscan(), 14_400 // STRETCHES) < MAX_GROWTH_BYTES / 32


def test_budget__the_estimate_covers_what_a_search_takes(described: Callable) -> None:
    """Resident memory during a search, sampled all the time, stays below what was reserved before allocating."""
    panel = Panel.from_haplotypes(np.random.default_rng(2).integers(0, 2, size=(4000, 3000)))
    made = described(panel, density=1.0, wanted=(16, 64))
    engine = BitscanEngine(threads=2, budget_bytes=2**30)
    engine.open(made.source())
    engine.search("index", made.task(made.own(panel.samples[:1], 0, 200), 16), lambda: None)
    task = made.task(made.own(panel.samples[:50]), 16)
    process, done, most = psutil.Process(), threading.Event(), 0
    give_back_freed_memory()
    before = process.memory_info().rss

    def sample() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, process.memory_info().rss - before)

    sampler = threading.Thread(target=sample)
    sampler.start()
    answer = engine.search("index", task, lambda: None)
    most = max(most, process.memory_info().rss - before)
    done.set()
    sampler.join()
    assert answer.result.ids.nbytes < most
    assert 2**20 < most < engine.usage().peak_bytes + ALLOCATOR_BYTES
    engine.shutdown()
