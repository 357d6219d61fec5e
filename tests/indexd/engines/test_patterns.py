"""Search by distinct patterns: the answers of the slow reference, and which segments are searched so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL, SearchResult
from vcfrag_core.search.bitscan import BitscanEngine, common_weight
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.search.patterns import PatternGroup, PatternLimits, References, runs_of
from vcfrag_core.search.reference import ReferenceEngine
from vcfrag_core.search.strips import Strip, StripMap
from vcfrag_core.search.tiled import TiledEngine, segment_hashes

BUDGET = 64 * 1024 * 1024
ALWAYS = PatternLimits(queries=1, rows_per_pattern=1)


def answer(engine: TiledEngine, source: IndexSource, task: SearchTask) -> SearchResult:
    engine.open(source)
    try:
        return engine.search(source.handle, task, lambda: None).result
    finally:
        engine.shutdown()


def by_patterns(limits: PatternLimits = ALWAYS, threads: int = 1) -> BitscanEngine:
    return BitscanEngine(threads=threads, budget_bytes=BUDGET, limits=limits)


def same_as_reference(engine: TiledEngine, source: IndexSource, task: SearchTask) -> None:
    found = answer(engine, source, task)
    expected = answer(ReferenceEngine(threads=1, budget_bytes=BUDGET), source, task)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


def mosaics(rng: np.random.Generator, n_rows: int, n_sites: int, founders: int, errors: float) -> np.ndarray:
    """(n_rows, n_sites) pieces of founders one after the other, a few alleles changed."""
    made = rng.integers(0, 2, (founders, n_sites))
    switches = rng.random((n_rows, n_sites)) < 4 / n_sites
    of = rng.integers(0, founders, (n_rows, n_sites))
    last = np.maximum.accumulate(np.where(switches, np.arange(n_sites), 0), axis=1)
    copied = made[np.take_along_axis(of, last, axis=1), np.arange(n_sites)]
    return np.asarray(copied ^ (rng.random(copied.shape) < errors), dtype=np.int8)


def references(source: IndexSource) -> References:
    """All segments of an index."""
    where = StripMap.of(source)
    strip = Strip.assemble(
        where, 0, source.layout.n_sites, lambda tile: where.build_tile(source, tile), len(source.rows)
    )
    segments = source.layout.segments_within(0, source.layout.n_sites, source.observed)
    weights = strip.byte_weights(source.steps)
    unit = common_weight(weights)
    return References(
        strip=strip,
        weights=weights // max(unit, 1),
        unit=unit,
        keys=source.keys,
        ids=source.rows,
        segments=segments,
        wide=[source.layout.enclosing(segment, 0, source.layout.n_sites) for segment in segments],
        hashes=segment_hashes(segments),
    )


@given(data=st.data())
def test_search__of_mosaics_equals_the_reference(described: Callable, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_samples, n_sites = data.draw(st.integers(1, 60)), data.draw(st.integers(20, 150))
    rows = mosaics(rng, 2 * n_samples, n_sites, data.draw(st.integers(1, 8)), data.draw(st.sampled_from([0.0, 0.01])))
    panel = Panel.from_haplotypes(rows)
    made = described(
        panel,
        density=0.9,
        wanted=data.draw(st.sampled_from([(4, 20), (8, 16, 64)])),
        families=data.draw(st.integers(0, n_samples // 2)),
        weights=rng.random(n_sites) * 9 if data.draw(st.booleans()) else None,
    )
    start = data.draw(st.integers(0, n_sites - 1))
    stop = data.draw(st.integers(start + 1, n_sites))
    queries = mosaics(rng, 5, n_sites, 4, 0.02)
    queries[rng.random(queries.shape) < data.draw(st.sampled_from([0.0, 0.1, 1.0]))] = -1
    queries[1:3] = rows[rng.integers(0, len(rows), 2)]
    who = (EXTERNAL, EXTERNAL, *rng.choice(panel.samples, 3))
    task = made.task(made.block(queries, who, start, stop), data.draw(st.integers(1, 80)))
    limits = PatternLimits(queries=1, rows_per_pattern=data.draw(st.sampled_from([1, 2, 4])))
    same_as_reference(by_patterns(limits, data.draw(st.integers(1, 3))), made.source(), task)


@pytest.mark.parametrize("k", [5, 63, 64, 65, 200])
def test_search__many_equal_rows_of_which_some_are_not_to_be_seen(described: Callable, k: int) -> None:
    rng = np.random.default_rng(8)
    panel = Panel.from_haplotypes(rng.integers(0, 2, size=(3, 64))[rng.integers(0, 3, 900)])
    made = described(panel, density=1.0, wanted=(8, 16), families=100)
    task = made.task(made.own(panel.samples[:3]), k)
    assert len(task.excluded) == 4 * task.n_queries
    same_as_reference(by_patterns(), made.source(), task)


def test_search__nobody_may_be_seen(described: Callable) -> None:
    panel = Panel.from_haplotypes(mosaics(np.random.default_rng(3), 4, 60, 2, 0.0))
    made = described(panel, families=1, wanted=(8, 16))
    task = made.task(made.own(panel.samples), 3)
    assert len(task.excluded) == 4 * task.n_queries
    found = answer(by_patterns(), made.source(), task)
    assert (found.ids == -1).all()
    assert np.isinf(found.distances).all()


def test_search__default_looks_for_patterns_where_queries_are_many(described: Callable) -> None:
    rng = np.random.default_rng(4)
    panel = Panel.from_haplotypes(mosaics(rng, 300, 240, 6, 0.002))
    made = described(panel, wanted=(8, 32))
    task = made.task(made.block(mosaics(rng, PatternLimits().queries, 240, 6, 0.01)), 4)
    same_as_reference(BitscanEngine(threads=2, budget_bytes=BUDGET), made.source(), task)


def test_pattern_group__takes_what_there_is_room_for_and_at_least_one(described: Callable) -> None:
    panel = Panel.from_haplotypes(mosaics(np.random.default_rng(5), 200, 300, 5, 0.0))
    searched = references(described(panel, wanted=(8, 32)).source())
    numbers = runs_of(searched.segments, 1)[0]
    taken = [PatternGroup(searched, numbers, room, most=200).n_taken for room in (0, 400_000, 10**9)]
    assert taken[0] == 1 < taken[1] < taken[2] == len(numbers)


def test_pattern_group__leaves_segments_of_too_many_patterns_to_be_scanned(described: Callable) -> None:
    rng = np.random.default_rng(6)
    rows = mosaics(rng, 200, 300, 5, 0.0)
    rows[:, 150:] = rng.integers(0, 2, (200, 150))
    searched = references(described(Panel.from_haplotypes(rows), density=1.0, wanted=(16, 40)).source())
    for numbers in runs_of(searched.segments, 1):
        group = PatternGroup(searched, numbers, 10**9, most=100)
        taken = [g for g in numbers if g not in group.scanned]
        assert 0 < len(taken) < len(numbers)
        assert all(searched.wide[g][1] > 150 for g in group.scanned)


def test_runs_of__every_segment_once_and_one_scale_in_each(described: Callable) -> None:
    panel = Panel.from_haplotypes(np.zeros((4, 200), dtype=np.int8))
    segments = references(described(panel, wanted=(8, 32)).source()).segments
    runs = runs_of(segments, 3)
    assert sorted(g for run in runs for g in run) == list(range(len(segments)))
    assert all(len({segments[g].scale for g in run}) == 1 for run in runs)
    assert len(runs) <= 3 * len({segment.scale for segment in segments})
