"""One window's index: bits against a flattened L x D FAISS index, in building, searching and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import synthetic
from benchmarks.figures import Figure, Topic, seconds
from benchmarks.speed import retrieval
from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.engine import Engine
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_indexd.engines.create import create_engine

WIDTH = 384
SITES = 1020
QUERIES = 64
K = 16
BUDGET = 2 * 1024**3


def run(*, quick: bool) -> Topic:
    """5,008 x 1,020, half of the sites masked, 64 queries, k = 16."""
    n_haplotypes, n_flat = (600, 60) if quick else (5008, 500)
    panel = synthetic.panel(n_haplotypes, SITES)
    observed = retrieval.half_mask(SITES)
    flat = _flattened(panel, observed, n_flat)
    scale = n_haplotypes / n_flat
    figures = []
    for name, lengths in (("one scale", (SITES,)), ("three scales", retrieval.THREE_SCALES)):
        build, search, n_bytes = _ours(panel, observed, lengths)
        judged = name == "one scale"
        for what, value, unit, least, baseline in (
            ("build", build, "s", 1000.0, flat["build"]),
            ("search", search, "s", 300.0, flat["search"]),
            ("memory", n_bytes, "bytes", 700.0, flat["bytes"]),
        ):
            figures.append(
                Figure(
                    name=f"{what} one window {n_haplotypes} x {SITES}, {name}",
                    value=value,
                    unit=unit,
                    baseline=f"flattened L x D FAISS, measured on {n_flat} haplotypes x {scale:.3g}",
                    baseline_value=baseline * scale,
                    goal=f">= {least:.0f} x" if judged else "",
                    least_ratio=least if judged else None,
                )
            )
    sizes = (300, 600) if quick else (1252, 2504, 5008, 50_000)
    return Topic(figures=figures, curve=[_point(n) for n in sizes])


def _point(n_haplotypes: int) -> dict[str, float]:
    """How building and searching three scales grow with the haplotypes."""
    panel = synthetic.panel(n_haplotypes, SITES)
    build, search, n_bytes = _ours(panel, retrieval.half_mask(SITES), retrieval.THREE_SCALES)
    return {"haplotypes": n_haplotypes, "build_seconds": build, "search_seconds": search, "bytes": n_bytes}


def _ours(panel: Panel, observed: BoolArray, lengths: tuple[int, ...]) -> tuple[float, float, float]:
    """Seconds to build, seconds to search, and bytes held."""
    engine: Engine = create_engine("bitscan", threads=retrieval.THREADS, budget_bytes=BUDGET)
    built = retrieval.source(panel, observed, lengths)
    task = retrieval.task(panel, observed, 0, SITES, QUERIES, K)

    def build() -> None:
        engine.close(built.handle)
        engine.open(built)
        retrieval.prepare(engine, built, 0, SITES)

    try:
        build()
        building = seconds(build, repeats=9)
        engine.search(built.handle, task, retrieval.nothing)
        searching = seconds(lambda: engine.search(built.handle, task, retrieval.nothing), repeats=5)
        return building, searching, float(engine.usage().used_bytes)
    finally:
        engine.shutdown()


def _flattened(panel: Panel, observed: BoolArray, n: int) -> dict[str, float]:
    """The replaced system's index: every site's D numbers after each other."""
    import faiss

    faiss.omp_set_num_threads(retrieval.THREADS)
    table = np.random.default_rng(7).normal(size=(2, SITES, WIDTH)).astype(np.float32)
    table[:, ~observed] = 0
    haplotypes = panel.haplotypes(slice(0, n))
    made: dict[str, Any] = {}

    def build() -> None:
        made.pop("index", None)
        index = faiss.IndexFlatL2(SITES * WIDTH)
        for begin in range(0, n, 50):
            index.add(_embed(haplotypes[begin : begin + 50], table))
        made["index"] = index

    building = seconds(build, repeats=1)
    queries = _embed(haplotypes[: min(n, QUERIES)], table)
    searching = seconds(lambda: made["index"].search(queries, K), repeats=2) * QUERIES / len(queries)
    return {"build": building, "search": searching, "bytes": 4.0 * n * SITES * WIDTH}


def _embed(haplotypes: Any, table: F32Array) -> F32Array:
    sites = np.arange(SITES)
    return np.stack([table[row, sites].reshape(-1) for row in haplotypes])
