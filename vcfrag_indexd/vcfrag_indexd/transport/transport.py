"""gRPC's server as a sequence of events: no call holds a thread, whatever its peer does or leaves undone.

This is the completion queue that `grpc.server` itself stands on. It is driven here, because a thread for every call is
what a peer that sends nothing takes, and because `grpc.aio` ends the whole server at one path that is not UTF-8
(docs/decisions/event-driven-server.md). Every callback runs in the one thread of its transport and must not block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.logs import get_log

REQUESTED_CALLS = 2
PAUSE_SECONDS = 0.05
NO_DEADLINE_SECONDS = 10.0 * 365 * 24 * 3600
STOP_SECONDS = 10.0
LEAST_GRACE_SECONDS = 0.1
GOODBYE_SECONDS = 1.0
NO_FLAGS = 0
CODES = {code: getattr(cygrpc.StatusCode, code.name.lower()) for code in grpc.StatusCode}
log = get_log()

Option = tuple[str, int | str]
Metadata = Sequence[tuple[str, str | bytes]]


class ServerCall:
    """One call of a peer. Its methods may be used from any thread, and do nothing once it is over.

    Attributes:
        method: `/service/method` as the peer sent it.
        peer: Such as `ipv4:127.0.0.1:40312`; one for every connection.
        metadata: What it sent along.
        deadline: `time.monotonic` value after which it no longer waits; None for none.
    """

    def __init__(self, transport: Transport, loop: _Loop, event: Any, method: str) -> None:
        self._transport = transport
        self._loop = loop
        self._call: Any = event.call
        self.peer = str(event.call.peer().decode("utf-8", "replace"))
        self.method: str = method or event.call_details.method.decode("utf-8", "replace")
        self.metadata: Metadata = event.invocation_metadata or ()
        left = event.call_details.deadline - time.time()
        self.deadline = None if left > NO_DEADLINE_SECONDS else time.monotonic() + left
        self._lock = threading.Lock()
        self._due = 0
        self._over = False
        self._ended = False
        self._greeted = False
        self._when_over: list[Callable[[], None]] = []

    @property
    def heard_until(self) -> float:
        """`time.monotonic` value until which everything that came of its peer has been looked at."""
        return self._loop.heard_until

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over

    def watch(self) -> None:
        """Asks to be told of the call's end."""
        self._start((cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), self._close)

    def when_over(self, then: Callable[[], None]) -> None:
        """Calls `then` once, when the call has ended in whatever way."""
        with self._lock:
            if not self._over:
                self._when_over.append(then)
                return
        then()

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Waits for the next message; None when there is none to come.

        Only from here on does the peer get room to send more than the first 64 KiB of it.
        """
        if not self._start((cygrpc.ReceiveMessageOperation(NO_FLAGS),), lambda event: then(_message_of(event))):
            then(None)

    def send(self, data: bytes, then: Callable[[bool], None]) -> None:
        """One message of a stream; `then` is told, when it is on its way, whether it is."""
        if not self._start((*self._greeting(), cygrpc.SendMessageOperation(data, NO_FLAGS)), _told(then)):
            then(False)

    def reply(self, data: bytes, then: Callable[[bool], None]) -> None:
        """The one message and the end; `then` is told, when the peer has taken it, whether it has."""
        operations = (
            *self._greeting(),
            cygrpc.SendMessageOperation(data, NO_FLAGS),
            cygrpc.SendStatusFromServerOperation((), CODES[grpc.StatusCode.OK], b"", NO_FLAGS),
        )
        if not self._end() or not self._start(operations, _told(then)):
            then(False)

    def finish(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "", trailing: Metadata = ()) -> None:
        """The end, with a status; the first one counts."""
        status = cygrpc.SendStatusFromServerOperation(tuple(trailing), CODES[code], details.encode(), NO_FLAGS)
        if self._end():
            self._start((*self._greeting(), status), lambda event: None)

    def cut(self) -> None:
        """Takes the call from its peer, whatever is on its way."""
        with self._lock:
            if self._over:
                return
            self._ended, call = True, self._call
        call.cancel()

    def _greeting(self) -> tuple[Any, ...]:
        with self._lock:
            greeted, self._greeted = self._greeted, True
        return () if greeted else (cygrpc.SendInitialMetadataOperation((), NO_FLAGS),)

    def _end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
        return first

    def _start(self, operations: tuple[Any, ...], then: Callable[[Any], None]) -> bool:
        with self._lock:
            if self._over:
                return False
            self._due += 1
            self._call.start_server_batch(operations, lambda event: self._done(event, then))
        return True

    def _done(self, event: Any, then: Callable[[Any], None]) -> None:
        try:
            then(event)
        finally:
            with self._lock:
                self._due -= 1
            self._leave()

    def _close(self, event: Any) -> None:
        with self._lock:
            self._over = True
            callbacks, self._when_over = self._when_over, []
        for callback in callbacks:
            callback()

    def _leave(self) -> None:
        with self._lock:
            gone = self._over and not self._due
            if gone:
                # gRPC counts a call among its connection's until nothing refers to it, and refuses more than so many.
                self._call = None
        if gone:
            self._transport.forget(self)


class Transport:
    """A gRPC server on ports of its own, in one thread, or two.

    Args:
        name: Names its threads.
        options: gRPC's channel arguments.
        on_call: Told of every new call.
        apart: Methods, as `/service/method`, whose calls have a queue and a thread of their own, so that no flood of
            others delays them.
    """

    def __init__(
        self,
        name: str,
        options: Sequence[Option],
        on_call: Callable[[ServerCall], None],
        *,
        apart: Sequence[str] = (),
    ) -> None:
        self._on_call = on_call
        self._server = cygrpc.Server(tuple(options), False)
        self._loop = _Loop(name, self._server)
        self._apart = _Loop(f"{name}-apart", self._server) if apart else None
        self._apart_methods = tuple(apart)
        for method in apart:
            self._server.register_method(method)
        self._calls: set[ServerCall] = set()
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._stopping = False
        self._started = False
        self._shut = threading.Event()

    @property
    def open_calls(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._calls)

    def alive(self) -> bool:
        """Whether its threads answer events."""
        return all(loop.alive() for loop in self._loops())

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listens on HOST:PORT; the port that was got.

        Raises:
            ConfigError: Nobody can listen there.
        """
        try:
            if credentials is None:
                port = self._server.add_http2_port(address.encode())
            else:
                port = self._server.add_http2_port(address.encode(), credentials._credentials)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {address}: {error}") from error
        if port == 0:
            raise ConfigError(f"cannot listen on {address}: is the port taken, is the host one of this machine?")
        return int(port)

    def start(self) -> None:
        """Begins to take calls."""
        self._server.start()
        self._started = True
        for _ in range(REQUESTED_CALLS):
            self._request(self._loop, "")
            for method in self._apart_methods:
                self._request(self._apart, method)
        for loop in self._loops():
            loop.start()

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Takes no more calls, lets those under way end for a while, cuts the rest, and frees everything."""
        with self._lock:
            if self._stopping or not self._started:
                self._stopping = True
                return
            self._stopping = True
        self._server.shutdown(self._loop.queue, lambda event: self._shut.set())
        with self._empty:
            idle = self._empty.wait_for(lambda: not self._calls, max(grace_seconds, LEAST_GRACE_SECONDS))
        # Connections without a call say goodbye by themselves, if their peers still answer.
        if not (idle and self._shut.wait(GOODBYE_SECONDS)):
            self._server.cancel_all_calls()
        with self._empty:
            self._empty.wait_for(lambda: not self._calls, STOP_SECONDS)
        if self._shut.wait(STOP_SECONDS):
            ended = [loop.stop(STOP_SECONDS) for loop in self._loops()]
            if all(ended):
                self._server.destroy()

    def forget(self, call: ServerCall) -> None:
        """A call has ended and nothing of it is on its way."""
        with self._empty:
            self._calls.discard(call)
            if not self._calls:
                self._empty.notify_all()

    def _loops(self) -> list[_Loop]:
        return [self._loop] if self._apart is None else [self._loop, self._apart]

    def _request(self, loop: _Loop | None, method: str) -> None:
        """Asks for one more call, of a method that is answered apart or of any other."""
        if loop is None:
            return

        def take(event: Any) -> None:
            try:
                if event.success:
                    self._take(ServerCall(self, loop, event, method))
            finally:
                # Only now: what is taken back until here is dropped by gRPC itself, at a fraction of the cost.
                self._request(loop, method)

        with self._lock:
            if self._stopping:
                return
            if method:
                self._server.request_registered_call(loop.queue, loop.queue, method, take)
            else:
                self._server.request_call(loop.queue, loop.queue, take)

    def _take(self, call: ServerCall) -> None:
        with self._lock:
            self._calls.add(call)
        call.watch()
        try:
            self._on_call(call)
        except Exception:
            call.cut()
            raise


class _Loop:
    """A completion queue and the thread that answers its events."""

    def __init__(self, name: str, server: Any) -> None:
        self.queue = cygrpc.CompletionQueue()
        server.register_completion_queue(self.queue)
        self._heard_until = time.monotonic()
        self._listening = False
        self._thread = threading.Thread(target=self._serve, name=f"vcfrag-{name}", daemon=True)

    @property
    def heard_until(self) -> float:
        """Until when everything that came has been looked at."""
        return time.monotonic() if self._listening else self._heard_until

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """Ends it after the last event; whether it has ended."""
        self.queue.shutdown()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._once():
            pass

    def _once(self) -> bool:
        """Answers one event; whether it was the last. A method of its own, so that no event outlives its answer."""
        try:
            event = self.queue.poll(0)
            if event.completion_type == cygrpc.CompletionType.queue_timeout:
                self._heard_until, self._listening = time.monotonic(), True
                event = self.queue.poll(None)
                self._listening = False
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                return True
            if event.completion_type == cygrpc.CompletionType.operation_complete:
                event.tag(event)
        except Exception:  # this thread must outlive whatever a peer, or a lack of memory, brings about
            log.exception("a call's event was not answered")
            time.sleep(PAUSE_SECONDS)
        return False


def _message_of(event: Any) -> bytes | None:
    data = event.batch_operations[0].message()
    return None if data is None else bytes(data)


def _told(then: Callable[[bool], None]) -> Callable[[Any], None]:
    return lambda event: then(bool(event.success))
