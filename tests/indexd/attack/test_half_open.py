"""Calls whose message never comes, streams that say nothing, connections that do not speak."""

from __future__ import annotations

import contextlib
import socket
import urllib.request

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.indexd.attack.http2 import Http2, message
from vcfrag_proto.status import DETAILS_KEY
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SEARCH = "/vcfrag_proto.v1.Index/Search"
OPEN = "/vcfrag_proto.v1.Index/OpenIndex"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.mark.parametrize("path", [CHECK, WATCH, SEARCH, OPEN, REFLECTION, "/no.such.Service/Call"])
def test_half_open_calls__leave_probes_and_clients_answered(attacked, path: str) -> None:
    with contextlib.ExitStack() as stack:
        for address in (attacked.address, attacked.health_address):
            for _ in range(4):
                connection = stack.enter_context(Http2(address))
                for _ in range(170):
                    connection.call(path)
        attacked.check()
        attacked.check_memory()
    attacked.check()


def test_half_open_calls__are_cut_when_their_time_is_up(attack) -> None:
    attacked = attack(env={"VCFRAG_INDEXD_LIMITS__TRANSFER_SECONDS": "0.2"})
    with attacked.stub() as stub, grpc.insecure_channel(attacked.address) as channel:
        never = channel.stream_unary(SEARCH)
        with pytest.raises(grpc.RpcError) as caught:
            never(iter(lambda: _forever(), None), timeout=90)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert any(key == DETAILS_KEY for key, _ in caught.value.trailing_metadata())
        assert stub.Info(pb.InfoRequest(), timeout=90).engine == "bitscan"


def _forever() -> bytes:
    import time

    time.sleep(600)
    return b""


def test_reflection__idle_streams_are_few_and_end(attacked) -> None:
    with grpc.insecure_channel(attacked.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        idle = [stub.ServerReflectionInfo(iter(_forever, None)) for _ in range(40)]
        codes = {call.code() for call in idle}
    assert codes <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    attacked.check()


def test_reflection__is_behind_the_token(attack, tmp_path) -> None:
    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    attacked = attack(env={"VCFRAG_INDEXD_SECURITY__TOKEN_FILE": str(tmp_path / "token")})
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(attacked.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.ServerReflectionInfo(iter([request]), timeout=90))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        token = (("authorization", "Bearer secret"),)
        reply = next(stub.ServerReflectionInfo(iter([request]), timeout=90, metadata=token))
        assert len(reply.list_services_response.service) == 3
    assert attacked.process.wait_for(r'"peer": "ipv4:127\.0\.0\.1:\d+".*"event": "login refused"')


def test_authentication__comes_before_the_message(attack, tmp_path) -> None:
    """A stranger without a token is refused although nothing of his message is ever sent."""
    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    attacked = attack(env={"VCFRAG_INDEXD_SECURITY__TOKEN_FILE": str(tmp_path / "token")})
    with grpc.insecure_channel(attacked.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(OPEN)(iter(_forever, None), timeout=90)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "path",
    [b"/\xff\xfe\xfd/Search", b"/vcfrag_proto.v1.Index/\xc3\x28", b"", b"/", b"Search", b"//", SEARCH.encode() * 50],
)
def test_paths__that_are_no_text_end_no_server(attacked, path: bytes) -> None:
    for address in (attacked.address, attacked.health_address):
        with Http2(address) as connection:
            for _ in range(3):
                connection.send(connection.call(path), message(b""), last=True)
            connection.closed(1.0)
    attacked.check()


def test_metadata__that_is_no_text_ends_no_server(attacked) -> None:
    for name, value in ((b"x-\xff", b"1"), (b"authorization", b"\xff\xfe"), (b"x-request-id", b"\x80" * 64)):
        with Http2(attacked.address) as connection:
            connection.call(SEARCH.encode(), [(name, value)])
            connection.closed(0.5)
    attacked.check()


def test_connections__that_say_nothing_or_nonsense_leave_others_served(attacked) -> None:
    with contextlib.ExitStack() as stack:
        for address in (attacked.address, attacked.health_address):
            host, port = address.split(":")
            for i in range(150):
                connection = stack.enter_context(socket.create_connection((host, int(port))))
                if i % 3 == 1:
                    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                if i % 3 == 2:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        attacked.check()
        attacked.check_memory()


def test_resets__as_fast_as_they_go_leave_others_served(attacked) -> None:
    with Http2(attacked.address) as connection, contextlib.suppress(OSError):
        for _ in range(3000):
            connection.reset(connection.call(SEARCH))
    attacked.check()
    attacked.check_memory()


def test_metrics__mute_connections_are_bounded_and_end(attacked) -> None:
    metrics = attacked.process.wait_for(r'"metrics_address": "([0-9.:]+)"')[1]
    before = attacked.memory.threads()
    host, port = metrics.split(":")
    mute = [socket.create_connection((host, int(port))) for _ in range(300)]
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=90) as reply:
        text = reply.read().decode()
    # gRPC's own few come and go; a thread for each connection would be 300.
    assert attacked.memory.threads() < before + 100
    for connection in mute:
        connection.settimeout(90)
        assert connection.recv(1) == b""
        connection.close()
    for name in ("vcfrag_build_info{", "process_resident_memory_bytes ", "vcfrag_index_budget_bytes "):
        assert name in text
    attacked.check()


def test_calls__in_thousands_on_one_connection_leave_others_served(attacked) -> None:
    with grpc.insecure_channel(attacked.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        stub = rpc.IndexStub(channel)
        calls = [stub.Info.future(pb.InfoRequest(), timeout=90) for _ in range(3000)]
        attacked.check()
        ended = [call.code() for call in calls]
    assert set(ended) <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,  # refused by HTTP/2 before the server's limit was known
    }
    attacked.check_memory()
