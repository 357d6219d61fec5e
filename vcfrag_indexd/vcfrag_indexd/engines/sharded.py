"""Several engines, one for each device: every segment belongs to one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.cache import Holding
from vcfrag_core.search.engine import Answer, Checkpoint, Engine, IndexSource, SearchTask, Usage
from vcfrag_core.search.tiled import place_of


class ShardedEngine:
    """Deals the segments of every search to engines of one kind and puts the answers together."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self._pool = ThreadPoolExecutor(len(engines), thread_name_prefix="vcfrag-shard")

    @property
    def name(self) -> str:
        return self._engines[0].name

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for engine in self._engines for device in engine.devices)

    def available(self) -> bool:
        return all(engine.available() for engine in self._engines)

    def open(self, source: IndexSource) -> None:
        for engine in self._engines:
            engine.open(source)

    def keep(self, n_bytes: int) -> None:
        for engine in self._engines:
            engine.keep(n_bytes)

    def close(self, handle: str) -> None:
        for engine in self._engines:
            engine.close(handle)

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        n = len(self._engines)
        mine = [[s for s in segments if place_of(s, n) == i] for i in range(n)]
        for future in [
            self._pool.submit(engine.prepare, handle, mine[i], checkpoint) for i, engine in enumerate(self._engines)
        ]:
            future.result()

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        n = len(self._engines)
        futures = [
            self._pool.submit(engine.search, handle, dataclasses.replace(task, shard=(i, n)), checkpoint)
            for i, engine in enumerate(self._engines)
        ]
        answers = [future.result() for future in futures]
        return Answer(_merge([a.result for a in answers]), max(a.build_seconds for a in answers))

    def usage(self) -> Usage:
        parts = [engine.usage() for engine in self._engines]
        handles = {handle for part in parts for handle in part.holdings}
        return Usage(
            holdings={
                handle: Holding(
                    sum(part.holdings.get(handle, Holding()).entries for part in parts),
                    sum(part.holdings.get(handle, Holding()).n_bytes for part in parts),
                )
                for handle in handles
            },
            used_bytes=sum(part.used_bytes for part in parts),
            peak_bytes=sum(part.peak_bytes for part in parts),
            budget_bytes=sum(part.budget_bytes for part in parts),
            builds=sum(part.builds for part in parts),
            evictions=sum(part.evictions for part in parts),
            restarts=sum(part.restarts for part in parts),
        )

    def shutdown(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for engine in self._engines:
            engine.shutdown()


def _merge(results: list[SearchResult]) -> SearchResult:
    """Segments in the order of one engine's answer: by scale, then start."""
    starts = np.concatenate([r.starts for r in results])
    scales = np.concatenate([r.scales for r in results])
    order = np.lexsort((starts, scales))
    return SearchResult(
        starts=starts[order],
        stops=np.concatenate([r.stops for r in results])[order],
        scales=scales[order],
        ids=np.concatenate([r.ids for r in results])[order],
        distances=np.concatenate([r.distances for r in results])[order],
    )
