"""Server reflection, for those who may call: few at once, and none for longer than it asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2

from vcfrag_core.errors import OverloadedError, ShapeError, VcfragError
from vcfrag_indexd.security.authorizer import Authorizer
from vcfrag_indexd.service.call import Client
from vcfrag_indexd.serving.health import refuse_call
from vcfrag_indexd.transport.inbox import Inbox
from vcfrag_indexd.transport.transport import ServerCall

REFLECTION_SERVICE = reflection.SERVICE_NAME
METHOD = "ServerReflectionInfo"
MAX_STREAMS = 8
MAX_REQUEST_BYTES = 4096


class Reflection:
    """Answers what services and messages there are.

    Args:
        names: Full names of the services.
        authorizer: Who may ask.
    """

    def __init__(self, names: Sequence[str], authorizer: Authorizer) -> None:
        self._servicer = reflection.ReflectionServicer(names)
        self._authorizer = authorizer
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)

    def take(self, call: ServerCall, method: str, inbox: Inbox) -> None:
        """Begins to answer; returns at once."""
        try:
            if method != METHOD:
                call.finish(grpc.StatusCode.UNIMPLEMENTED, f"{REFLECTION_SERVICE} has no method {method!r}")
                return
            self._authorizer.check(METHOD, call.metadata, call.peer)
            if not self._streams.acquire(blocking=False):
                raise OverloadedError(f"{MAX_STREAMS} reflection streams are open already")
        except VcfragError as error:
            refuse_call(call, error)
            return
        call.when_over(self._streams.release)
        self._ask(call, inbox)

    def _ask(self, call: ServerCall, inbox: Inbox) -> None:
        inbox.enter(
            call,
            Client.of(call.peer),
            lambda data: self._answer(call, inbox, data),
            lambda error: refuse_call(call, error),
        )

    def _answer(self, call: ServerCall, inbox: Inbox, data: bytes | None) -> None:
        if data is None:
            call.finish()
            return
        try:
            if len(data) > MAX_REQUEST_BYTES:
                raise DecodeError
            request = reflection_pb2.ServerReflectionRequest.FromString(data)
        except DecodeError:
            refuse_call(call, ShapeError(f"{len(data)} bytes that are not a ServerReflectionRequest"))
            return
        reply = next(iter(self._servicer.ServerReflectionInfo(iter([request]), None)))
        call.send(bytes(reply.SerializeToString()), lambda sent: self._ask(call, inbox) if sent else None)
