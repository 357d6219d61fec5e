"""Measures the engines of this machine on a panel: windows of about a thousand sites, half of them observed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np

from vcfrag_core.errors import VcfragError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.engine import Engine, IndexSource, SearchTask
from vcfrag_core.search.index import HeldPanel
from vcfrag_core.types import BoolArray
from vcfrag_indexd.engines.create import engine_for_daemon
from vcfrag_indexd.engines.installed import installed_faiss
from vcfrag_indexd.engines.measured import Measurement, devices, this_machine

WINDOW_SITES = 1020
MAX_WINDOWS = 16
MAX_QUERIES = 64
WANTED_OBSERVED = (32, 128, 512)
K = 16
WEIGHT_STEPS = 7072  # log((1 - mu) / mu) for mu = 1e-3, in steps of 2**-10
START_SECONDS = 90.0
HANDLE = "bench"
Say = Callable[[str], None]


def measure(panel: Panel, *, threads: int, budget_bytes: int, seconds: float, say: Say) -> Measurement:
    """Every engine's seconds for a search, each having its share of the time.

    Args:
        panel: What is searched.
        threads: As a daemon would have.
        budget_bytes: As a daemon would have.
        seconds: For all engines together, beside what they take to start.
        say: Told of each engine's result.
    """
    observed = _mask(panel.n_sites)
    source, tasks = _source(HeldPanel.of(panel), observed), _tasks(panel, observed)
    names = _names()
    took: dict[str, float] = {}
    failed: dict[str, str] = {}
    expected: list[SearchResult] = []
    for name in names:
        try:
            engine = engine_for_daemon(name, threads=threads, budget_bytes=budget_bytes, worker=None, hang_seconds=60.0)
            try:
                took[name], found = _seconds(engine, source, tasks, seconds / len(names))
            finally:
                engine.shutdown()
        except VcfragError as error:
            failed[name] = str(error)
            say(f"{name}: {error}")
            continue
        expected = expected or found
        if any(not _same(a, b) for a, b in zip(found, expected, strict=False)):
            failed[name] = f"its answers are not those of {names[0]}: please report this"
            del took[name]
        say(f"{name}: {failed.get(name) or f'{1000 * took[name]:.3g} ms'}")
    about = {"source": panel.source, "haplotypes": panel.n_haplotypes, "sites": panel.n_sites}
    return Measurement(machine=this_machine(), panel=about, seconds=took, failed=failed)


def _names() -> list[str]:
    """Engines that this machine may have, the one that all are compared with first."""
    faiss = installed_faiss()
    return ["bitscan", *(["bitscan-gpu"] if devices() else []), *([f"faiss-{faiss}"] if faiss else [])]


def _seconds(
    engine: Engine, source: IndexSource, tasks: Sequence[SearchTask], limit: float
) -> tuple[float, list[SearchResult]]:
    """Mean of a cold and a warm search, and the answers of the windows that the time was enough for."""
    _wait_for(engine)
    engine.open(source)
    # Compiles what is compiled where it runs; of a range that the windows do not need.
    engine.search(HANDLE, dataclasses.replace(tasks[0], k=1), _go_on)
    engine.close(HANDLE)
    engine.open(source)
    begun = time.perf_counter()
    cold, answers = [], []
    for task in tasks:
        taken, result = _timed(engine, task)
        cold.append(taken)
        answers.append(result)
        if time.perf_counter() - begun > limit / 2:
            break
    warm = []
    for task in itertools.cycle(tasks[: len(cold)]):
        warm.append(_timed(engine, task)[0])
        if time.perf_counter() - begun > limit or len(warm) >= 4 * len(cold):
            break
    return float(np.mean(cold) + np.mean(warm)) / 2, answers


def _timed(engine: Engine, task: SearchTask) -> tuple[float, SearchResult]:
    before = time.perf_counter()
    result = engine.search(HANDLE, task, _go_on).result
    return time.perf_counter() - before, result


def _wait_for(engine: Engine) -> None:
    limit = time.monotonic() + START_SECONDS
    while not engine.available() and time.monotonic() < limit:
        time.sleep(0.05)


def _source(held: HeldPanel, observed: BoolArray) -> IndexSource:
    """All haplotypes as the reference."""
    return IndexSource(
        handle=HANDLE,
        panel_name=HANDLE,
        bits=held.panel.bits,
        rows=np.arange(held.panel.n_haplotypes, dtype=np.int32),
        keys=held.keys,
        observed=observed,
        steps=np.full(held.panel.n_sites, WEIGHT_STEPS, dtype=np.int32),
        layout=layout_for(observed, WANTED_OBSERVED),
    )


def _mask(n_sites: int) -> BoolArray:
    """(V,) about half of the sites, the first among them."""
    observed = np.asarray(np.random.default_rng(1).random(n_sites) < 0.5, dtype=np.bool_)
    observed[0] = True
    return observed


def _tasks(panel: Panel, observed: BoolArray) -> list[SearchTask]:
    """Evenly spaced windows, queried by haplotypes of the panel; no person is shown to themselves."""
    n_windows = max(1, min(MAX_WINDOWS, panel.n_sites // WINDOW_SITES))
    starts = np.linspace(0, max(0, panel.n_sites - WINDOW_SITES), n_windows).astype(int)
    return [_task(panel, observed, start, min(start + WINDOW_SITES, panel.n_sites)) for start in starts.tolist()]


def _task(panel: Panel, observed: BoolArray, start: int, stop: int) -> SearchTask:
    rows = np.unique(np.linspace(0, panel.n_haplotypes - 1, MAX_QUERIES).astype(np.int64))
    own = np.stack([rows & ~1, rows | 1], axis=1)
    alleles = np.ascontiguousarray(panel.haplotypes(rows, start, stop)[:, observed[start:stop]]).astype(np.uint8)
    return SearchTask(
        start=start,
        stop=stop,
        k=K,
        alleles=alleles,
        called=np.ones_like(alleles),
        excluded=own.reshape(-1),
        excluded_starts=2 * np.arange(len(rows) + 1, dtype=np.int64),
    )


def _same(a: SearchResult, b: SearchResult) -> bool:
    return np.array_equal(a.ids, b.ids) and np.array_equal(a.distances, b.distances)


def _go_on() -> None:
    """A checkpoint that never objects."""
