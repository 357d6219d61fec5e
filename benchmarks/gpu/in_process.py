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

from benchmarks import retrieval
from benchmarks.gpu import panels
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.engines.create import create_engine

BUDGET = 24 * 1024**3


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
    """Mean seconds of a search in each kernel and pass, the device being waited for after each."""
    device, taken = engine.device, defaultdict(float)
    launch = device.launch

    def timed(asked: Any) -> None:
        device.synchronise()
        begun = time.perf_counter()
        launch(asked)
        device.synchronise()
        stride = getattr(asked.arguments[0], "stride", "")
        taken[f"{asked.kernel} {stride}".strip()] += panels.elapsed(begun) / len(tasks)

    device.launch = timed
    run: Engine = engine
    for task in tasks:
        run.search("bench", task, retrieval.nothing)
    device.launch = launch
    return dict(taken)


if __name__ == "__main__":
    path, engine_name, n_threads, count, *rest = sys.argv[1:]
    print(json.dumps(measure(Path(path), engine_name, int(n_threads), int(count), weighted="weighted" in rest)))
