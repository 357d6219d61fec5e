"""Exact search over packed bits: every reference is compared, by look-ups and prefix sums shared by all scales."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.alike import Alike
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.search.patterns import PatternGroup, PatternLimits, Queries, References, runs_of
from vcfrag_core.search.scan import scan
from vcfrag_core.search.strips import ScanPass, StripMap, plan_passes
from vcfrag_core.search.tiled import SegmentSearch, TiledEngine, segment_hashes, wide_ranges
from vcfrag_core.types import I32Array

QUERIES_PER_PIECE = 8
PREFIX_BYTES = 64 * 1024 * 1024
LIMITS = PatternLimits()


class BitscanEngine(TiledEngine):
    """Compiled exhaustive search; the fastest engine where there is no GPU.

    Args:
        threads: Threads of a search.
        budget_bytes: For tiles and the working sets of searches.
        limits: When segments are searched by the distinct patterns of the references.
    """

    name = "bitscan"

    def __init__(self, *, threads: int, budget_bytes: int, limits: PatternLimits = LIMITS) -> None:
        super().__init__(threads=threads, budget_bytes=budget_bytes)
        self._limits = limits

    def _search_segments(self, work: SegmentSearch) -> None:
        scan_segments(self, work, self._limits)

    def _threads_for(self, source: IndexSource, where: StripMap, task: SearchTask) -> int:
        return scan_threads(self, source, where, task, self._limits)

    def _scratch_bytes(
        self, source: IndexSource, where: StripMap, task: SearchTask, segments: list[Segment], threads: int
    ) -> int:
        shared = super()._scratch_bytes(source, where, task, segments, threads)
        return shared + scan_bytes(threads, source, where, task, self._limits)


def scan_threads(
    engine: TiledEngine, source: IndexSource, where: StripMap, task: SearchTask, limits: PatternLimits = LIMITS
) -> int:
    """As many threads as there are pieces, and as half of the budget has room for; at least one."""
    n_pieces = -(-task.n_queries // piece_size(task.n_queries, engine.threads))
    room = engine.cache.budget_bytes // 2
    return max(1, min(engine.threads, n_pieces, room // max(1, scan_bytes(1, source, where, task, limits))))


def piece_size(n_queries: int, threads: int) -> int:
    """Queries that one thread scans for in one go."""
    return max(1, min(QUERIES_PER_PIECE, -(-n_queries // threads)))


def scan_bytes(
    threads: int, source: IndexSource, where: StripMap, task: SearchTask, limits: PatternLimits = LIMITS
) -> int:
    """Memory of `scan_segments`: prefix sums or patterns, tables and candidates of every thread that works."""
    n_rows, n_bytes = len(source.rows), where.bytes_of(where.tiles_of(task.start, task.stop))
    return threads * (_room(n_rows, n_bytes, task, limits) + 4096 * n_bytes + 80 * n_rows)


def _room(n_rows: int, n_bytes: int, task: SearchTask, limits: PatternLimits) -> int:
    """Bytes of one thread's prefix sums, or of its patterns and distances from these."""
    wanted = max(16 * n_rows * n_bytes, limits.room(n_rows, task.n_queries))
    return max(min(PREFIX_BYTES, wanted), 4 * 8 * n_rows)


def scan_segments(engine: TiledEngine, work: SegmentSearch, limits: PatternLimits = LIMITS) -> None:
    """Answers by comparing every reference, or every distinct pattern of the references where these are few."""
    source, strip, task = work.source, work.strip, work.task
    weights = strip.byte_weights(source.steps)
    unit = common_weight(weights)
    references = References(
        strip=strip,
        weights=weights // max(unit, 1),
        unit=unit,
        keys=source.keys,
        ids=source.rows,
        segments=work.segments,
        wide=wide_ranges(source, task, work.segments),
        hashes=segment_hashes(work.segments),
    )
    alleles, called = strip.pack_queries(task.alleles), strip.pack_queries(task.called)
    ranges = np.array([strip.bit_range(*wide) for wide in references.wide], dtype=np.int64)
    alike = Alike(alleles, called, task.excluded, task.excluded_starts, ranges)
    queries = Queries(
        alleles=alleles,
        called=called,
        excluded=task.excluded,
        excluded_starts=task.excluded_starts,
        wanted=alike.wanted,
    )
    room = _room(len(source.rows), len(strip.bits), task, limits)
    scanned = list(range(len(work.segments)))
    least = limits.room(len(source.rows), task.n_queries)
    if 0 < least <= room and references.countable():
        scanned = _search_patterns(engine, work, references, queries, min(room, limits.rooms * least), limits)
    if scanned:
        _scan_rows(engine, work, references, queries, scanned)
    alike.share(work.ids, work.distances)


def _search_patterns(
    engine: TiledEngine,
    work: SegmentSearch,
    references: References,
    queries: Queries,
    room: int,
    limits: PatternLimits,
) -> list[int]:
    """Answers the segments with few distinct patterns; returns the numbers of the others."""
    most = len(references.ids) // limits.rows_per_pattern

    def run(numbers: list[int]) -> list[int]:
        scanned: list[int] = []
        while numbers:
            work.checkpoint()
            group = PatternGroup(references, numbers, room, most)
            group.search(queries, work.ids, work.distances, work.checkpoint)
            scanned += group.scanned
            numbers = numbers[group.n_taken :]
        return scanned

    return [g for some in engine.pool.map(run, runs_of(work.segments, work.threads)) for g in some]


def _scan_rows(
    engine: TiledEngine, work: SegmentSearch, references: References, queries: Queries, numbers: list[int]
) -> None:
    """Answers some segments by comparing every reference."""
    n_rows, task = len(references.ids), work.task
    largest = int(references.weights.sum(dtype=np.int64))
    dtype = next(np.dtype(kind) for kind in (np.int16, np.int32, np.int64) if largest < np.iinfo(kind).max)
    max_borders = max(4, PREFIX_BYTES // (dtype.itemsize * n_rows))
    passes = plan_passes(
        references.strip,
        references.weights,
        references.segments,
        references.wide,
        numbers,
        max_borders,
        by_count=references.unit > 0,
    )
    pieces = queries.pieces(piece_size(task.n_queries, engine.threads))
    lock = threading.Lock()

    def run(_: int) -> None:
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            for one in passes:
                work.checkpoint()
                _run_pass(one, work, references, *piece, dtype)

    for _ in engine.pool.map(run, range(work.threads)):
        pass


def common_weight(weights: I32Array) -> int:
    """The weight that all bits have but those of none; 0 where they differ."""
    present = weights[weights > 0]
    return int(present[0]) if len(present) and bool((present == present[0]).all()) else 0


def _run_pass(
    one: ScanPass, work: SegmentSearch, references: References, which: slice, queries: Queries, dtype: np.dtype[Any]
) -> None:
    n_rows = len(references.ids)
    shape = (len(one.numbers), len(queries.alleles), work.task.k)
    found_ids, found_distances = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
    scan(
        references.strip.bits,
        one.step_byte,
        one.step_mask,
        one.piece_steps,
        one.base,
        references.unit,
        queries.alleles,
        queries.called,
        queries.excluded,
        queries.excluded_starts,
        np.ascontiguousarray(queries.wanted[one.numbers]),
        one.pieces,
        references.hashes[one.numbers],
        references.keys,
        references.ids,
        dtype.type(np.iinfo(dtype).max),
        np.empty((len(one.piece_steps), n_rows), dtype=dtype),
        found_ids,
        found_distances,
    )
    work.ids[one.numbers, which] = found_ids
    work.distances[one.numbers, which] = found_distances
