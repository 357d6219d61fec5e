"""Memory of the host and of a device is counted apart, and a device without room is asked again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vcfrag_core.errors import OutOfBudgetError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.cache import SegmentCache
from vcfrag_indexd.engines import faiss_gpu, flat
from vcfrag_indexd.engines.budgets import HostAndDevice
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.engines.faiss_cpu import FaissCpuEngine
from vcfrag_indexd.engines.faiss_gpu import FaissGpuEngine


def two(host: int, device: int) -> HostAndDevice:
    return HostAndDevice(SegmentCache(host), SegmentCache(device), kinds_on_device=("flat",))


def test_host_and_device__values_count_where_they_lie() -> None:
    cache = two(100, 1000)
    with cache.pinned() as get, cache.reserve(30):
        assert get(("a", "flat", 0, 1), 900, lambda: "on the device") == "on the device"
        assert get(("a", "tile", 0, 1), 60, lambda: "on the host") == "on the host"
        with pytest.raises(OutOfBudgetError):
            get(("a", "tile", 1, 2), 20, lambda: "too much for the host")
        with pytest.raises(OutOfBudgetError):
            get(("b", "flat", 1, 2), 200, lambda: "too much for the device")
        assert cache.used_bytes == 990
    assert cache.peak_bytes == 990
    assert (cache.holdings()["a"].entries, cache.holdings()["a"].n_bytes, cache.builds) == (2, 960, 2)
    cache.drop("a")
    assert cache.used_bytes == 0


def test_host_and_device__each_evicts_its_own() -> None:
    cache = two(100, 100)
    for kind in ("flat", "tile", "flat"):
        with cache.pinned() as get:
            get((kind, kind, cache.builds, 0), 60, object)
    assert cache.evictions == 1
    assert set(cache.holdings()) == {"flat", "tile"}
    cache.evict_unpinned()
    assert cache.used_bytes == 0


def test_search__with_two_budgets_answers_as_with_one(described: Callable, panel: Panel) -> None:
    made = described(panel, wanted=(8, 32))
    task = made.task(made.own(panel.samples[:4]), 3)
    apart, together = (create_engine("faiss-cpu", threads=1, budget_bytes=1 << 26) for _ in range(2))
    assert isinstance(apart, FaissCpuEngine)
    apart.cache = two(1 << 26, 1 << 20)
    answers = []
    for engine in (apart, together):
        engine.open(made.source())
        answers.append(engine.search("index", task, lambda: None).result)
        engine.shutdown()
    np.testing.assert_array_equal(answers[0].ids, answers[1].ids)


@pytest.mark.parametrize(
    ("failures", "message"),
    [(1, None), (2, "leave more of the device to the daemon"), (9, "leave more of the device to the daemon")],
)
def test_faiss_gpu__without_room_lets_go_and_tries_again(failures: int, message: str | None) -> None:
    engine = object.__new__(FaissGpuEngine)
    engine.devices, engine._on_device = ("cuda:0",), SegmentCache(100)
    with engine._on_device.pinned() as get:
        get(("old", "flat", 0, 0), 90, object)
    calls: list[int] = []

    def work() -> str:
        calls.append(engine._on_device.used_bytes)
        if len(calls) <= failures:
            raise RuntimeError(
                "Error in allocMemoryHandle: StandardGpuResources: alloc fail type FlatData: out of memory"
            )
        return "done"

    if message is None:
        assert engine._with_room(work) == "done"
    else:
        with pytest.raises(OutOfBudgetError, match=message):
            engine._with_room(work)
    assert calls == [90, 0]


def test_faiss_gpu__other_errors_are_what_they_are() -> None:
    engine = object.__new__(FaissGpuEngine)
    engine.devices, engine._on_device = ("cuda:0",), SegmentCache(100)

    def work() -> None:
        raise RuntimeError("cuBLAS failed")

    with pytest.raises(RuntimeError, match="cuBLAS failed"):
        engine._with_room(work)


def faiss_without_a_device(reserved: dict[str, int]) -> SimpleNamespace:
    """FAISS whose flat indexes lie on the host, and that tells what is set aside, and how many indexes it made."""
    faiss = pytest.importorskip("faiss")

    class Resources:
        def setTempMemory(self, n_bytes: int) -> None:
            reserved["device"] = n_bytes

        def setPinnedMemory(self, n_bytes: int) -> None:
            reserved["host"] = n_bytes

    def flat(_resources: Any, width: int, _config: Any) -> Any:
        reserved["indexes"] = reserved.get("indexes", 0) + 1
        return faiss.IndexFlatIP(width)

    return SimpleNamespace(
        get_num_gpus=lambda: 1,
        StandardGpuResources=Resources,
        GpuIndexFlatConfig=SimpleNamespace,
        GpuIndexFlatIP=flat,
        omp_set_num_threads=faiss.omp_set_num_threads,
    )


def test_faiss_gpu__a_small_budget_leaves_room_for_a_search(
    described: Callable, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What FAISS keeps for itself is a part of either budget, never all of it."""
    reserved: dict[str, int] = {}
    monkeypatch.setattr(faiss_gpu, "import_faiss", lambda: faiss_without_a_device(reserved))
    made = described(panel, wanted=(8, 32))
    task = made.task(made.own(panel.samples[:4]), 3)
    small = FaissGpuEngine(threads=1, budget_bytes=faiss_gpu.PINNED_BYTES, device_bytes=faiss_gpu.TEMPORARY_BYTES)
    answers = []
    for engine in (small, create_engine("bitscan", threads=1, budget_bytes=1 << 26)):
        engine.open(made.source())
        answers.append(engine.search("index", task, lambda: None).result)
        engine.shutdown()
    np.testing.assert_array_equal(answers[0].ids, answers[1].ids)
    assert 0 < reserved["host"] < faiss_gpu.PINNED_BYTES
    assert 0 < reserved["device"] < faiss_gpu.TEMPORARY_BYTES
    assert (
        small.usage().budget_bytes
        == faiss_gpu.PINNED_BYTES + faiss_gpu.TEMPORARY_BYTES - reserved["host"] - reserved["device"]
    )


@pytest.mark.parametrize("most_queries", [1, 20, 1024])
def test_faiss_gpu__segments_share_indexes_and_calls(
    described: Callable, panel: Panel, monkeypatch: pytest.MonkeyPatch, most_queries: int
) -> None:
    reserved: dict[str, int] = {}
    monkeypatch.setattr(faiss_gpu, "import_faiss", lambda: faiss_without_a_device(reserved))
    monkeypatch.setattr(flat, "MAX_CALL_QUERIES", most_queries)
    made = described(panel, wanted=(8, 32))
    task, source = made.task(made.own(panel.samples[:4]), 3), made.source()
    segments = source.layout.segments_within(0, panel.n_sites, source.observed)
    together = FaissGpuEngine(threads=1, budget_bytes=1 << 28, device_bytes=1 << 28)
    together.open(source)
    together.prepare("index", segments, lambda: None)
    asked: list[int] = []
    search = together._nearest_rows
    monkeypatch.setattr(together, "_nearest_rows", lambda i, q, n: (asked.append(len(q)), search(i, q, n))[1])
    alone = create_engine("bitscan", threads=1, budget_bytes=1 << 26)
    alone.open(source)
    found, expected = (engine.search("index", task, lambda: None).result for engine in (together, alone))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert reserved["indexes"] == 3 < len(segments) / 4
    assert sum(asked) >= len(segments) * task.n_queries
    assert len(asked) == {1: len(segments), 20: 15, 1024: 3}[most_queries]
    assert max(asked) <= max(most_queries, task.n_queries)
    together.shutdown()
    alone.shutdown()


def test_faiss_gpu__fewer_segments_share_where_more_would_cost_more_than_calls(described: Callable) -> None:
    engine = object.__new__(FaissGpuEngine)
    engine._on_device = SegmentCache(80 << 30)
    made = described(Panel.from_haplotypes(np.zeros((4, 2000), dtype=np.int8)), wanted=(32, 128, 512)).source()

    def together(n_rows: int) -> list[int]:
        source = dataclasses.replace(made, rows=np.zeros(n_rows, dtype=np.int32))
        return [engine._together(source, scale) for scale in range(3)]

    assert together(5008) == [16, 16, 11]
    assert together(200_000) == [6, 3, 1]
    engine._on_device = SegmentCache(1 << 20)
    assert together(5008) == [1, 1, 1]
