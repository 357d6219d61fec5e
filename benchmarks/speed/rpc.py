"""Search over gRPC against the same engine called in process."""

from __future__ import annotations

import time

import numpy as np

from benchmarks import synthetic
from benchmarks.figures import Figure, Topic, seconds
from benchmarks.speed import retrieval
from vcfrag_core.panel import bits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import Identity, layout_digest, mask_digest, metric_digest, split_digest
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import QueryBlock
from vcfrag_core.types import BoolArray
from vcfrag_indexd.engines.create import create_engine
from vcfrag_train.client.client import IndexClient, OpenIndex
from vcfrag_train.client.embedded import embedded_daemon

K = 16
WEIGHT = 7072 / 1024


def run(*, quick: bool) -> Topic:
    """Queries per second through a daemon, for several batch sizes."""
    n_haplotypes, n_sites, batches = (400, 600, (64,)) if quick else (5008, 5100, (64, 256, 512))
    panel = synthetic.panel(n_haplotypes, n_sites)
    observed = retrieval.half_mask(n_sites)
    points = [_compare(panel, observed, n) for n in batches]
    judged = points[-1] if quick else points[1]
    return Topic(
        figures=[
            Figure(
                name=f"search {n_haplotypes} x {n_sites} over gRPC, {judged['queries']:.0f} queries, three scales",
                value=judged["grpc_seconds"],
                unit="s",
                baseline="same engine in process",
                baseline_value=judged["process_seconds"],
                goal="throughput ratio >= 0.85",
                least_ratio=0.85,
            )
        ],
        curve=points,
    )


def _compare(panel: Panel, observed: BoolArray, n_queries: int) -> dict[str, float]:
    task = retrieval.task(panel, observed, 0, panel.n_sites, n_queries, K)
    built = retrieval.source(panel, observed, retrieval.THREE_SCALES)
    engine = create_engine("bitscan", threads=retrieval.THREADS, budget_bytes=2 * 1024**3)
    served = embedded_daemon({"bench": panel}, threads=retrieval.THREADS, engine="bitscan")
    with served as address, IndexClient(address) as client:
        index, block = _open(client, panel, observed), _block(panel, observed, n_queries)
        engine.open(built)
        client.search(index, block, K)
        engine.search(built.handle, task, retrieval.nothing)
        pairs = [
            (
                seconds(lambda: client.search(index, block, K), repeats=1),
                seconds(lambda: engine.search(built.handle, task, retrieval.nothing), repeats=1),
            )
            for _ in range(5)
        ]
    engine.shutdown()
    over_grpc, in_process = (min(values) for values in zip(*pairs, strict=True))
    return {"queries": n_queries, "grpc_seconds": over_grpc, "process_seconds": in_process}


def first_search(panel: Panel, window: int, n_queries: int) -> dict[str, float]:
    """A daemon, an open index and one answered search of the panel's middle window; the seconds that each took."""
    observed = retrieval.half_mask(panel.n_sites)
    start = panel.n_sites // 2 // window * window
    rows = np.arange(n_queries) * (panel.n_haplotypes // n_queries)
    block = QueryBlock(
        start=start,
        stop=start + window,
        samples=tuple(panel.samples[row // 2] for row in rows),
        observed=observed[start : start + window],
        alleles=bits.unpack(panel.packed[rows], start, start + window).astype(np.int8),
    )
    times = [time.perf_counter()]
    served = embedded_daemon({"bench": panel}, threads=retrieval.THREADS, engine="bitscan")
    with served as address, IndexClient(address) as client:
        times.append(time.perf_counter())
        index = _open(client, panel, observed)
        times.append(time.perf_counter())
        client.search(index, block, K)
        times.append(time.perf_counter())
    return dict(zip(("daemon", "open", "search"), np.diff(times).tolist(), strict=True))


def _block(panel: Panel, observed: BoolArray, n_queries: int) -> QueryBlock:
    rows = np.arange(n_queries) * (panel.n_haplotypes // n_queries)
    return QueryBlock(
        start=0,
        stop=panel.n_sites,
        samples=tuple(panel.samples[row // 2] for row in rows),
        observed=observed,
        alleles=panel.haplotypes(rows).astype(np.int8),
    )


def _open(client: IndexClient, panel: Panel, observed: BoolArray) -> OpenIndex:
    layout = SegmentLayout(n_sites=panel.n_sites, lengths=retrieval.THREE_SCALES)
    split = Split(name="infer", reference=panel.samples, groups={name: name for name in panel.samples})
    weights = site_weights.quantise(np.full(panel.n_sites, WEIGHT))
    identity = Identity(
        panel=panel.digest,
        split=split_digest(split),
        mask=mask_digest(observed),
        metric=metric_digest(weights),
        layout=layout_digest(layout),
    )
    return client.open_index(
        panel_name="bench", identity=identity, split=split, layout=layout, observed=observed, weights=weights
    )
