"""grpc.health.v1: what the daemon says of itself, to whoever asks or watches."""

from __future__ import annotations

import threading
from collections import deque

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from vcfrag_core.errors import OverloadedError, ShapeError, VcfragError
from vcfrag_indexd.service.call import Client
from vcfrag_indexd.transport.inbox import Inbox
from vcfrag_indexd.transport.transport import ServerCall
from vcfrag_proto import status

HEALTH_SERVICE = "grpc.health.v1.Health"
HEALTH_METHODS = tuple(f"/{HEALTH_SERVICE}/{method}" for method in ("Check", "Watch"))
# What liveness asks for: whether the daemon's threads live, however much it has to read or to compute.
LIVE = "live"
MAX_WATCHES = 256
# Of a watcher that reads slowly; of more changes than these it sees the last.
MOST_CHANGES = 32
MAX_REQUEST_BYTES = 4096
Status = health_pb2.HealthCheckResponse


class Health:
    """Statuses by name: overall, of the service, of every panel as `panel/NAME`, and `live`."""

    def __init__(self) -> None:
        self._statuses: dict[str, bool] = {}
        self._watches: dict[ServerCall, _Watch] = {}
        self._final = False
        self._lock = threading.RLock()

    def set(self, name: str, serving: bool) -> None:
        """Whether `name` can be used; but for `live`, nothing changes after `leave`."""
        with self._lock:
            if (self._final and name != LIVE) or self._statuses.get(name) == serving:
                return
            self._statuses[name] = serving
            for watch in list(self._watches.values()):
                if watch.name == name:
                    watch.tell(_reply(serving))

    def serving(self, name: str = "") -> bool:
        return self._statuses.get(name, False)

    def leave(self) -> None:
        """NOT_SERVING for good."""
        with self._lock:
            for name in list(self._statuses):
                if name != LIVE:
                    self.set(name, False)
            self._final = True

    def take(self, call: ServerCall, method: str, inbox: Inbox) -> None:
        """Begins to answer Check or Watch; returns at once."""
        if method not in ("Check", "Watch"):
            call.finish(grpc.StatusCode.UNIMPLEMENTED, f"{HEALTH_SERVICE} has no method {method!r}")
            return
        inbox.enter(
            call, Client.of(call.peer), lambda data: self._answer(call, method, data), lambda e: refuse_call(call, e)
        )

    def _answer(self, call: ServerCall, method: str, data: bytes | None) -> None:
        if data is None:
            call.finish(grpc.StatusCode.CANCELLED)
            return
        try:
            name = _name_of(data)
            if method == "Watch":
                self._watch(call, name)
                return
        except VcfragError as error:
            refuse_call(call, error)
            return
        known = self._statuses.get(name)
        if known is None:
            call.finish(grpc.StatusCode.NOT_FOUND, "unknown service")
        else:
            call.reply(_reply(known), lambda taken: None)

    def _watch(self, call: ServerCall, name: str) -> None:
        with self._lock:
            if len(self._watches) >= MAX_WATCHES:
                raise OverloadedError(f"{MAX_WATCHES} watch already")
            watch = self._watches[call] = _Watch(call, name)
            watch.tell(_reply(self._statuses.get(name)))
        call.when_over(lambda: self._unwatch(call))

    def _unwatch(self, call: ServerCall) -> None:
        with self._lock:
            self._watches.pop(call, None)


class _Watch:
    """One watcher, and the changes that it has not been sent."""

    def __init__(self, call: ServerCall, name: str) -> None:
        self.name = name
        self._call = call
        self._changes: deque[bytes] = deque(maxlen=MOST_CHANGES)
        self._sending = False
        self._lock = threading.Lock()

    def tell(self, reply: bytes) -> None:
        with self._lock:
            self._changes.append(reply)
            if self._sending:
                return
            self._sending = True
        self._send()

    def _send(self) -> None:
        with self._lock:
            if not self._changes:
                self._sending = False
                return
            reply = self._changes.popleft()
        self._call.send(reply, lambda sent: self._send() if sent else None)


def refuse_call(call: ServerCall, error: VcfragError) -> None:
    """Ends a call with an error's status and reason."""
    call.finish(status.status_of(error), status.message_of(error), ((status.DETAILS_KEY, status.encode(error)),))


def _name_of(data: bytes) -> str:
    try:
        if len(data) > MAX_REQUEST_BYTES:
            raise DecodeError
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError as error:
        raise ShapeError(f"{len(data)} bytes that are not a HealthCheckRequest") from error


def _reply(serving: bool | None) -> bytes:
    if serving is None:
        return bytes(Status(status=Status.SERVICE_UNKNOWN).SerializeToString())
    return bytes(Status(status=Status.SERVING if serving else Status.NOT_SERVING).SerializeToString())
