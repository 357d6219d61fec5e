"""A daemon under attack: a process of its own with a small budget, its memory sampled and its probes answered."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.indexd.conftest import Process
from vcfrag_core.panel.panel import Panel
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc
from vcfrag_train.simulate.files import write_phased_vcf

MIB = 2**20
BUDGET_BYTES = 256 * MIB
# What docs/reliability.md states: the interpreter, its libraries, compiled kernels, connections and small messages.
ALLOWANCE_BYTES = 300 * MIB
PATIENCE_SECONDS = 90.0
# The largest message that a daemon of this budget takes.
SEARCH_BYTES = BUDGET_BYTES // 32
SERVING = health_pb2.HealthCheckResponse.SERVING


class Memory:
    """The most resident memory of a process and its children, sampled all the time."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.most = self.lately = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def now(self) -> int:
        with contextlib.suppress(psutil.Error):
            family = (self._process, *self._process.children(recursive=True))
            return sum(member.memory_info().rss for member in family)
        return 0

    def threads(self) -> int:
        return self._process.num_threads()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.most

    def _sample(self) -> None:
        while not self._done.wait(0.01):
            now = self.now()
            self.most, self.lately = max(self.most, now), max(self.lately, now)


class Attacked:
    """A running daemon, and what a client, a probe and an operator see of it."""

    def __init__(self, process, panel_bytes: int) -> None:  # type: ignore[no-untyped-def]
        self.process = process
        self.address = process.address
        self.health_address = process.wait_for(r'"health_address": "([0-9.:]+)"')[1]
        process.wait_for(r'"event": "serving"')
        self.memory = Memory(process.process.pid)
        self._panel_bytes = panel_bytes

    def probe(self, address: str | None = None, service: str = "") -> int:
        """The status that a probe on a connection of its own gets."""
        with grpc.insecure_channel(address or self.health_address) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_SECONDS).status

    @contextlib.contextmanager
    def stub(self) -> Iterator[rpc.IndexStub]:
        with grpc.insecure_channel(self.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            yield rpc.IndexStub(channel)

    def check(self) -> None:
        """It serves: both ports are probed, and a client is answered."""
        assert [self.probe(), self.probe(self.address), self.probe(service="live")] == [SERVING] * 3
        with self.stub() as stub:
            assert [panel.name for panel in stub.Info(pb.InfoRequest(), timeout=PATIENCE_SECONDS).panels] == ["panel"]

    def check_memory(self) -> None:
        """It has never taken more than budget, panel and the stated allowance."""
        most, lately, self.memory.lately = self.memory.most, self.memory.lately, 0
        print(f"most {lately / MIB:.0f} MiB since the last look, {most / MIB:.0f} MiB ever")
        assert most <= BUDGET_BYTES + self._panel_bytes + ALLOWANCE_BYTES, f"{most / MIB:.0f} MiB"


@pytest.fixture(scope="session")
def attacked_panel(make_panel: Callable[..., Panel]) -> Panel:
    """200 samples x 4,000 sites: enough segments for replies of many megabytes."""
    return make_panel(n_samples=200, n_sites=4000, seed=5)


@pytest.fixture(scope="session")
def attacked_file(attacked_panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attacked") / "panel.vcf.gz"
    write_phased_vcf(attacked_panel, path)
    return path


@pytest.fixture(scope="session")
def begin_attack(attacked_file: Path, attacked_panel: Panel) -> Callable[..., Attacked]:
    """A function (*arguments, env={}, descriptors=None) -> Attacked that starts a daemon of 256 MiB."""

    def begin(*arguments: str, env: dict[str, str] | None = None, descriptors: int | None = None) -> Attacked:
        quick = {
            "VCFRAG_INDEXD_DRAIN__SETTLE_SECONDS": "0.1",
            "VCFRAG_CACHE_DIR": str(attacked_file.parent / "cache"),
            **(env or {}),
        }
        process = Process(
            "--panel", f"panel={attacked_file}", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0",
            "--memory-budget-bytes", str(BUDGET_BYTES), *arguments, env=quick, descriptors=descriptors,
        )  # fmt: skip
        return Attacked(process, attacked_panel.packed.nbytes)

    return begin


@pytest.fixture(scope="session")
def attacked(begin_attack: Callable[..., Attacked]) -> Iterator[Attacked]:
    """A daemon that every test attacks in turn, and that must never have taken more memory than is stated."""
    running = begin_attack("--metrics-listen", "127.0.0.1:0")
    yield running
    running.memory.stop()
    assert running.process.stop() == 0
    running.check_memory()


@pytest.fixture
def attack(begin_attack: Callable[..., Attacked]) -> Iterator[Callable[..., Attacked]]:
    """The same function, whose daemons are gone at the end of the test."""
    started: list[Attacked] = []

    def begin(*arguments: str, **how: Any) -> Attacked:
        started.append(begin_attack(*arguments, **how))
        return started[-1]

    yield begin
    for attacked in started:
        attacked.memory.stop()
        attacked.process.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def attacked_index(described, attacked_panel: Panel):  # type: ignore[no-untyped-def]
    """The index that attackers and their victims search."""
    return described(attacked_panel, wanted=(16, 64))


def answered(call: Callable[[], Any]) -> Any:
    """What a call returns, tried again as clients do while the daemon is full: of what attackers left, say."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except grpc.RpcError as failure:
            if status.decode(failure).error.reason != "OVERLOADED" or time.monotonic() > limit:
                raise
        time.sleep(0.05)


def hold(threads: list[threading.Thread]) -> None:
    """Starts threads that are left alone when the test ends."""
    for thread in threads:
        thread.daemon = True
        thread.start()


def queries(index, n: int, seed: int = 1):  # type: ignore[no-untyped-def]
    """(n, V) alleles of nobody's."""
    return np.random.default_rng(seed).integers(0, 2, size=(n, index.panel.n_sites)).astype(np.int8)


def eventually_true(holds: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < limit, f"never happened: {what}"
        time.sleep(0.02)
