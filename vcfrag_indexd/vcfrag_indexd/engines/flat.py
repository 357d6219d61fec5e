"""FAISS flat indexes per segment, with exact re-scoring: what the CPU and the GPU engine share.

Reference coordinates are a - 1/2 and query coordinates w (a - 1/2), 0 where there is no call, so the matrix does not
depend on the metric and all references have one norm. With W the sum of the weights at called observed sites,
distance = W / 2 - 2 <query, reference>. Inner products are multiples of 2**-12 and at most W / 4: as long as
W <= 2**14 every partial sum is exact in float32, in any order and any batch. Beyond that the fetched distances are
trusted only to an error bound. Several segments may share an index over all of their sites, where a query's
coordinates are 0 beyond its own segment: that adds zeros, which round nothing. Either way what is returned is re-scored
in whole steps, and a query is resolved only when the last fetched distance is certainly greater than its k-th;
otherwise more is fetched, in the end everything.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.retrieval.site_weights import STEPS_PER_UNIT
from vcfrag_core.search.bitscan import scan_bytes, scan_segments, scan_threads
from vcfrag_core.search.engine import Checkpoint, IndexSource, SearchTask
from vcfrag_core.search.scan import rank_fetched
from vcfrag_core.search.strips import Strip, StripMap, costs
from vcfrag_core.search.tiled import SegmentSearch, TiledEngine, excluded_of, segment_hashes, wide_ranges
from vcfrag_core.types import F32Array, F64Array, I32Array, I64Array, U8Array

FIRST_FETCH = 512
LAST_FETCH = 2048
FETCH_GROWTH = 4
EXACT_UNITS = 2**14
FLOAT32_ROUNDING = 2.0**-24
BUILD_ROWS = 1024
# Queries of several segments that go into one call; fewer segments go, or one with all of its queries.
MAX_CALL_QUERIES = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring segments of one scale that share an index.

    Attributes:
        numbers: Their numbers among a search's segments.
        sites: From the first one's start to the last one's stop.
    """

    numbers: list[int]
    sites: Segment


class FlatEngine(TiledEngine):
    """Base of the FAISS engines; a subclass makes the index of one segment and searches it."""

    def _make_index(self, segment: Segment, vectors: F32Array) -> Any:
        raise NotImplementedError

    def _nearest_rows(self, index: Any, queries: F32Array, n: int) -> tuple[F32Array, I64Array]:
        """(Q, n) inner products, falling, and row numbers."""
        raise NotImplementedError

    def _together(self, source: IndexSource, scale: int) -> int:
        """How many segments of a scale share an index and a call."""
        return 1

    def _most_fetched(self, n_rows: int) -> int:
        return min(n_rows, LAST_FETCH)

    def _first_fetched(self, k: int) -> int:
        return max(4 * k, FIRST_FETCH)

    def _flat(
        self,
        source: IndexSource,
        where: StripMap,
        segment: Segment,
        strip: Callable[[], Strip],
        get: Callable[..., Any],
    ) -> Any:
        observed = where.observed_within(segment.start, segment.stop)
        size = 4 * len(source.rows) * _width(observed)
        key = (source.handle, "flat", segment.start, segment.stop)
        return get(key, size, lambda: self._timed(lambda: self._make_index(segment, vectors_of(strip(), segment))))

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        source, _ = self._source(handle)
        super().prepare(handle, [stretch.sites for stretch in self._stretches(source, segments)], checkpoint)

    def _stretches(self, source: IndexSource, segments: Sequence[Segment]) -> list[Stretch]:
        """Segments in groups whose borders do not depend on the range that was asked for, but where it ends."""

        def group(number: int) -> tuple[int, int]:
            segment = segments[number]
            half = source.layout.lengths[segment.scale] // 2
            return segment.scale, segment.start // half // self._together(source, segment.scale)

        found = []
        for (scale, _), some in itertools.groupby(range(len(segments)), group):
            numbers = list(some)
            stop = max(segments[number].stop for number in numbers)
            found.append(Stretch(numbers, Segment(scale, segments[numbers[0]].start, stop)))
        return found

    def _build_segment(self, source: IndexSource, where: StripMap, segment: Segment, get: Callable[..., Any]) -> None:
        def tile(number: int) -> Any:
            return self._tile(source, where, number, get)

        strip = Strip.assemble(where, segment.start, segment.stop, tile, len(source.rows))
        self._flat(source, where, segment, lambda: strip, get)

    def _threads_for(self, source: IndexSource, where: StripMap, task: SearchTask) -> int:
        return scan_threads(self, source, where, task)

    def _scratch_bytes(
        self, source: IndexSource, where: StripMap, task: SearchTask, segments: list[Segment], threads: int
    ) -> int:
        stretches = self._stretches(source, segments)
        widest = max((_width(where.observed_within(s.sites.start, s.sites.stop)) for s in stretches), default=0)
        queries = max((len(part) for s in stretches for part in self._calls(s, task)), default=0) * task.n_queries
        vectors = 8 * widest * (len(source.rows) + queries)
        fetched = 28 * queries * self._most_fetched(len(source.rows))
        fallback = scan_bytes(threads, source, where, task)
        return super()._scratch_bytes(source, where, task, segments, threads) + vectors + fetched + fallback

    def _calls(self, stretch: Stretch, task: SearchTask) -> list[list[int]]:
        """The segments of a stretch, call by call."""
        n = max(1, MAX_CALL_QUERIES // max(1, task.n_queries))
        return [stretch.numbers[begin : begin + n] for begin in range(0, len(stretch.numbers), n)]

    def _search_segments(self, work: SegmentSearch) -> None:
        search = _FlatSearch(work.source, work.strip, work.task, work.segments)
        where = self._source(work.source.handle)[1]
        for stretch in self._stretches(work.source, work.segments):
            for numbers in self._calls(stretch, work.task):
                work.checkpoint()
                with self.cache.pinned() as get:
                    index = self._flat(work.source, where, stretch.sites, lambda: work.strip, get)
                    left = self._search_together(search, index, stretch.sites, numbers, work)
                for g, queries in zip(numbers, left, strict=True):
                    if len(queries):
                        self._scan_rest(work, search.task_of(queries), g, queries)

    def _search_together(
        self, search: _FlatSearch, index: Any, sites: Segment, numbers: list[int], work: SegmentSearch
    ) -> list[I64Array]:
        """Fetches and ranks, more and more for those that need it; each segment's queries that stay unresolved."""
        n_rows, n_queries = len(search.source.rows), search.task.n_queries
        vectors, half, error = search.query_vectors(sites, numbers)
        left: I64Array = np.arange(len(vectors), dtype=np.int64)
        n = min(self._first_fetched(search.task.k), self._most_fetched(n_rows))
        while True:
            products, rows = self._nearest_rows(index, vectors[left], n)
            beyond = half[left] - 2 * products[:, -1].astype(np.float64) - error[left]
            steps = np.floor(beyond * STEPS_PER_UNIT + 0.5 * (error[left] == 0)).astype(np.int64)
            resolved = np.zeros(len(left), dtype=np.bool_)
            for place, g in enumerate(numbers):
                mine = np.flatnonzero(left // n_queries == place)
                if len(mine):
                    queries = left[mine] % n_queries
                    resolved[mine] = self._rank(
                        search, g, queries, rows[mine], steps[mine], work.ids[g], work.distances[g]
                    )
            left = np.asarray(left[~resolved], dtype=np.int64)
            if not len(left) or n >= self._most_fetched(n_rows):
                return [left[left // n_queries == place] % n_queries for place in range(len(numbers))]
            n = min(FETCH_GROWTH * n, self._most_fetched(n_rows))

    def _rank(
        self, search: _FlatSearch, g: int, queries: I64Array, rows: I64Array, beyond: I64Array,
        ids: I32Array, distances: F32Array,
    ) -> Any:  # fmt: skip
        resolved = np.zeros(len(queries), dtype=np.bool_)
        pieces = np.array_split(np.arange(len(queries)), min(self.threads, len(queries)))

        def run(piece: I64Array) -> None:
            mine = queries[piece]
            found_ids = np.empty((len(mine), ids.shape[1]), dtype=np.int32)
            found = np.empty(found_ids.shape, dtype=np.float32)
            done = np.empty(len(mine), dtype=np.bool_)
            search.rank(g, mine, rows[piece], beyond[piece], found_ids, found, done)
            ids[mine], distances[mine], resolved[piece] = found_ids, found, done

        for _ in self.pool.map(run, pieces):
            pass
        return resolved

    def _scan_rest(self, work: SegmentSearch, task: SearchTask, g: int, left: I64Array) -> None:
        """The queries whose ties are too many to fetch: compare every reference."""
        found_ids = np.empty((1, len(left), task.k), dtype=np.int32)
        found = np.empty(found_ids.shape, dtype=np.float32)
        rest = dataclasses.replace(work, task=task, segments=[work.segments[g]], ids=found_ids, distances=found)
        scan_segments(self, rest)
        work.ids[g, left], work.distances[g, left] = found_ids[0], found[0]


class _FlatSearch:
    """One task's queries in the forms that fetching and ranking need."""

    def __init__(self, source: IndexSource, strip: Strip, task: SearchTask, segments: list[Segment]) -> None:
        self.source, self.strip, self.task, self.segments = source, strip, task, segments
        self.wide = wide_ranges(source, task, segments)
        self.hashes = segment_hashes(segments)
        self.alleles, self.called = strip.pack_queries(task.alleles), strip.pack_queries(task.called)
        weights = strip.byte_weights(source.steps).reshape(-1, 2, 4)
        self.halves = costs(weights.reshape(-1, 4), 4).reshape(-1, 2, 16)

    def query_vectors(self, sites: Segment, numbers: Sequence[int]) -> tuple[F32Array, F64Array, F64Array]:
        """For Q queries in each of some segments, one segment after another: (., n) coordinates at the n observed
        sites of a stretch, 0 beyond the segment's, (.,) W / 2, and (.,) how far a fetched distance may be off."""
        n_queries = self.task.n_queries
        first, last = np.searchsorted(self.strip.sites, [sites.start, sites.stop])
        vectors = np.zeros((len(numbers), n_queries, last - first), dtype=np.float32)
        half, error = np.empty((2, len(numbers), n_queries))
        for place, g in enumerate(numbers):
            a, b = np.searchsorted(self.strip.sites, [self.segments[g].start, self.segments[g].stop])
            weights = self.source.steps[self.strip.sites[a:b]] / STEPS_PER_UNIT
            called = self.task.called[:, a:b]
            vectors[place, :, a - first : b - first] = (self.task.alleles[:, a:b] - 0.5) * called * weights
            total = called @ weights
            half[place] = total / 2
            error[place] = np.where(total <= EXACT_UNITS, 0.0, (b - a + 2) * FLOAT32_ROUNDING * total)
        return vectors.reshape(-1, last - first), half.ravel(), error.ravel()

    def task_of(self, queries: I64Array) -> SearchTask:
        parts = [excluded_of(self.task, slice(int(q), int(q) + 1))[0] for q in queries]
        return SearchTask(
            start=self.task.start,
            stop=self.task.stop,
            k=self.task.k,
            alleles=self.task.alleles[queries],
            called=self.task.called[queries],
            excluded=np.concatenate(parts),
            excluded_starts=np.cumsum([0, *(len(part) for part in parts)]).astype(np.int64),
        )

    def rank(
        self, g: int, queries: I64Array, rows: I64Array, beyond: I64Array,
        ids: I32Array, distances: F32Array, resolved: Any,
    ) -> None:  # fmt: skip
        segment, (a, b), task = self.segments[g], self.wide[g], self.task_of(queries)
        rank_fetched(
            self.strip.bits,
            self.halves,
            self.alleles[queries],
            self.called[queries],
            task.excluded,
            task.excluded_starts,
            self.strip.bit_range(segment.start, segment.stop),
            self.strip.bit_range(a, b),
            self.hashes[g],
            self.source.keys,
            self.source.rows,
            np.ascontiguousarray(rows),
            beyond,
            ids,
            distances,
            resolved,
        )


def vectors_of(strip: Strip, segment: Segment) -> F32Array:
    """(R, n) coordinates a - 1/2 of the references at the segment's observed sites."""
    a, b = np.searchsorted(strip.sites, [segment.start, segment.stop])
    places = strip.bit_index[a:b]
    vectors = np.empty((strip.bits.shape[1], len(places)), dtype=np.float32)
    for begin in range(0, len(vectors), BUILD_ROWS):
        block: U8Array = strip.bits[places >> 3, begin : begin + BUILD_ROWS]
        vectors[begin : begin + BUILD_ROWS] = ((block >> (places & 7).astype(np.uint8)[:, None]) & 1).T
    vectors -= np.float32(0.5)
    return vectors


def _width(part: slice) -> int:
    return int(part.stop) - int(part.start)
