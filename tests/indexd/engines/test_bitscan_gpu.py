"""The GPU's own engine beyond the suite of all engines: its kernels on the host, its memory, its machine code."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.indexd.engines.cuda_on_host import HostDevice, compiler
from vcfrag_core.errors import OutOfBudgetError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.engine import Engine, SearchTask
from vcfrag_indexd.engines.bitscan_gpu import BitscanGpuEngine
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.engines.cuda import driver, passes
from vcfrag_indexd.engines.cuda.job import MAX_STEP, Ladder, words

BUDGET = 256 * 1024 * 1024
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler builds the kernels for this machine")
Make = Callable[..., BitscanGpuEngine]


def go_on() -> None:
    """A checkpoint that never objects."""


@pytest.fixture
def on_host() -> Iterator[Make]:
    """Makes engines whose device is this machine."""
    made: list[BitscanGpuEngine] = []

    def make(budget: int = BUDGET, **device: int) -> BitscanGpuEngine:
        engine = BitscanGpuEngine(functools.partial(HostDevice, **device), threads=1, budget_bytes=budget)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.shutdown()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Engine]:
    made = create_engine("reference", threads=1, budget_bytes=BUDGET)
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


def few_haplotypes(n: int, n_sites: int, seed: int, n_samples: int) -> Panel:
    """Copies of a few haplotypes, so that most distances tie."""
    rng = np.random.default_rng(seed)
    haplotypes = rng.integers(0, 2, size=(n, n_sites))[rng.integers(0, n, 2 * n_samples)]
    return Panel.from_haplotypes(haplotypes ^ (rng.random(haplotypes.shape) < 0.01))


@needs_compiler
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_kernels__answer_alike_in_any_order_of_threads(
    on_host: Make, oracle: Engine, described: Callable, weighted: bool, reverse: bool
) -> None:
    panel = few_haplotypes(9, 300, 1, 450)
    weights = np.random.default_rng(2).random(300) * 9 if weighted else None
    made = described(panel, density=0.7, wanted=(16, 40, 150), weights=weights, families=3)
    task = made.task(made.own(panel.samples[:6], 20, 290), 6)
    same(answer(on_host(reverse=reverse), made.source(), task), answer(oracle, made.source(), task))


@needs_compiler
def test_search__lists_that_overflow_are_made_again(on_host: Make, oracle: Engine, described: Callable) -> None:
    # The rows of all passes but the last are far from the query and all others near, so that the bound lets all pass.
    n_rows, ladder = 1200, Ladder.of(1200, 1)
    haplotypes = np.random.default_rng(3).integers(0, 2, size=(n_rows, 64)) & (np.arange(64) < 12)
    far = (np.arange(n_rows)[:, None] // 4 % ladder.strides[:-1] == 0).any(axis=1)
    haplotypes[far] = 1 - haplotypes[far]
    made = described(Panel.from_haplotypes(haplotypes), density=1.0, wanted=(64,))
    assert (~far).sum() > 4 * ladder.capacity
    engine = on_host()
    block = made.block(np.zeros((2, 64), dtype=np.int8))
    same(answer(engine, made.source(), made.task(block, 1)), answer(oracle, made.source(), made.task(block, 1)))
    assert engine.device.launched.count("settle") > len(ladder.strides)


@needs_compiler
@pytest.mark.parametrize("k", [40, 100], ids=["taken one by one", "sorted"])
def test_search__lists_and_tables_beyond_shared_memory(
    on_host: Make, oracle: Engine, described: Callable, k: int
) -> None:
    panel = few_haplotypes(5, 400, 4, 300)
    made = described(panel, density=1.0, wanted=(40, 300), weights=np.random.default_rng(5).random(400))
    task = made.task(made.own(panel.samples[:3]), k)
    expected = answer(oracle, made.source(), task)
    small = on_host(shared_bytes=24 * 1024)
    assert Ladder.of(600, k).capacity * 28 > small.device.shared_bytes
    for engine in (small, on_host()):
        same(answer(engine, made.source(), task), expected)
        assert engine.device.launched[-1] == ("settle" if k <= 64 else "settle_many")


@needs_compiler
def test_search__weights_whose_sum_exceeds_32_bits(on_host: Make, oracle: Engine, described: Callable) -> None:
    n_sites = 70_000
    panel = few_haplotypes(1, n_sites, 6, 4)
    weights = np.full(n_sites, 64.0)
    weights[::7] = 63.5
    made = described(panel, density=1.0, wanted=(69_000,), weights=weights)
    opposite = 1 - panel.haplotypes(np.arange(2)).astype(np.int8)
    task = made.task(made.block(opposite), 4)
    found = answer(on_host(), made.source(), task)
    assert found.distances.max() * 1024 > 2**32
    same(found, answer(oracle, made.source(), task))


@needs_compiler
def test_search__queries_in_several_parts(
    on_host: Make, oracle: Engine, index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "LIST_BYTES", 1)
    engine = on_host()
    task = index.task(index.own(index.panel.samples), 5)
    same(answer(engine, index.source(), task), answer(oracle, index.source(), task))
    assert engine.device.launched.count("start") == -(-task.n_queries // 8)


@needs_compiler
def test_search__no_reference_answers_none(on_host: Make, index) -> None:
    source = index.source()
    nobody = dataclasses.replace(source, rows=source.rows[:0], keys=source.keys[:0])
    task = dataclasses.replace(
        index.task(index.own(["S0005"]), 3), excluded=np.zeros(0, np.int64), excluded_starts=np.zeros(3, np.int64)
    )
    found = answer(on_host(), nobody, task)
    assert (found.ids == -1).all()
    assert np.isposinf(found.distances).all()


@needs_compiler
def test_open__masks_of_one_panel_share_its_bits(on_host: Make, described: Callable, panel: Panel) -> None:
    engine = on_host()
    one, other = described(panel, seed=1).source("one"), described(panel, seed=2).source("other")
    for source in (one, other):
        engine.open(source)
        engine.prepare(source.handle, source.layout.segments_within(0, 200, source.observed), go_on)
    pieces = engine.device.launched.count("transpose")
    engine.close("one")
    engine.search("other", described(panel, seed=2).task(described(panel, seed=2).own(["S0001"]), 3), go_on)
    assert pieces == engine.device.launched.count("transpose") == 1


@needs_compiler
def test_open__again_under_the_same_handle_forgets_the_first(on_host: Make, described: Callable) -> None:
    engine = on_host()
    for seed in (1, 2):
        made = described(few_haplotypes(4, 200, seed, 20))
        engine.open(made.source())
        engine.search("index", made.task(made.own(["S0001"]), 3), go_on)
    engine.close("index")
    assert engine.usage().used_bytes == 0
    assert engine.device.free_bytes() == 1 << 30


@needs_compiler
def test_search__room_is_made_on_a_device_that_others_fill(on_host: Make, oracle: Engine, described: Callable) -> None:
    panel = few_haplotypes(6, 6000, 7, 20)
    made = described(panel, wanted=(64,))
    engine = on_host()
    engine.open(made.source())
    for start in range(0, 4096, 1024):
        engine.search("index", made.task(made.own(panel.samples[:2], start, start + 1024), 3), go_on)
    others = engine.device.allocate(engine.device.free_bytes() - 4096)
    task = made.task(made.own(panel.samples[:2], 5000, 6000), 3)
    found = engine.search("index", task, go_on).result
    assert engine.usage().evictions > 0
    engine.device.free(others)
    same(found, answer(oracle, made.source(), task))


@needs_compiler
def test_search__the_last_ones_scratch_memory_makes_room(on_host: Make, oracle: Engine, described: Callable) -> None:
    panel = few_haplotypes(6, 6000, 7, 20)
    made = described(panel, wanted=(2000,))
    many, wide = made.task(made.own(panel.samples, 0, 200), 3), made.task(made.own(panel.samples[:1]), 3)
    used = []
    for task in (many, wide):
        engine = on_host()
        engine.open(made.source())
        engine.search("index", task, go_on)
        used.append(engine.usage().peak_bytes)
    small = on_host(max(used))
    small.open(made.source())
    small.search("index", many, go_on)
    same(small.search("index", wide, go_on).result, answer(oracle, made.source(), wide))
    assert small.usage().peak_bytes <= max(used)


@needs_compiler
def test_search__a_full_device_is_out_of_budget_and_then_serves_again(on_host: Make, index) -> None:
    engine = on_host()
    engine.open(index.source())
    task = index.task(index.own(["S0005"]), 3)
    others = engine.device.allocate(engine.device.free_bytes() - 1024)
    with pytest.raises(OutOfBudgetError, match=r"leave more of the device to the daemon"):
        engine.search("index", task, go_on)
    engine.device.free(others)
    assert engine.search("index", task, go_on).result.ids.size


def test_ladder__ends_with_all_rows_and_steps_no_further_than_allowed() -> None:
    for n_rows in (1, 5, 100, 5008, 200_000, 1_000_000):
        for k in (1, 16, 200, 1024):
            ladder = Ladder.of(n_rows, k)
            assert ladder.strides[-1] == 1
            assert ladder.capacity >= 2 * k
            assert ladder.capacity & (ladder.capacity - 1) == 0
            steps = [a / b for a, b in zip(ladder.strides, ladder.strides[1:], strict=False)]
            assert all(1 < step < 2 * MAX_STEP for step in steps)
            assert 4 * -(-n_rows // (4 * ladder.strides[0])) <= 2 * max(64, 8 * k)


def test_words__first_site_in_the_lowest_bit() -> None:
    values = np.zeros((1, 40), dtype=np.uint8)
    values[0, [0, 31, 33]] = 1
    assert words(values).view(np.uint32).tolist() == [[(1 << 31) + 1, 2]]


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_kernels__compile_without_a_device(architecture: str) -> None:
    pytest.importorskip("cuda.bindings", reason="CUDA's Python bindings are not installed")
    pytest.importorskip("nvidia.cu13", reason="NVRTC is not installed")
    code, log = driver.compile_kernels(driver.SOURCE.read_text(), architecture, ["--ptxas-options=-v"])
    assert code.startswith(b"\x7fELF")
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers", log, re.S
    )
    assert sorted(name for name, *_ in found) == sorted(driver.KERNELS)
    for name, stack, spilled, registers in found:
        assert int(stack) == int(spilled) == 0, name
        # Three blocks of `filter` on a multiprocessor: 65,536 registers, 256 threads.
        assert int(registers) <= (80 if name != "filter_weighted_long" else 255), name
