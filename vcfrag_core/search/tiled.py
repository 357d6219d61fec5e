"""What the engines that run in this process share: the cache, the tiles, and the way from a task to its segments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vcfrag_core.errors import UnknownIndexError
from vcfrag_core.hashing import splitmix64
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.cache import SegmentCache
from vcfrag_core.search.engine import Answer, Checkpoint, IndexSource, SearchTask, Usage
from vcfrag_core.search.strips import Strip, StripMap
from vcfrag_core.types import F32Array, I32Array, I64Array, U64Array


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentSearch:
    """A task over some segments of an index, and where its answer goes.

    Attributes:
        source: The index.
        strip: The references' bits over the task's range.
        task: The queries.
        segments: G segments of the range.
        ids: (G, Q, K) haplotypes, to be filled.
        distances: (G, Q, K) their distances, to be filled.
        checkpoint: Raises where the call is no longer wanted.
        threads: How many may work on it at once.
    """

    source: IndexSource
    strip: Strip
    task: SearchTask
    segments: list[Segment]
    ids: I32Array
    distances: F32Array
    checkpoint: Checkpoint
    threads: int


class TiledEngine:
    """Base of the in-process engines; a subclass says what a segment needs built and how it is searched."""

    name = ""
    devices: tuple[str, ...] = ("cpu",)

    def __init__(self, *, threads: int, budget_bytes: int) -> None:
        self.threads = threads
        self.cache: SegmentCache[Any] = SegmentCache(budget_bytes)
        self._sources: dict[str, tuple[IndexSource, StripMap]] = {}
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=f"vcfrag-{self.name}")
        self._build_seconds = 0.0

    def available(self) -> bool:
        return True

    def open(self, source: IndexSource) -> None:
        self._sources[source.handle] = (source, StripMap.of(source))

    def keep(self, n_bytes: int) -> None:
        self.cache.keep(n_bytes)

    def close(self, handle: str) -> None:
        self._sources.pop(handle, None)
        self.cache.drop(handle)

    def usage(self) -> Usage:
        cache = self.cache
        return Usage(
            holdings=cache.holdings(),
            used_bytes=cache.used_bytes,
            peak_bytes=cache.peak_bytes,
            budget_bytes=cache.budget_bytes,
            builds=cache.builds,
            evictions=cache.evictions,
        )

    def shutdown(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        for handle in list(self._sources):
            self.close(handle)

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        source, where = self._source(handle)
        for segment in segments:
            checkpoint()
            with self.cache.pinned() as get:
                self._build_segment(source, where, segment, get)

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        source, where = self._source(handle)
        mine, n_shards = task.shard
        laid = source.layout.segments_within(task.start, task.stop, source.observed)
        segments = [segment for segment in laid if place_of(segment, n_shards) == mine]
        threads = self._threads_for(source, where, task)
        scratch = self._scratch_bytes(source, where, task, segments, threads)
        self._build_seconds = 0.0
        with self.cache.reserve(scratch), self.cache.pinned() as get:
            ids = np.empty((len(segments), task.n_queries, task.k), dtype=np.int32)
            distances = np.empty(ids.shape, dtype=np.float32)
            if ids.size:
                strip = self._strip(source, where, task, get)
                self._search_segments(SegmentSearch(source, strip, task, segments, ids, distances, checkpoint, threads))
        return Answer(result_of(segments, ids, distances), self._build_seconds)

    def _search_segments(self, work: SegmentSearch) -> None:
        """Fills the ids and distances of `work`."""
        raise NotImplementedError

    def _threads_for(self, source: IndexSource, where: StripMap, task: SearchTask) -> int:
        """How many threads a search is worth, and the budget has room for."""
        return self.threads

    def _scratch_bytes(
        self, source: IndexSource, where: StripMap, task: SearchTask, segments: list[Segment], threads: int
    ) -> int:
        """Memory of one search beside the cached values: the strip, the queries and the reply."""
        strip_bytes = where.bytes_of(where.tiles_of(task.start, task.stop))
        reply = 8 * len(segments) * task.n_queries * task.k
        return strip_bytes * (len(source.rows) + 10 * task.n_queries) + 2 * task.alleles.nbytes + reply

    def _build_segment(self, source: IndexSource, where: StripMap, segment: Segment, get: Callable[..., Any]) -> None:
        for tile in where.tiles_of(segment.start, segment.stop):
            self._tile(source, where, tile, get)

    def _strip(self, source: IndexSource, where: StripMap, task: SearchTask, get: Callable[..., Any]) -> Strip:
        return Strip.assemble(
            where, task.start, task.stop, lambda tile: self._tile(source, where, tile, get), len(source.rows)
        )

    def _tile(self, source: IndexSource, where: StripMap, tile: int, get: Callable[..., Any]) -> Any:
        size = where.bytes_of(range(tile, tile + 1)) * len(source.rows)
        return get((source.handle, "tile", tile, tile + 1), size, lambda: self._timed(where.build_tile, source, tile))

    def _timed(self, build: Callable[..., Any], *args: Any) -> Any:
        before = time.perf_counter()
        try:
            return build(*args)
        finally:
            self._build_seconds += time.perf_counter() - before

    def _source(self, handle: str) -> tuple[IndexSource, StripMap]:
        found = self._sources.get(handle)
        if found is None:
            raise UnknownIndexError(f"no index {handle!r} is open: open it again")
        return found


def place_of(segment: Segment, n_devices: int) -> int:
    """The device that a segment belongs to: neighbours at one scale to different ones, and always to the same."""
    half = max(1, (segment.stop - segment.start) // 2)
    return (segment.start // half + segment.scale) % n_devices


def wide_ranges(source: IndexSource, task: SearchTask, segments: list[Segment]) -> list[tuple[int, int]]:
    """The enclosing range of every segment within the searched context."""
    return [source.layout.enclosing(segment, task.start, task.stop) for segment in segments]


def segment_hashes(segments: list[Segment]) -> U64Array:
    """(G,) the part of the tie-breaking hash that depends on the segment."""
    return splitmix64(np.array([s.start << 32 | s.stop for s in segments], dtype=np.uint64))


def excluded_of(task: SearchTask, queries: slice) -> tuple[I64Array, I64Array]:
    """The excluded rows and their starts of some of a task's queries."""
    starts = task.excluded_starts[queries.start : queries.stop + 1]
    return task.excluded[starts[0] : starts[-1]], starts - starts[0]


def result_of(segments: list[Segment], ids: I32Array, distances: F32Array) -> SearchResult:
    """The reply's arrays with the segments' borders."""
    borders = np.array([(s.start, s.stop, s.scale) for s in segments], dtype=np.int32).reshape(-1, 3)
    return SearchResult(
        starts=borders[:, 0].copy(),
        stops=borders[:, 1].copy(),
        scales=borders[:, 2].copy(),
        ids=ids,
        distances=distances,
    )
