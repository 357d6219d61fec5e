"""One suite for every engine: the answers are those of the slow oracle, to the bit, whatever the circumstances."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.indexd.engines.cuda_on_host import HostDevice, compiler
from vcfrag_core.errors import DeadlineError, OutOfBudgetError, UnknownIndexError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.queries import EXTERNAL, SearchResult
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Engine, IndexSource, SearchTask
from vcfrag_core.search.patterns import PatternLimits
from vcfrag_indexd.config.config import GPU_ENGINES
from vcfrag_indexd.engines.bitscan_gpu import BitscanGpuEngine
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.engines.faiss_cpu import FaissCpuEngine
from vcfrag_indexd.engines.installed import installed_faiss
from vcfrag_indexd.engines.sharded import ShardedEngine
from vcfrag_indexd.engines.worker import WorkerEngine
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient

BUDGET = 64 * 1024 * 1024


def go_on() -> None:
    """A checkpoint that never objects."""


def needed_for(name: str) -> None:
    """Skips where a GPU's engine is not installed."""
    if name == "faiss-gpu" and installed_faiss() != "gpu":
        pytest.skip("FAISS for a GPU is not installed")
    if name == "bitscan-gpu":
        pytest.importorskip("cuda.bindings", reason="CUDA's Python bindings are not installed")


def fresh(name: str, threads: int = 1, budget: int = BUDGET) -> Engine:
    return create_engine(name, threads=threads, budget_bytes=budget)


def on_host(*, reverse: bool = False, budget: int = BUDGET) -> Engine:
    """The GPU's engine, its kernels run by this machine's processor."""
    if compiler() is None:
        pytest.skip("no C++ compiler builds the kernels for this machine")
    return BitscanGpuEngine(functools.partial(HostDevice, reverse=reverse), threads=1, budget_bytes=budget)


def in_worker() -> Engine:
    make = functools.partial(create_engine, "bitscan", threads=1, budget_bytes=BUDGET)
    return WorkerEngine("bitscan", make, budget_bytes=BUDGET)


def sharded() -> Engine:
    return ShardedEngine([fresh("bitscan"), fresh("faiss-cpu")])


def by_patterns(threads: int = 1) -> Engine:
    """Searches every segment by distinct patterns, however many there are."""
    return BitscanEngine(threads=threads, budget_bytes=BUDGET, limits=PatternLimits(queries=1, rows_per_pattern=1))


class Together(FaissCpuEngine):
    """FAISS with some segments to an index and a call, as on a GPU."""

    def _together(self, source: IndexSource, scale: int) -> int:
        return 5 - scale


@pytest.fixture(
    scope="module",
    params=[
        "bitscan",
        "by patterns",
        "faiss-cpu",
        "faiss together",
        "worker",
        "sharded",
        "bitscan-gpu on the host",
        *(pytest.param(name, marks=pytest.mark.gpu) for name in GPU_ENGINES),
    ],
)
def engine(request: pytest.FixtureRequest, eventually: Callable) -> Iterator[Engine]:
    needed_for(request.param)
    made = {
        "worker": in_worker,
        "by patterns": by_patterns,
        "sharded": sharded,
        "bitscan-gpu on the host": on_host,
        "faiss together": functools.partial(Together, threads=1, budget_bytes=BUDGET),
    }.get(request.param, lambda: fresh(request.param))()
    eventually(made.available, "the engine is there")
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Engine]:
    made = fresh("reference")
    yield made
    made.shutdown()


def answer(engine: Engine, source, task: SearchTask) -> SearchResult:
    engine.open(source)
    try:
        return engine.search(source.handle, task, go_on).result
    finally:
        engine.close(source.handle)


def same(a: SearchResult, b: SearchResult) -> None:
    for field in dataclasses.fields(SearchResult):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def spoilt(alleles: np.ndarray, seed: int, missing: float = 0.03) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(alleles.shape) < missing, -1, alleles).astype(np.int8)


def test_search__equals_the_oracle(engine: Engine, oracle: Engine, index) -> None:
    block = index.own(index.panel.samples)
    task = index.task(dataclasses.replace(block, alleles=spoilt(block.alleles, 5)), 7)
    same(answer(engine, index.source(), task), answer(oracle, index.source(), task))


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 40), (60, 140), (101, 200), (0, 200)])
def test_search__equals_the_oracle_in_any_context(engine: Engine, oracle: Engine, index, start: int, stop: int) -> None:
    task = index.task(index.own(index.panel.samples[:5], start, stop), 4)
    same(answer(engine, index.source(), task), answer(oracle, index.source(), task))


@given(data=st.data())
def test_search__equals_the_oracle_for_generated_indexes(described: Callable, oracle: Engine, data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_samples, n_sites = data.draw(st.integers(1, 12)), data.draw(st.integers(2, 90))
    few = rng.integers(0, 2, size=(data.draw(st.integers(1, 6)), n_sites))
    panel = Panel.from_haplotypes(few[rng.integers(0, len(few), 2 * n_samples)])
    scale = data.draw(st.sampled_from([0.0, 1.0, 63.0]))
    made = described(
        panel,
        density=1.0,
        wanted=data.draw(st.sampled_from([(1,), (2, 5), (4, 16, 64)])),
        min_observed=data.draw(st.integers(1, 4)),
        families=data.draw(st.integers(0, n_samples // 2)),
        weights=rng.random(n_sites) * scale,
    )
    start = data.draw(st.integers(0, n_sites - 1))
    stop = data.draw(st.integers(start + 1, n_sites))
    alleles = rng.integers(-1, 2, size=(4, n_sites)).astype(np.int8)
    who = (EXTERNAL, *rng.choice(panel.samples, 3))
    task = made.task(made.block(alleles, who, start, stop), data.draw(st.integers(1, 30)))
    expected = answer(oracle, made.source(), task)
    by_this_machine = [on_host()] if compiler() else []
    for under_test in (fresh("bitscan"), by_patterns(2), fresh("faiss-cpu"), *by_this_machine):
        same(answer(under_test, made.source(), task), expected)
        under_test.shutdown()


def test_search__ties_at_the_kth_distance_are_all_considered(engine: Engine, oracle: Engine, described) -> None:
    rng = np.random.default_rng(8)
    panel = Panel.from_haplotypes(rng.integers(0, 2, size=(3, 64))[rng.integers(0, 3, 1400)])
    made = described(panel, density=1.0, wanted=(8, 16))
    task = made.task(made.own(panel.samples[:4]), 5)
    found = answer(engine, made.source(), task)
    assert float(np.ptp(found.distances)) == 0.0
    same(found, answer(oracle, made.source(), task))


def test_search__weights_whose_sum_is_not_exact_in_float32(engine: Engine, oracle: Engine, described) -> None:
    rng = np.random.default_rng(9)
    panel = Panel.from_haplotypes(rng.integers(0, 2, size=(60, 1200)))
    made = described(panel, density=1.0, wanted=(400, 1200), weights=60.0 + 4.0 * rng.random(1200))
    assert float(made.weights.sum()) > 2**14
    task = made.task(made.own(panel.samples[:6]), 5)
    same(answer(engine, made.source(), task), answer(oracle, made.source(), task))


def test_search__weights_whose_sum_exceeds_int32(oracle: Engine, described) -> None:
    panel = Panel.from_haplotypes(np.random.default_rng(10).integers(0, 2, size=(8, 33_000)))
    made = described(panel, density=1.0, wanted=(20_000,), weights=np.full(33_000, 64.0))
    assert int(site_weights.steps(made.weights).sum(dtype=np.int64)) > 2**31
    task = made.task(made.own(panel.samples[:2]), 4)
    bitscan = fresh("bitscan")
    same(answer(bitscan, made.source(), task), answer(oracle, made.source(), task))
    bitscan.shutdown()


def test_search__an_excluded_group_is_never_returned(engine: Engine, index) -> None:
    family = [name for name in index.split.reference if index.split.groups[name].startswith("family")]
    result = answer(engine, index.source(), index.task(index.own(family), 100))
    assert not np.isin(result.ids, index.panel.rows_of(family)).any()


def test_search__held_out_samples_are_never_returned(engine: Engine, index) -> None:
    result = answer(engine, index.source(), index.task(index.own(index.split.held_out), 100))
    assert not np.isin(result.ids, index.panel.rows_of(index.split.held_out)).any()


def test_search__fewer_than_k_are_filled_with_none(engine: Engine, index) -> None:
    name = index.split.reference[-1]
    result = answer(engine, index.source(), index.task(index.own([name]), 50))
    n = 2 * len(index.split.reference) - 2
    assert (result.ids[:, :, :n] >= 0).all()
    assert (result.ids[:, :, n:] == -1).all()
    assert np.isposinf(result.distances[:, :, n:]).all()


def test_search__does_not_depend_on_the_batch(engine: Engine, index) -> None:
    whole = index.own(index.panel.samples)
    together = answer(engine, index.source(), index.task(whole, 5))
    for q in range(0, len(whole.samples), 7):
        one = dataclasses.replace(whole, samples=whole.samples[q : q + 1], alleles=whole.alleles[q : q + 1])
        alone = answer(engine, index.source(), index.task(one, 5))
        np.testing.assert_array_equal(alone.ids[:, 0], together.ids[:, q])
        np.testing.assert_array_equal(alone.distances[:, 0], together.distances[:, q])


@pytest.mark.parametrize("name", ["bitscan", "faiss-cpu"])
def test_search__does_not_depend_on_threads(name: str, index) -> None:
    task = index.task(index.own(index.panel.samples), 5)
    one, three = fresh(name, threads=1), fresh(name, threads=3)
    same(answer(one, index.source(), task), answer(three, index.source(), task))
    one.shutdown()
    three.shutdown()


def test_search__permuting_the_panels_samples_changes_no_answer(engine: Engine, index) -> None:
    order = np.random.default_rng(4).permutation(index.panel.n_samples)
    shuffled = index.panel.select_samples([index.panel.samples[i] for i in order])
    other = dataclasses.replace(index, panel=shuffled)
    names = index.panel.samples[:6]
    here = answer(engine, index.source(), index.task(index.own(names), 6))
    there = answer(engine, other.source(), other.task(other.own(names), 6))
    by_name = [
        np.array([f"{panel.samples[h // 2]}:{h % 2}" for h in result.ids.reshape(-1)])
        for panel, result in ((index.panel, here), (shuffled, there))
    ]
    np.testing.assert_array_equal(by_name[0], by_name[1])
    np.testing.assert_array_equal(here.distances, there.distances)


def test_search__a_missing_allele_costs_nothing_anywhere(engine: Engine, index) -> None:
    block = index.block(np.full((1, index.panel.n_sites), -1, dtype=np.int8))
    result = answer(engine, index.source(), index.task(block, 3))
    assert (result.distances == 0).all()


def test_search__context_without_segments_answers_none(engine: Engine, index) -> None:
    hidden = int(np.flatnonzero(~index.observed)[0])
    result = answer(engine, index.source(), index.task(index.own(["S0004"], hidden, hidden + 1), 3))
    assert result.ids.shape == (0, 2, 3)


def test_prepare__leaves_nothing_to_build(engine: Engine, index) -> None:
    if isinstance(engine, ShardedEngine):
        pytest.skip("a shard's context reaches over tiles that only other shards' segments prepare")
    source = index.source()
    engine.open(source)
    segments = source.layout.segments_within(0, 200, source.observed)
    engine.prepare(source.handle, segments, go_on)
    builds = engine.usage().builds
    engine.search(source.handle, index.task(index.own(["S0005"]), 3), go_on)
    assert engine.usage().builds == builds > 0


def test_close__frees_what_was_built(engine: Engine, index, eventually: Callable) -> None:
    answer(engine, index.source(), index.task(index.own(["S0005"]), 3))
    eventually(lambda: engine.usage().used_bytes == 0, "everything is freed")
    with pytest.raises(UnknownIndexError):
        engine.search("index", index.task(index.own(["S0005"]), 3), go_on)


def test_search__stops_at_a_checkpoint(engine: Engine, index) -> None:
    engine.open(index.source())

    def late() -> None:
        raise DeadlineError("late")

    with pytest.raises(DeadlineError):
        engine.search("index", index.task(index.own(["S0005"]), 3), late)
    assert engine.search("index", index.task(index.own(["S0005"]), 3), go_on).result.ids.size


def test_search__a_working_set_beyond_the_budget_is_refused(index) -> None:
    for name in ("bitscan", "faiss-cpu", "reference"):
        small = fresh(name, budget=1000)
        small.open(index.source())
        with pytest.raises(OutOfBudgetError):
            small.search("index", index.task(index.own(["S0005"]), 3), go_on)
        small.shutdown()


@pytest.mark.parametrize("name", ["bitscan", "faiss-cpu"])
def test_search__the_budget_is_never_exceeded_and_answers_stay_right(name: str, described, oracle: Engine) -> None:
    rng = np.random.default_rng(11)
    panel = Panel.from_haplotypes(rng.integers(0, 2, size=(400, 2000)))
    made = described(panel, density=1.0, wanted=(16, 64))
    task = made.task(made.own(panel.samples[:2], 0, 400), 5)
    roomy = fresh(name)
    expected = answer(roomy, made.source(), task)
    tight = fresh(name, budget=roomy.usage().peak_bytes + 4096)
    tight.open(made.source())
    for start in (0, 400, 800, 1200, 1600, 0):
        tight.search("index", made.task(made.own(panel.samples[:2], start, start + 400), 5), go_on)
        usage = tight.usage()
        assert usage.peak_bytes <= usage.budget_bytes
    assert usage.evictions > 0
    same(tight.search("index", task, go_on).result, expected)
    roomy.shutdown()
    tight.shutdown()


@pytest.mark.parametrize("name", ["bitscan", "faiss-cpu", "reference"])
def test_search__over_grpc_equals_the_oracle(name: str, oracle: Engine, index) -> None:
    block = index.own(index.panel.samples)
    spoilt_block = dataclasses.replace(block, alleles=spoilt(block.alleles, 6, missing=0.01))
    with serve({"panel": index.panel}, engine=name) as daemon, IndexClient(daemon.address) as client:
        assert client.info().engine == name
        found = client.search(client.open_index(**index.opening()), spoilt_block, 5)
    same(found, answer(oracle, index.source(), index.task(spoilt_block, 5)))
