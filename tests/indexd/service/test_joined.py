"""Searches that wait together and are computed as one: the same answers, in turn, each with its own end."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import mosaic_panel
from tests.indexd.conftest import describe
from tests.indexd.engines.cuda_on_host import HostDevice, compiler
from vcfrag_core.errors import DeadlineError, OutOfBudgetError, UnavailableError
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Answer, Checkpoint, SearchTask
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.engines.bitscan_gpu import BitscanGpuEngine
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.service.call import Call
from vcfrag_indexd.service.joined import Waiting, apart, checkpoint_of, joined
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2_grpc as rpc

OWN = (("grpc.use_local_subchannel_pool", 1),)
BUDGET = 64 * 2**20
MADE = describe(mosaic_panel(n_samples=20, n_sites=200, seed=1), held_out=2, families=1)


def same(a: SearchResult, b: SearchResult) -> None:
    for field in dataclasses.fields(SearchResult):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@functools.cache
def engines() -> dict[str, BitscanGpuEngine | BitscanEngine]:
    """Those that need no device, with the index open."""
    made = {name: create_engine(name, threads=1, budget_bytes=BUDGET) for name in ("reference", "faiss-cpu")}
    if compiler() is not None:
        made["bitscan-gpu"] = BitscanGpuEngine(HostDevice, threads=1, budget_bytes=BUDGET)
    for engine in made.values():
        engine.open(MADE.source())
    return made


@settings(max_examples=8)
@given(
    st.lists(st.lists(st.sampled_from(MADE.panel.samples), min_size=1, max_size=3, unique=True), min_size=1, max_size=4)
)
def test_joined__answers_are_those_of_each_alone(names: list[list[str]]) -> None:
    tasks = [MADE.task(MADE.own(some, 10, 190), 4) for some in names]
    for engine in engines().values():
        together = engine.search("index", joined(tasks), lambda: None).result
        for task, part in zip(tasks, apart(together, tasks), strict=True):
            same(part, engine.search("index", task, lambda: None).result)


def test_checkpoint__who_has_gone_is_noted_and_the_others_go_on() -> None:
    late, gone, here = Call(deadline=time.monotonic() - 1), Call(), Call()
    gone.cancel()
    searches = [Waiting(None, call, 0.0) for call in (late, here, gone)]
    checkpoint_of(searches)
    assert [type(search.failed) for search in searches] == [DeadlineError, type(None), UnavailableError]
    with pytest.raises(DeadlineError):
        checkpoint_of([searches[0], searches[2]])


class Device(BitscanEngine):
    """Stands for a device's engine; the first search waits for leave to go on, and room may be short."""

    name = "bitscan-gpu"

    def __init__(self) -> None:
        super().__init__(threads=1, budget_bytes=BUDGET)
        self.searched: list[tuple[int, int]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.max_queries = 1000
        self.error: Exception | None = None

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        if handle != "canary":
            self.searched.append((task.n_queries, task.k))
            self.entered.set()
            self.go_on.wait(90)
            checkpoint()
            if task.n_queries > self.max_queries:
                raise OutOfBudgetError("no room for so many")
            if self.error is not None and len(self.searched) > 1:
                raise self.error
        return super().search(handle, task, checkpoint)


@pytest.fixture
def engine() -> Device:
    return Device()


@pytest.fixture
def daemon(engine: Device) -> Iterator[Daemon]:
    with serve({"panel": MADE.panel}, ServeConfig(listen="127.0.0.1:0"), engine=engine) as running:
        yield running
        engine.go_on.set()


@pytest.fixture
def ask(daemon: Daemon, engine: Device, eventually) -> Iterator[Callable[..., list[grpc.Future]]]:
    """Sends searches of one sample and k each while another is under way, and lets them all go on together."""
    with grpc.insecure_channel(daemon.address, OWN) as channel:
        stub = rpc.IndexStub(channel)
        handle = stub.OpenIndex(MADE.open_request()).handle

        def send(name: str, k: int, stop: int = 200, timeout: float = 90) -> grpc.Future:
            return stub.Search.future(MADE.request(handle, MADE.own([name], 0, stop), k=k), timeout=timeout)

        def asked(*wanted: tuple, before: Callable[[list[grpc.Future]], None] = lambda calls: None) -> list:
            first = send("S0001", 2)
            assert engine.entered.wait(90)
            calls = []
            for arguments in wanted:
                calls.append(send(*arguments))
                n = len(calls)
                eventually(lambda n=n: daemon.rpc.searching.waiting == n, "it waits for its turn")
            before(calls)
            engine.go_on.set()
            assert first.result().k == 2
            return calls

        yield asked


def expected(name: str, k: int, stop: int = 200) -> SearchResult:
    found = engines()["reference"].search("index", MADE.task(MADE.own([name], 0, stop), k), lambda: None)
    return found.result


def is_right(call: grpc.Future, name: str, k: int, stop: int = 200) -> None:
    reply, wanted = call.result(), expected(name, k, stop)
    assert np.frombuffer(reply.ids, "<i4").tolist() == wanted.ids.ravel().tolist()
    assert np.frombuffer(reply.distances, "<f4").tolist() == wanted.distances.ravel().tolist()


def test_search__those_next_in_turn_of_one_index_and_range_are_one_and_no_others(ask, engine: Device) -> None:
    wanted = [("S0002", 3), ("S0003", 3), ("S0004", 4), ("S0005", 4), ("S0006", 4, 150), ("S0007", 4)]
    calls = ask(*wanted)
    for call, arguments in zip(calls, wanted, strict=True):
        is_right(call, *arguments)
    assert engine.searched == [(2, 2), (4, 3), (4, 4), (2, 4), (2, 4)]


def test_search__no_more_bytes_than_allowed_are_joined(
    ask, engine: Device, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two searches of one sample fit, and three do not.
    one = 8 * expected("S0002", 3).ids.size + 2 * MADE.task(MADE.own(["S0002"]), 3).alleles.nbytes
    monkeypatch.setattr(type(daemon.service.limits), "joined_bytes", 2 * one + one // 2)
    calls = ask(*(("S0002", 3),) * 5)
    for call in calls:
        is_right(call, "S0002", 3)
    assert engine.searched[1:] == [(4, 3), (4, 3), (2, 3)]


def test_search__one_that_has_gone_costs_the_others_nothing(ask, engine: Device, daemon: Daemon, eventually) -> None:
    def leave(calls: list[grpc.Future]) -> None:
        calls[1].cancel()
        eventually(lambda: daemon.rpc.searching.waiting == 2, "its place is free")

    calls = ask(("S0002", 3), ("S0003", 3), ("S0004", 3), before=leave)
    is_right(calls[0], "S0002", 3)
    is_right(calls[2], "S0004", 3)
    assert engine.searched[1:] == [(4, 3)]


def test_search__what_has_no_room_together_is_done_apart(ask, engine: Device) -> None:
    engine.max_queries = 3
    calls = ask(("S0002", 3), ("S0003", 3))
    is_right(calls[0], "S0002", 3)
    is_right(calls[1], "S0003", 3)
    assert engine.searched[1:] == [(4, 3), (2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("error", "reason"), [(RuntimeError("broken"), "INTERNAL"), (UnavailableError("away"), "UNAVAILABLE")]
)
def test_search__an_error_of_all_is_told_to_each(ask, engine: Device, error: Exception, reason: str) -> None:
    engine.error = error
    for call in ask(("S0002", 3), ("S0003", 3)):
        assert status.decode(call.exception()).error.reason == reason
    assert engine.searched[1:] == [(4, 3)]


def test_search__on_the_host_each_is_its_own(ask, engine: Device) -> None:
    engine.name = "bitscan"
    calls = ask(("S0002", 3), ("S0003", 3))
    is_right(calls[0], "S0002", 3)
    is_right(calls[1], "S0003", 3)
    assert engine.searched[1:] == [(2, 3), (2, 3)]
