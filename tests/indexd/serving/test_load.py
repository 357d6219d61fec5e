"""More work than the daemon takes, and callers that do not read, do not speak or go away."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from tests.indexd.attack.http2 import Http2, message
from vcfrag_core.errors import RangeError
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Answer, Checkpoint, SearchTask
from vcfrag_indexd.config.config import LimitsConfig, ServeConfig
from vcfrag_indexd.service import lane
from vcfrag_indexd.serving.handled import Handled
from vcfrag_indexd.serving.health import LIVE
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc
from vcfrag_train.client.client import IndexClient

PREPARE = "/vcfrag_proto.v1.Index/PrepareIndex"
CAPACITY = 6
PATIENCE_SECONDS = 60.0
BUDGET = 64 * 2**20


class Held(BitscanEngine):
    """An engine whose searches of k = 2 wait for leave to go on."""

    def __init__(self) -> None:
        super().__init__(threads=1, budget_bytes=BUDGET)
        self.go_on = threading.Event()
        self.entered = threading.Event()
        self.stopped = threading.Event()

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        if task.k == 2:
            self.entered.set()
            while not self.go_on.wait(0.01):
                try:
                    checkpoint()
                except BaseException:
                    self.stopped.set()
                    raise
        return super().search(handle, task, checkpoint)


@pytest.fixture
def engine() -> Held:
    return Held()


@pytest.fixture
def daemon(index, engine: Held) -> Iterator[Daemon]:
    config = ServeConfig(
        listen="127.0.0.1:0",
        limits=LimitsConfig(max_queued_calls=CAPACITY, max_queued_work=4_000_000, memory_budget_bytes=BUDGET),
    )
    with serve({"panel": index.panel}, config, engine=engine) as running:
        yield running
        engine.go_on.set()


def test_overload__four_times_the_capacity_is_refused_while_the_engine_is_busy(
    eventually, daemon, engine, index
) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.IndexStub(channel)
        handle = stub.OpenIndex(index.open_request()).handle
        request = index.request(handle, index.own(["S0004"]), k=2)
        calls = [stub.Search.future(request, timeout=PATIENCE_SECONDS) for _ in range(4 * CAPACITY)]
        # The engine is held: whoever is answered now was refused without waiting for it.
        eventually(lambda: sum(call.done() for call in calls) == 3 * CAPACITY, "three quarters are refused")
        refused = [call for call in calls if call.done()]
        for call in refused:
            refusal = status.decode(call.exception())
            assert refusal.error.reason == "OVERLOADED"
            assert refusal.retry_after_seconds is not None
            assert refusal.retry_after_seconds > 0
        assert stub.Info(pb.InfoRequest(), timeout=PATIENCE_SECONDS).engine == "bitscan"
        engine.go_on.set()
        admitted = [call for call in calls if call not in refused]
        assert [call.result().k for call in admitted] == [2] * CAPACITY
    usage = daemon.engine.usage()
    assert usage.peak_bytes <= usage.budget_bytes


def test_overload__the_retrying_client_gets_through(daemon, engine, index) -> None:
    engine.go_on.set()
    found, threads = [], []

    def work() -> None:
        with IndexClient(daemon.address, timeout_seconds=PATIENCE_SECONDS) as client:
            found.append(client.search(client.open_index(**index.opening()), index.own(["S0004"]), 2).ids)

    for _ in range(4 * CAPACITY):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(found) == 4 * CAPACITY
    assert all(np.array_equal(ids, found[0]) for ids in found)


@pytest.fixture
def no_search_for_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_calls__that_are_over_leave_nothing_to_a_search_for_garbage(
    eventually, no_search_for_garbage, daemon, engine, index
) -> None:
    def handled() -> int:
        return sum(type(thing) is Handled for thing in gc.get_objects())

    before, block = handled(), index.own(index.split.reference[:2])
    with IndexClient(daemon.address, timeout_seconds=PATIENCE_SECONDS) as client:
        opened = client.open_index(**index.opening())
        client.prepare(opened, 0, index.panel.n_sites)
        client.search(opened, block, 1)
        with pytest.raises(RangeError):
            client.search(opened, block, 0)
        with grpc.insecure_channel(daemon.address) as channel:
            waiting = [rpc.IndexStub(channel).Search.future(index.request(opened.handle, block, 2)) for _ in range(3)]
            assert engine.entered.wait(PATIENCE_SECONDS)
            eventually(lambda: daemon.rpc.searching.waiting == 2, "two wait behind the one under way")
            for call in waiting:
                call.cancel()
        eventually(lambda: handled() == before, "nothing is left of the calls")


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_search__a_caller_that_goes_away_stops_costing(eventually, daemon, engine, index, how: str) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.IndexStub(channel)
        handle = stub.OpenIndex(index.open_request()).handle
        request = index.request(handle, index.own(["S0004"]), k=2)
        for timeout in (1.0, 10.0, PATIENCE_SECONDS) if how == "deadline" else (PATIENCE_SECONDS,):
            call = stub.Search.future(request, timeout=timeout)
            # On a slow machine the first deadlines may pass before the search begins.
            if engine.entered.wait(timeout):
                break
        if how == "cancel":
            call.cancel()
        assert engine.stopped.wait(PATIENCE_SECONDS)
        eventually(lambda: daemon.service.admission.load.calls == 0, "the lane is free")
        assert stub.Search(index.request(handle, index.own(["S0004"]), k=3), timeout=PATIENCE_SECONDS).k == 3


def test_readers__streams_that_nobody_reads_leave_others_served(daemon, index) -> None:
    own = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(daemon.address, own) as idle, grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.IndexStub(channel)
        handle = stub.OpenIndex(index.open_request()).handle
        request = pb.PrepareIndexRequest(
            handle=handle, identity=index.request(handle, index.own(["S0004"])).identity, start=0, stop=200
        )
        unread = [rpc.IndexStub(idle).PrepareIndex(request) for _ in range(200)]
        assert stub.Search(index.request(handle, index.own(["S0004"])), timeout=PATIENCE_SECONDS).k == 3
        for call in unread:
            call.cancel()


def deafen(eventually, daemon: Daemon, index, deaf: Http2) -> None:
    """As many preparations as are admitted, none of whose messages is ever taken."""
    with grpc.insecure_channel(daemon.address) as channel:
        handle = rpc.IndexStub(channel).OpenIndex(index.open_request()).handle
    eventually(lambda: daemon.service.admission.load.calls == 0, "nothing is admitted")
    identity = index.request(handle, index.own(["S0004"])).identity
    prepare = pb.PrepareIndexRequest(handle=handle, identity=identity, start=0, stop=200)
    for _ in range(CAPACITY):
        deaf.send(deaf.call(PREPARE), message(prepare.SerializeToString()), last=True)


def test_readers__streams_that_take_nothing_make_room_for_others(eventually, daemon, index) -> None:
    with Http2(daemon.address, window=0) as deaf, grpc.insecure_channel(daemon.address) as channel:
        deafen(eventually, daemon, index, deaf)
        eventually(lambda: daemon.service.admission.load.calls == CAPACITY, "they are admitted")
        stub = rpc.IndexStub(channel)
        request = index.request(stub.OpenIndex(index.open_request()).handle, index.own(["S0004"]))
        for _ in range(3):
            assert stub.Search(request, timeout=PATIENCE_SECONDS).k == 3


def test_readers__streams_that_take_nothing_are_cut_off_in_time(
    eventually, index, caplog: pytest.LogCaptureFixture
) -> None:
    config = ServeConfig(listen="127.0.0.1:0", limits=LimitsConfig(transfer_seconds=5.0, memory_budget_bytes=BUDGET))
    with serve({"panel": index.panel}, config) as daemon, Http2(daemon.address, window=0) as deaf:
        deafen(eventually, daemon, index, deaf)
        eventually(lambda: caplog.text.count("was not taken in time") == CAPACITY, "they are cut off")
        eventually(lambda: daemon.service.admission.load.calls == 0, "nothing of them is left")


def test_liveness__tells_of_a_search_that_is_stuck(
    eventually, daemon, engine, index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.IndexStub(channel)
        handle = stub.OpenIndex(index.open_request()).handle
        stuck = threading.Event()
        monkeypatch.setattr(engine, "search", lambda *task: stuck.wait(PATIENCE_SECONDS) and Held.search(engine, *task))
        call = stub.Search.future(index.request(handle, index.own(["S0004"])), timeout=PATIENCE_SECONDS)
        eventually(lambda: daemon.service.admission.load.calls == 1, "it is admitted")
        assert daemon.health.serving(LIVE)
        monkeypatch.setattr(lane, "STUCK_SECONDS", 0.1)
        eventually(lambda: not daemon.health.serving(LIVE), "liveness tells")
        monkeypatch.undo()
        stuck.set()
        assert call.result().k == 3
        eventually(lambda: daemon.health.serving(LIVE), "it lives")


def test_connections__that_say_nothing_or_nonsense_leave_others_served(daemon, index) -> None:
    host, port = daemon.address.split(":")
    mute = [socket.create_connection((host, int(port))) for _ in range(50)]
    for connection in mute[:25]:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    for connection in mute[25:30]:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with IndexClient(daemon.address, timeout_seconds=PATIENCE_SECONDS) as client:
        assert client.search(client.open_index(**index.opening()), index.own(["S0004"]), 3).ids.size
    for connection in mute:
        connection.close()


def test_messages__larger_than_the_limit_are_refused(daemon, index) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.IndexStub(channel)
        request = index.open_request()
        limit = stub.Info(pb.InfoRequest()).limits.max_message_bytes
        request.observed = bytes(limit + 1)
        with pytest.raises(grpc.RpcError) as caught:
            stub.OpenIndex(request, timeout=PATIENCE_SECONDS)
        assert status.decode(caught.value).error.reason == "OUT_OF_BUDGET"
        assert limit == daemon.config.limits.message_bytes
