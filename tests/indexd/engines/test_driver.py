"""The device's driver, by its own interface: copies by way of page-locked memory, and errors of any of its calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.indexd.engines.cuda_on_host import compiler
from tests.indexd.engines.driver_on_host import OUT_OF_MEMORY, DriverOnHost
from vcfrag_core.errors import ConfigError, OutOfBudgetError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.engines.bitscan_gpu import BitscanGpuEngine
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.engines.cuda import driver as cuda
from vcfrag_indexd.engines.cuda.device import DeviceMemoryError
from vcfrag_indexd.engines.cuda.driver import CudaDevice

BUDGET = 64 * 2**20
pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler builds the kernels for this machine")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> DriverOnHost:
    """The driver that devices are made with."""
    made = DriverOnHost()
    monkeypatch.setattr(cuda, "_driver", lambda: made)
    monkeypatch.setattr(cuda, "compile_kernels", lambda *_: (b"", ""))
    monkeypatch.setattr(cuda, "PINNED_BYTES", 4096)
    return made


@pytest.fixture
def engine(driver: DriverOnHost) -> Iterator[Engine]:
    made = BitscanGpuEngine(functools.partial(CudaDevice, 0), threads=1, budget_bytes=BUDGET)
    yield made
    driver.failing.clear()
    made.shutdown()
    assert driver.host_memory == {}


@pytest.fixture
def device(driver: DriverOnHost) -> Iterator[CudaDevice]:
    made = CudaDevice(0)
    yield made
    made.close()
    assert driver.host_memory == {}


@pytest.mark.parametrize("n_bytes", [0, 1, 4095, 4096, 4097, 100_000])
@pytest.mark.parametrize("no_more_pinned", [False, True])
def test_copies__are_right_whatever_the_size_of_page_locked_memory(
    driver: DriverOnHost, device: CudaDevice, n_bytes: int, no_more_pinned: bool
) -> None:
    if no_more_pinned:
        driver.failing["cuMemHostAlloc"] = [OUT_OF_MEMORY] * 9
    given = np.random.default_rng(n_bytes).integers(0, 255, (3, n_bytes), dtype=np.uint8)
    address, found = device.allocate(3 * n_bytes + 1), np.zeros_like(given)
    for i, row in enumerate(given):
        sent = row.copy()
        device.upload(address + i * n_bytes, sent)
        sent[:] = 0
    device.download(address, found)
    np.testing.assert_array_equal(found, given)
    assert max(driver.copied, default=0) <= (4096 if no_more_pinned else 300_000)


def test_copies__a_host_without_page_locked_memory_is_told(driver: DriverOnHost) -> None:
    driver.failing["cuMemHostAlloc"] = [OUT_OF_MEMORY]
    with pytest.raises(DeviceMemoryError):
        CudaDevice(0)


def test_device__one_that_is_not_there_is_named(driver: DriverOnHost) -> None:
    with pytest.raises(ConfigError, match="asks for device 3, and there are 1"):
        CudaDevice(3)


def answer(engine: Engine, index) -> np.ndarray:
    engine.open(index.source())
    return engine.search("index", index.task(index.own(["S0005", "S0007"]), 3), lambda: None).result.ids


@pytest.fixture
def expected(index) -> np.ndarray:
    engine = create_engine("reference", threads=1, budget_bytes=BUDGET)
    try:
        return answer(engine, index)
    finally:
        engine.shutdown()


def test_search__on_the_drivers_interface_answers_as_the_reference(engine: Engine, index, expected) -> None:
    np.testing.assert_array_equal(answer(engine, index), expected)


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"])
def test_search__a_device_that_has_no_memory_once_is_asked_again(
    driver: DriverOnHost, engine: Engine, index, described: Callable, panel: Panel, expected, call: str
) -> None:
    other = described(panel, seed=9).source("other")
    engine.open(other)
    engine.prepare("other", other.layout.segments_within(0, 200, other.observed), lambda: None)
    before = engine.usage().evictions
    driver.failing[call] = [OUT_OF_MEMORY]
    np.testing.assert_array_equal(answer(engine, index), expected)
    assert driver.failing[call] == []
    assert engine.usage().evictions > before


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"])
def test_search__a_device_that_has_no_memory_again_is_out_of_budget_and_then_serves(
    driver: DriverOnHost, engine: Engine, index, expected, call: str
) -> None:
    driver.failing[call] = [OUT_OF_MEMORY] * 2
    with pytest.raises(OutOfBudgetError, match="leave more of the device to the daemon"):
        answer(engine, index)
    np.testing.assert_array_equal(answer(engine, index), expected)


def test_search__another_error_is_what_it_is(driver: DriverOnHost, engine: Engine, index) -> None:
    driver.failing["cuLaunchKernel"] = [700]
    with pytest.raises(RuntimeError, match="CUDA_ERROR_UNKNOWN"):
        answer(engine, index)
