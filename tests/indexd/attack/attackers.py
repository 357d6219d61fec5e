"""Everything that the other tests do to a daemon, again and again for a while.

    python -m tests.indexd.attack.attackers HOST:PORT HEALTH_HOST:PORT SECONDS < request

The request is a valid search, from which the giants are made.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable

import grpc

from tests.indexd.attack.http2 import Http2, message
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

MIB = 2**20
SEARCH = "/vcfrag_proto.v1.Index/Search"
CHECK = "/grpc.health.v1.Health/Check"
OWN = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))


class Attackers:
    """Threads that attack until the time is up."""

    def __init__(self, address: str, health_address: str, seconds: float, request: pb.SearchRequest) -> None:
        self._address, self._health_address = address, health_address
        self._request = request
        self._end = time.monotonic() + seconds

    def run(self) -> None:
        attacks = (
            lambda: self.half_open(self._address, SEARCH),
            lambda: self.half_open(self._address, CHECK),
            lambda: self.half_open(self._health_address, CHECK),
            lambda: self.mute(self._address),
            lambda: self.mute(self._health_address),
            self.stalled_uploads,
            self.giant_searches,
            self.unread_replies,
            self.resets,
            self.many_names,
            self.nonsense,
            self.flood,
        )
        threads = [threading.Thread(target=self._again, args=(attack,)) for attack in attacks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _again(self, attack: Callable[[], None]) -> None:
        while time.monotonic() < self._end:
            with contextlib.suppress(OSError, grpc.RpcError, AssertionError):
                attack()

    def half_open(self, address: str, path: str) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                connection = stack.enter_context(Http2(address))
                for _ in range(128):
                    connection.call(path)
            time.sleep(2)

    def mute(self, address: str) -> None:
        host, port = address.split(":")
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            time.sleep(5)

    def stalled_uploads(self) -> None:
        connections = [Http2(self._address) for _ in range(12)]
        for connection in connections:
            connection.pour(connection.call(SEARCH), message(bytes(7 * MIB), stated=8 * MIB), patience_seconds=0.3)
        for connection in connections:
            connection.socket.close()

    def giant_searches(self) -> None:
        request = pb.SearchRequest()
        request.CopyFrom(self._request)
        many = 7 * MIB // max(1, len(request.observed))
        request.observed, request.alleles = request.observed * many, request.alleles * many
        request.samples.extend([pb.QuerySample(external=True)] * (many - 1))
        request.k = 1024
        with grpc.insecure_channel(self._address, OWN) as channel:
            calls = [rpc.IndexStub(channel).Search.future(request, timeout=30) for _ in range(6)]
            for call in calls:
                call.exception()

    def unread_replies(self) -> None:
        data = message(self._request.SerializeToString())
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                connection = stack.enter_context(Http2(self._address, window=0))
                for _ in range(4):
                    stream = connection.call(SEARCH)
                    connection.pour(stream, data, patience_seconds=0.3)
                    connection.send(stream, b"", last=True)
            time.sleep(2)

    def resets(self) -> None:
        with Http2(self._address) as connection:
            for _ in range(500):
                connection.reset(connection.call(SEARCH))

    def many_names(self) -> None:
        request = pb.OpenIndexRequest(panel="panel")
        for n in range(100_000):
            request.split.groups[f"stranger {n}"] = f"group {n}"
        with grpc.insecure_channel(self._address, OWN) as channel:
            for call in [rpc.IndexStub(channel).OpenIndex.future(request, timeout=30) for _ in range(4)]:
                call.exception()

    def nonsense(self) -> None:
        for path in (b"/\xff\xfe/x", b"", b"/" + b"x" * 5000):
            with Http2(self._address) as connection:
                connection.send(connection.call(path), message(b"\xff" * 100), last=True)
                connection.closed(0.2)

    def flood(self) -> None:
        with grpc.insecure_channel(self._address, OWN) as channel:
            for call in [rpc.IndexStub(channel).Info.future(pb.InfoRequest(), timeout=30) for _ in range(300)]:
                call.exception()


if __name__ == "__main__":
    Attackers(sys.argv[1], sys.argv[2], float(sys.argv[3]), pb.SearchRequest.FromString(sys.stdin.buffer.read())).run()
