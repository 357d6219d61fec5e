"""Every window of a panel searched through a daemon, once cold and then again: run as a process of its own.

    python -m benchmarks.gpu.through_daemon PANEL ENGINE THREADS WINDOWS

Prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu import panels
from benchmarks.speed import retrieval
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import SearchResult

LANES, TOGETHER = 4, 64
# Sums over all searches so far: their number, and seconds in the engine and waiting for it.
INSIDE = ("vcfrag_search_seconds_count", "vcfrag_search_seconds_sum", "vcfrag_queue_seconds_sum")
BUDGET = 24 * 1024**3


def serve(file: Path, engine: str, threads: int, connection: Connection) -> None:
    """A daemon, until the other side says something."""
    from vcfrag_indexd.config.config import EngineConfig, LimitsConfig, ServeConfig
    from vcfrag_indexd.serving.server import running

    config = ServeConfig(
        listen="127.0.0.1:0",
        engine=EngineConfig(name=engine, threads=threads),
        limits=LimitsConfig(memory_budget_bytes=BUDGET),
    )
    with running(config, panels={"bench": panels.read(file)}) as daemon:
        connection.send(daemon.address)
        while connection.recv() != "done":
            connection.send({name: daemon.metrics.registry.get_sample_value(name) for name in INSIDE})


def measure(file: Path, engine: str, threads: int, windows: Sequence[int]) -> dict[str, Any]:
    """Seconds of each pass, and a digest of all that was answered."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    begun = time.perf_counter()
    daemon = context.Process(target=serve, args=(file, engine, threads, theirs))
    daemon.start()
    theirs.close()
    panel = panels.read(file)
    observed = panels.mask(panel)
    blocks = {window: panels.block(panel, observed, window) for window in windows}
    address = ours.recv()
    found: dict[str, Any] = {"engine": engine, "threads": threads, "windows": len(windows)}
    found["start_seconds"] = panels.elapsed(begun)
    from vcfrag_train.client.client import IndexClient

    with IndexClient(address, timeout_seconds=300) as client:
        begun = time.perf_counter()
        index = client.open_index(**opening(panel, observed))
        found["open_seconds"] = panels.elapsed(begun)
        client.search(index, blocks[windows[0]], panels.K)
        answers: dict[int, SearchResult] = {}

        def search(window: int) -> None:
            answers[window] = client.search(index, blocks[window], panels.K)

        for name in ("cold", "warm"):
            before = _inside(ours)
            begun = time.perf_counter()
            for window in windows:
                search(window)
            found[f"{name}_seconds"] = panels.elapsed(begun)
            found[f"{name}_inside"] = {key: value - before[key] for key, value in _inside(ours).items()}
        with ThreadPoolExecutor(LANES) as pool:
            begun = time.perf_counter()
            list(pool.map(search, windows))
            found["lanes_seconds"] = panels.elapsed(begun)
            # Searches of one window that wait together are one launch of a GPU's engine.
            together = [window for window in windows[:TOGETHER] for _ in range(LANES)]
            begun = time.perf_counter()
            list(pool.map(search, together))
            found["same_window_seconds"] = panels.elapsed(begun) * len(windows) / len(together)
    made = hashlib.blake2b(digest_size=8)
    for window in windows:
        made.update(answers[window].ids.tobytes())
        made.update(answers[window].distances.tobytes())
    found["answers"] = made.hexdigest()
    ours.send("done")
    daemon.join(20)
    daemon.kill()
    return found


def _inside(connection: Connection) -> dict[str, float]:
    connection.send("inside")
    told: dict[str, float] = connection.recv()
    return told


def opening(panel: Panel, observed: np.ndarray) -> dict[str, Any]:
    """Arguments of `open_index`: all haplotypes are the reference, everybody is alone."""
    layout = SegmentLayout(n_sites=panel.n_sites, lengths=retrieval.THREE_SCALES)
    split = Split(name="infer", reference=panel.samples, groups={name: name for name in panel.samples})
    weights = site_weights.quantise(np.full(panel.n_sites, retrieval.STEPS / 1024))
    identity = Identity.of(panel.digest, split=split, observed=observed, weights=weights, layout=layout)
    return {
        "panel_name": "bench", "identity": identity, "split": split, "layout": layout, "observed": observed,
        "weights": weights,
    }  # fmt: skip


if __name__ == "__main__":
    path, name, n_threads, n_windows = sys.argv[1:]
    print(json.dumps(measure(Path(path), name, int(n_threads), range(int(n_windows)))))
