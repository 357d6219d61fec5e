"""A client that asks for much, and another that asks for little."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Answer, Checkpoint, SearchTask
from vcfrag_indexd.config.config import LimitsConfig, ServeConfig
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2_grpc as rpc

OWN = (("grpc.use_local_subchannel_pool", 1),)
BUDGET = 64 * 2**20
HELD_K, BIG_K, SMALL_K = 2, 3, 4


class Ordered(BitscanEngine):
    """Notes in which order it searches; a search of k = 2 waits for leave to go on."""

    def __init__(self) -> None:
        super().__init__(threads=1, budget_bytes=BUDGET)
        self.order: list[int] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        if handle != "canary":
            self.order.append(task.k)
        if task.k == HELD_K:
            self.entered.set()
            self.go_on.wait(90)
        return super().search(handle, task, checkpoint)


@pytest.fixture
def engine() -> Ordered:
    return Ordered()


@pytest.fixture
def daemon(index, engine: Ordered) -> Iterator[Daemon]:
    limits = LimitsConfig(max_queued_calls=10, memory_budget_bytes=2**28)
    with serve({"panel": index.panel}, ServeConfig(listen="127.0.0.1:0", limits=limits), engine=engine) as running:
        yield running
        engine.go_on.set()


def test_turns__a_small_search_waits_for_one_large_one_and_not_for_eight(eventually, daemon, engine, index) -> None:
    with grpc.insecure_channel(daemon.address, OWN) as greedy, grpc.insecure_channel(daemon.address, OWN) as modest:
        handle = rpc.IndexStub(modest).OpenIndex(index.open_request()).handle
        calls = [rpc.IndexStub(greedy).Search.future(index.request(handle, index.own(["S0004"]), k=HELD_K), timeout=90)]
        assert engine.entered.wait(90)
        big = index.request(handle, index.own(["S0004"]), k=BIG_K)
        calls += [rpc.IndexStub(greedy).Search.future(big, timeout=90) for _ in range(8)]
        eventually(lambda: daemon.service.admission.load.calls == 9, "all of the greedy client's are admitted")
        small = index.request(handle, index.own(["S0004"]), k=SMALL_K)
        calls.append(rpc.IndexStub(modest).Search.future(small, timeout=90))
        eventually(lambda: daemon.rpc.searching.waiting == 9, "the modest client's waits for its turn, too")
        engine.go_on.set()
        assert [call.result().k for call in calls][-1] == SMALL_K
    assert engine.order.index(SMALL_K) <= 2


def test_turns__a_full_queue_makes_room_for_a_client_that_has_nothing_in_it(eventually, daemon, engine, index) -> None:
    with grpc.insecure_channel(daemon.address, OWN) as greedy, grpc.insecure_channel(daemon.address, OWN) as modest:
        handle = rpc.IndexStub(modest).OpenIndex(index.open_request()).handle
        held = index.request(handle, index.own(["S0004"]), k=HELD_K)
        calls = [rpc.IndexStub(greedy).Search.future(held, timeout=90)]
        assert engine.entered.wait(90)
        big = index.request(handle, index.own(["S0004"]), k=BIG_K)
        calls += [rpc.IndexStub(greedy).Search.future(big, timeout=90) for _ in range(9)]
        eventually(lambda: daemon.service.admission.load.calls == 10, "the queue is full")
        small = rpc.IndexStub(modest).Search.future(index.request(handle, index.own(["S0004"]), k=SMALL_K), timeout=90)
        eventually(lambda: sum(call.done() for call in calls) == 1, "one call made room")
        (gone,) = [call for call in calls if call.done()]
        assert status.decode(gone.exception()).error.reason == "OVERLOADED"
        engine.go_on.set()
        assert small.result().k == SMALL_K
        assert sum(call.code() is grpc.StatusCode.OK for call in calls) == 9
