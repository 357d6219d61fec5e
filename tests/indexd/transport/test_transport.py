"""gRPC's completion queue as the daemon drives it: what is relied upon of a module that is not public."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from vcfrag_indexd.transport.transport import ServerCall, Transport

PATIENCE_SECONDS = 60.0
MOST_STREAMS = 10
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.max_concurrent_streams", MOST_STREAMS),
)

Answer = Callable[[ServerCall], None]


class Server:
    """A transport whose answer a test sets, and a channel to it."""

    def __init__(self) -> None:
        self.answer: Answer = lambda call: call.finish()
        self.seen: list[ServerCall] = []
        self.transport = Transport("test", OPTIONS, self._take)
        self.address = f"127.0.0.1:{self.transport.listen('127.0.0.1:0')}"
        self.transport.start()
        self.channel = grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),))

    def _take(self, call: ServerCall) -> None:
        self.seen.append(call)
        self.answer(call)

    def call(self, data: bytes = b"", **how: object) -> bytes:
        return self.channel.unary_unary("/service/Method")(data, timeout=PATIENCE_SECONDS, **how)

    def refused(self, data: bytes = b"") -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(data)
        return caught.value


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.channel.close()
    made.transport.stop()
    assert made.transport.open_calls == 0
    assert not made.transport.alive()


def echo(call: ServerCall) -> None:
    call.receive(lambda data: call.reply(data or b"", lambda taken: None))


def test_transport__answers_with_what_the_call_says(server: Server) -> None:
    server.answer = echo
    assert server.call(b"hello", metadata=(("x-name", "value"), ("x-bin", b"\xff"))) == b"hello"
    (call,) = server.seen
    assert call.method == "/service/Method"
    assert {("x-name", "value"), ("x-bin", b"\xff")} <= set(call.metadata)
    assert call.peer.startswith("ipv4:127.0.0.1:")
    assert call.deadline is not None


def test_transport__calls_that_are_over_make_room_for_others_whoever_keeps_them(server: Server) -> None:
    server.answer = echo
    for i in range(3 * MOST_STREAMS):
        assert server.call(bytes([i])) == bytes([i])
    assert len(server.seen) == 3 * MOST_STREAMS
    assert server.seen[0].peer == server.seen[-1].peer


def test_transport__ends_with_a_status_and_its_details(server: Server) -> None:
    server.answer = lambda call: call.finish(grpc.StatusCode.DATA_LOSS, "gone", (("x-why-bin", b"\x01"),))
    failure = server.refused()
    assert (failure.code(), failure.details()) == (grpc.StatusCode.DATA_LOSS, "gone")
    assert ("x-why-bin", b"\x01") in failure.trailing_metadata()


def test_transport__the_first_end_counts_and_later_ones_do_nothing(server: Server) -> None:
    told: queue.Queue[bool] = queue.Queue()

    def twice(call: ServerCall) -> None:
        call.finish(grpc.StatusCode.ABORTED, "first")
        call.finish(grpc.StatusCode.DATA_LOSS, "second")
        call.reply(b"third", told.put)

    server.answer = twice
    assert server.refused().details() == "first"
    assert told.get(timeout=PATIENCE_SECONDS) is False


def test_transport__streams_one_message_after_another(server: Server) -> None:
    def count(call: ServerCall, i: int = 0) -> None:
        if i == 5:
            call.finish()
        else:
            call.send(bytes([i]), lambda sent: count(call, i + 1))

    server.answer = count
    assert list(server.channel.unary_stream("/s/M")(b"", timeout=PATIENCE_SECONDS)) == [bytes([i]) for i in range(5)]


def test_transport__an_answer_from_another_thread(server: Server) -> None:
    server.answer = lambda call: threading.Thread(target=echo, args=(call,)).start()
    assert server.call(b"x") == b"x"


def test_transport__tells_of_a_caller_that_goes_away(server: Server) -> None:
    over, received = threading.Event(), []
    begun = threading.Event()

    def wait(call: ServerCall) -> None:
        call.when_over(over.set)
        call.receive(received.append)
        begun.set()

    server.answer = wait
    future = server.channel.unary_unary("/s/M").future(b"x", timeout=PATIENCE_SECONDS)
    assert begun.wait(PATIENCE_SECONDS)
    future.cancel()
    assert over.wait(PATIENCE_SECONDS)
    (call,) = server.seen
    assert call.over
    told: list[bool] = []
    call.reply(b"too late", told.append)
    later = threading.Event()
    call.when_over(later.set)
    assert told == [False]
    assert later.is_set()


def test_transport__a_call_that_is_cut_ends(server: Server) -> None:
    server.answer = lambda call: call.cut()
    assert server.refused().code() is grpc.StatusCode.CANCELLED


def test_transport__more_than_the_limit_is_no_message(server: Server) -> None:
    received: list[bytes | None] = []

    def take(call: ServerCall) -> None:
        call.receive(received.append)

    server.answer = take
    assert server.refused(bytes((1 << 20) + 1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert received in ([], [None])


def test_transport__a_callback_that_fails_ends_the_call_and_no_server(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: ServerCall) -> None:
        raise MemoryError("no room")

    server.answer = fail
    server.refused()
    server.answer = echo
    assert server.call(b"x") == b"x"
    assert "no room" in caplog.text


def test_transport__stop_lets_calls_end(server: Server) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def later(call: ServerCall, data: bytes | None) -> None:
        go_on.wait(PATIENCE_SECONDS)
        call.reply(data or b"", lambda taken: None)

    def wait(call: ServerCall) -> None:
        begun.set()
        call.receive(lambda data: threading.Thread(target=later, args=(call, data)).start())

    server.answer = wait
    call = server.channel.unary_unary("/s/M").future(b"x", timeout=PATIENCE_SECONDS)
    assert begun.wait(PATIENCE_SECONDS)
    stopper = threading.Thread(target=server.transport.stop, args=(PATIENCE_SECONDS,))
    stopper.start()
    go_on.set()
    assert call.result() == b"x"
    stopper.join(PATIENCE_SECONDS)
    assert not stopper.is_alive()


def test_transport__stop_cuts_calls_that_do_not_end(server: Server) -> None:
    begun = threading.Event()
    server.answer = lambda call: begun.set()
    call = server.channel.unary_unary("/s/M").future(b"x", timeout=PATIENCE_SECONDS)
    assert begun.wait(PATIENCE_SECONDS)
    server.transport.stop(0.1)
    assert call.code() not in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_transport__a_taken_port_is_told_of(server: Server) -> None:
    from vcfrag_core.errors import ConfigError

    other = Transport("other", OPTIONS, lambda call: None)
    with pytest.raises(ConfigError, match="cannot listen on"):
        other.listen(server.address)
    other.stop()
