"""A budget of 256 MiB and clients that ask for gigabytes: resident memory stays within budget, panel and allowance."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from tests.indexd.attack.conftest import BUDGET_BYTES, MIB, SEARCH_BYTES, Attacked, answered, queries
from tests.indexd.attack.http2 import Http2, message
from vcfrag_core.errors import VcfragError
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

SEARCH = "/vcfrag_proto.v1.Index/Search"
OPEN = "/vcfrag_proto.v1.Index/OpenIndex"
REFUSED = {"OUT_OF_BUDGET", "OVERLOADED", "RANGE", "DEADLINE"}


def outcome(call: Callable[[], Any]) -> str:
    """`OK`, or the reason of the refusal."""
    try:
        call()
    except grpc.RpcError as failure:
        error: VcfragError = status.decode(failure).error
        return error.reason
    return "OK"


def at_once(attacked: Attacked, n: int, call: Callable[[rpc.IndexStub, int], Any]) -> list[str]:
    """The outcomes of n calls at the same time, each on a connection of its own."""
    found: list[str] = []

    def run(i: int) -> None:
        with attacked.stub() as stub:
            found.append(outcome(lambda: call(stub, i)))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    attacked.check()
    for thread in threads:
        thread.join(300)
    assert len(found) == n
    return found


def open_index(attacked: Attacked, index: Any) -> str:
    with attacked.stub() as stub:
        return str(answered(lambda: stub.OpenIndex(index.open_request(), timeout=90)).handle)


@pytest.mark.parametrize("n_bytes", [SEARCH_BYTES - 200_000, 38 * MIB])
def test_memory__a_dozen_giant_searches_that_end_as_out_of_budget(attacked, attacked_index, n_bytes: int) -> None:
    handle = open_index(attacked, attacked_index)
    n_queries = n_bytes // (3 * 500)
    request = attacked_index.request(handle, attacked_index.block(queries(attacked_index, n_queries)), k=1024)
    request.missing = bytes(len(request.observed))
    found = at_once(attacked, 12, lambda stub, i: stub.Search(request, timeout=300))
    assert set(found) <= REFUSED
    attacked.check_memory()


def test_memory__millions_of_queries_without_a_segment(attacked, attacked_index) -> None:
    handle = open_index(attacked, attacked_index)
    valid = attacked_index.request(handle, attacked_index.own(["S0004"], 0, 1))
    n = (SEARCH_BYTES - 4096) // 4
    data = valid.SerializeToString() + b"\x32\x02\x10\x01" * n

    def call(stub: rpc.IndexStub, i: int) -> None:
        with grpc.insecure_channel(attacked.address) as channel:
            channel.unary_unary(SEARCH)(data, timeout=300)

    assert set(at_once(attacked, 8, call)) <= REFUSED
    attacked.check_memory()


def test_memory__hundreds_of_thousands_of_groups_count_and_are_listed(attacked, attacked_index) -> None:
    def call(stub: rpc.IndexStub, i: int) -> None:
        request = attacked_index.open_request()
        for n in range(200_000):
            request.split.groups[f"stranger {i} {n}"] = f"group {n}"
        stub.OpenIndex(request, timeout=300)

    assert set(at_once(attacked, 6, call)) <= {*REFUSED, "SPLIT_MISMATCH"}
    attacked.check_memory()


def test_memory__open_indexes_count_in_the_budget(attacked, attacked_index, described, attacked_panel) -> None:
    with attacked.stub() as stub:
        for i in range(40):
            names = {f"stranger {i} {n}": "strangers" for n in range(20_000)}
            split = dataclasses.replace(attacked_index.split, groups={**attacked_index.split.groups, **names})
            request = dataclasses.replace(attacked_index, split=split).open_request()
            opened = answered(functools.partial(stub.OpenIndex, request, timeout=90))
        listed = {index.handle: index for index in stub.ListIndexes(pb.ListIndexesRequest(), timeout=90).indexes}
    assert listed[opened.handle].bytes > 20_000 * 20
    assert len(listed) < 40
    assert sum(index.bytes for index in listed.values()) <= BUDGET_BYTES // 4
    attacked.check_memory()


@pytest.mark.parametrize("path", [SEARCH, OPEN, "/grpc.health.v1.Health/Check"])
def test_memory__uploads_that_stall_before_their_end(attacked, path: str) -> None:
    connections = [Http2(attacked.address) for _ in range(24)]
    threads = [
        threading.Thread(
            target=lambda c=c: c.pour(c.call(path), message(bytes(7 * MIB), stated=8 * MIB), patience_seconds=2.0),
            daemon=True,
        )
        for c in connections
    ]
    for thread in threads:
        thread.start()
    attacked.check()
    for thread in threads:
        thread.join(120)
    attacked.check()
    attacked.check_memory()
    for connection in connections:
        connection.socket.close()


def test_memory__a_message_that_says_it_is_larger_than_any(attacked) -> None:
    with Http2(attacked.address) as connection:
        stream = connection.call(OPEN)
        assert connection.pour(stream, message(bytes(64 * MIB), stated=2**32 - 1), patience_seconds=2.0) < 4 * MIB
    attacked.check()
    attacked.check_memory()


def test_memory__messages_that_unpack_to_gigabytes(attacked, attacked_index) -> None:
    request = attacked_index.open_request()
    request.weights = bytes(50 * MIB)

    def call(stub: rpc.IndexStub, i: int) -> None:
        with grpc.insecure_channel(attacked.address, compression=grpc.Compression.Gzip) as channel:
            rpc.IndexStub(channel).OpenIndex(request, timeout=90)

    assert "OK" not in at_once(attacked, 4, call)
    attacked.check_memory()


def test_memory__replies_that_nobody_takes_make_way(attacked, attacked_index) -> None:
    handle = open_index(attacked, attacked_index)
    request = attacked_index.request(handle, attacked_index.block(queries(attacked_index, 16)), k=32)
    idle = [Http2(attacked.address, window=0) for _ in range(12)]
    for connection in idle:
        for _ in range(3):
            stream = connection.call(SEARCH)
            connection.pour(stream, message(request.SerializeToString()))
            connection.send(stream, b"", last=True)
    with attacked.stub() as stub:
        assert answered(lambda: stub.Search(request, timeout=90)).ids
    attacked.check()
    attacked.check_memory()
    for connection in idle:
        connection.socket.close()


def test_memory__answers_are_right_after_all_that(attacked, attacked_index) -> None:
    handle = open_index(attacked, attacked_index)
    with attacked.stub() as stub:
        request = attacked_index.request(handle, attacked_index.own(["S0004"], 100, 900))
        reply = answered(lambda: stub.Search(request, timeout=90))
    ids = np.frombuffer(reply.ids, dtype="<i4").reshape(-1, 2, 3)
    own = attacked_index.panel.rows_of(["S0004"])
    assert ids.size > 0
    assert not np.isin(ids, own).any()
