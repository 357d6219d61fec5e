"""Exact search over packed bits: every reference is compared, by look-ups and prefix sums shared by all scales."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.search.scan import scan
from vcfrag_core.search.strips import ScanPass, StripMap, plan_passes
from vcfrag_core.search.tiled import SegmentSearch, TiledEngine, excluded_of, segment_hashes, wide_ranges
from vcfrag_core.types import I32Array, U8Array, U64Array

QUERIES_PER_PIECE = 8
PREFIX_BYTES = 64 * 1024 * 1024


class BitscanEngine(TiledEngine):
    """Compiled exhaustive search; the fastest engine where there is no GPU."""

    name = "bitscan"

    def _search_segments(self, work: SegmentSearch) -> None:
        scan_segments(self, work)

    def _threads_for(self, source: IndexSource, where: StripMap, task: SearchTask) -> int:
        return scan_threads(self, source, where, task)

    def _scratch_bytes(
        self, source: IndexSource, where: StripMap, task: SearchTask, segments: list[Segment], threads: int
    ) -> int:
        return super()._scratch_bytes(source, where, task, segments, threads) + scan_bytes(threads, source, where, task)


def scan_threads(engine: TiledEngine, source: IndexSource, where: StripMap, task: SearchTask) -> int:
    """As many threads as there are pieces, and as half of the budget has room for; at least one."""
    n_pieces = -(-task.n_queries // piece_size(task.n_queries, engine.threads))
    room = engine.cache.budget_bytes // 2
    return max(1, min(engine.threads, n_pieces, room // max(1, scan_bytes(1, source, where, task))))


def piece_size(n_queries: int, threads: int) -> int:
    """Queries that one thread scans for in one go."""
    return max(1, min(QUERIES_PER_PIECE, -(-n_queries // threads)))


def scan_bytes(threads: int, source: IndexSource, where: StripMap, task: SearchTask) -> int:
    """Memory of `scan_segments`: prefix sums, tables and candidates of every thread that works."""
    steps = 2 * where.bytes_of(where.tiles_of(task.start, task.stop))
    prefix = max(min(PREFIX_BYTES, 8 * len(source.rows) * steps), 4 * 8 * len(source.rows))
    return threads * (prefix + 2048 * steps + 80 * len(source.rows))


def scan_segments(engine: TiledEngine, work: SegmentSearch) -> None:
    """Answers by comparing every reference."""
    source, strip, task, segments = work.source, work.strip, work.task, work.segments
    weights = strip.byte_weights(source.steps)
    wide = wide_ranges(source, task, segments)
    unit = common_weight(weights)
    largest = int(weights.sum(dtype=np.int64)) // max(unit, 1)
    dtype = next(np.dtype(kind) for kind in (np.int16, np.int32, np.int64) if largest < np.iinfo(kind).max)
    max_borders = max(4, PREFIX_BYTES // (dtype.itemsize * len(source.rows)))
    passes = plan_passes(strip, weights, segments, wide, max_borders, by_count=unit > 0)
    alleles, called = strip.pack_queries(task.alleles), strip.pack_queries(task.called)
    hashes = segment_hashes(segments)
    piece = piece_size(task.n_queries, engine.threads)
    begins = iter(range(0, task.n_queries, piece))
    lock = threading.Lock()

    def run(_: int) -> None:
        while True:
            with lock:
                begin = next(begins, None)
            if begin is None:
                return
            queries = slice(begin, min(begin + piece, task.n_queries))
            for one in passes:
                work.checkpoint()
                _run_pass(one, work, queries, alleles, called, hashes[one.numbers], unit, dtype)

    for _ in engine.pool.map(run, range(work.threads)):
        pass


def common_weight(weights: I32Array) -> int:
    """The weight that all bits have but those of none; 0 where they differ."""
    present = weights[weights > 0]
    return int(present[0]) if len(present) and bool((present == present[0]).all()) else 0


def _run_pass(
    one: ScanPass,
    work: SegmentSearch,
    queries: slice,
    alleles: U8Array,
    called: U8Array,
    hashes: U64Array,
    unit: int,
    dtype: np.dtype[Any],
) -> None:
    source = work.source
    shape = (len(one.numbers), queries.stop - queries.start, work.task.k)
    found_ids, found_distances = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
    excluded, excluded_starts = excluded_of(work.task, queries)
    scan(
        work.strip.bits,
        one.step_byte,
        one.step_mask,
        one.piece_steps,
        one.base,
        unit,
        alleles[queries],
        called[queries],
        excluded,
        excluded_starts,
        one.pieces,
        hashes,
        source.keys,
        source.rows,
        dtype.type(np.iinfo(dtype).max),
        np.empty((len(one.piece_steps), len(source.rows)), dtype=dtype),
        found_ids,
        found_distances,
    )
    work.ids[one.numbers, queries] = found_ids
    work.distances[one.numbers, queries] = found_distances
