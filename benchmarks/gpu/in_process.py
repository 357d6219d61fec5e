"""One engine's searches in this process, with the seconds of every kernel where it has some.

    python -m benchmarks.gpu.in_process PANEL ENGINE THREADS WINDOWS [weighted]

Prints one line of JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu import panels
from benchmarks.speed import retrieval
from vcfrag_indexd.engines.create import create_engine

BUDGET = 24 * 1024**3
PASSES = ("filter_count", "filter_weighted", "settle")


def measure(file: Path, name: str, threads: int, n_windows: int, *, weighted: bool) -> dict[str, Any]:
    """Seconds of a search, cold and warm."""
    begun = time.perf_counter()
    engine = create_engine(name, threads=threads, budget_bytes=BUDGET)
    found: dict[str, Any] = {"engine": name, "threads": threads, "start_seconds": panels.elapsed(begun)}
    panel = panels.read(file)
    observed = panels.mask(panel)
    source = retrieval.source(panel, observed, retrieval.THREE_SCALES)
    if weighted:
        steps = np.random.default_rng(2).integers(1, 9000, panel.n_sites).astype(np.int32)
        source = dataclasses.replace(source, steps=steps)
    engine.open(source)
    tasks = [
        retrieval.task(panel, observed, begin, begin + panels.WINDOW, panels.QUERIES, panels.K)
        for begin in range(0, panels.WINDOW * n_windows, panels.WINDOW)
    ]
    engine.search("bench", retrieval.task(panel, observed, 0, 64, 2, panels.K), retrieval.nothing)
    digest = hashlib.blake2b(digest_size=8)
    for task in tasks:
        result = engine.search("bench", task, retrieval.nothing).result
        digest.update(result.ids.tobytes())
        digest.update(result.distances.tobytes())
    found["answers"] = digest.hexdigest()
    found["segments"] = len(result.starts)
    # Of the last window; at the panel's ends there are a few more.
    found["words"] = sum(-(-int(observed[a:b].sum()) // 32) for a, b in zip(result.starts, result.stops, strict=True))
    found["haplotypes"] = panel.n_haplotypes
    begun = time.perf_counter()
    for task in tasks:
        engine.search("bench", task, retrieval.nothing)
    found["warm_seconds_per_search"] = panels.elapsed(begun) / len(tasks)
    if hasattr(engine, "device"):
        found["kernels"] = _kernel_seconds(engine, tasks)
    found["used_bytes"] = engine.usage().used_bytes
    engine.shutdown()
    return found


def _kernel_seconds(engine: Any, tasks: list[Any]) -> dict[str, float]:
    """Mean device time of a search in each kernel and pass, and from the first to the last of them."""
    device = engine.device
    launch, driver, stream = device.launch, device._driver, device._stream
    marks: list[tuple[str, Any, Any]] = []

    def mark() -> Any:
        event = driver.cuEventCreate(0)[1]
        driver.cuEventRecord(event, stream)
        return event

    def timed(asked: Any) -> None:
        before = mark()
        launch(asked)
        stride = getattr(asked.arguments[0], "stride", "") if asked.kernel in PASSES else ""
        marks.append((f"{asked.kernel} {stride}".strip(), before, mark()))

    device.launch = timed
    taken: dict[str, float] = defaultdict(float)
    for task in tasks:
        marks.clear()
        engine.search("bench", task, retrieval.nothing)
        for name, before, after in [*marks, ("from first to last", marks[0][1], marks[-1][2])]:
            taken[name] += driver.cuEventElapsedTime(before, after)[1] / 1000 / len(tasks)
    device.launch = launch
    return dict(taken)


if __name__ == "__main__":
    path, engine_name, n_threads, count, *rest = sys.argv[1:]
    print(json.dumps(measure(Path(path), engine_name, int(n_threads), int(count), weighted="weighted" in rest)))
