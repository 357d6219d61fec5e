"""gRPC's side of the service: decodes, delegates, encodes; the one place where errors become statuses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from vcfrag_core.errors import InternalError, OverloadedError, ShapeError, VcfragError
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.service.admission import Call
from vcfrag_indexd.service.service import IndexService
from vcfrag_indexd.serving.security import Gate
from vcfrag_indexd.serving.tracing import TRACEPARENT, Tracer
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Index"].full_name
LONGEST_REQUEST_ID = 64
log = get_log()

# Told of every finished call: method, status code, reason or "", and seconds.
CallObserver = Callable[[str, str, str, float], None]


class IndexServicer:
    """Thin over `IndexService`. Requests are parsed here and not by gRPC, so that a malformed one is refused by reason.

    Args:
        service: Does the work.
        gate: Decides who may call what.
        tracer: Traces calls.
        on_start: Told of every call's method as it begins.
        on_finish: Told how it ended.
    """

    def __init__(
        self,
        service: IndexService,
        gate: Gate,
        *,
        tracer: Tracer | None = None,
        on_start: Callable[[str], None] | None = None,
        on_finish: CallObserver | None = None,
    ) -> None:
        self.service = service
        self.gate = gate
        self.tracer = tracer or Tracer(None)
        self.on_start = on_start or (lambda method: None)
        self.on_finish = on_finish or (lambda method, code, reason, seconds: None)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        service = self.service
        unary: dict[str, tuple[type[Message], Callable[[Any, Call], Message]]] = {
            "OpenIndex": (pb.OpenIndexRequest, service.open_index),
            "Search": (pb.SearchRequest, service.search),
            "ListIndexes": (pb.ListIndexesRequest, lambda request, call: service.list_indexes()),
            "CloseIndex": (pb.CloseIndexRequest, lambda request, call: service.close_index(request)),
            "Info": (pb.InfoRequest, lambda request, call: service.info()),
        }
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(self._unary(method, kind, answer), response_serializer=_encode)
            for method, (kind, answer) in unary.items()
        }
        handlers["PrepareIndex"] = grpc.unary_stream_rpc_method_handler(self._prepare, response_serializer=_encode)
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    def _unary(
        self, method: str, kind: type[Message], answer: Callable[[Any, Call], Message]
    ) -> Callable[[bytes, grpc.ServicerContext], Message]:
        def handle(data: bytes, context: grpc.ServicerContext) -> Message:
            with _Handled(self, method, context) as call:
                return answer(_parse(kind, data), call)

        return handle

    def _prepare(self, data: bytes, context: grpc.ServicerContext) -> Iterator[Message]:
        with _Handled(self, "PrepareIndex", context) as call:
            yield from self.service.prepare_index(_parse(pb.PrepareIndexRequest, data), call)


class _Handled:
    """One call from its first check to its status: gate, deadline, cancellation, errors, log and metrics."""

    def __init__(self, servicer: IndexServicer, method: str, context: grpc.ServicerContext) -> None:
        self._servicer = servicer
        self._method = method
        self._context = context
        self._started = time.perf_counter()
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.call = Call(deadline=deadline, request_id=_request_id(sent.get(status.REQUEST_ID_KEY, "")))
        self._span = servicer.tracer.start(method, sent.get(TRACEPARENT), self.call.request_id)

    def __enter__(self) -> Call:
        self._servicer.on_start(self._method)
        admission = self._servicer.service.admission
        call = self.call

        def gone() -> None:
            call.cancel()
            admission.wake()

        self._context.add_callback(gone)
        try:
            self._servicer.gate.check(self._method, self._context.invocation_metadata())
        except VcfragError as error:
            self._refuse(error)
        return self.call

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._finish("OK", "")
        elif isinstance(error, GeneratorExit):
            self._finish("CANCELLED", "")
        elif isinstance(error, VcfragError) and error.reason in status.STATUS_OF:
            self._refuse(error)
        elif isinstance(error, Exception):
            log.error("internal error", method=self._method, request_id=self.call.request_id, exc_info=error)
            self._refuse(InternalError(f"internal error; the daemon's log has request {self.call.request_id}"))

    def _refuse(self, error: VcfragError) -> NoReturn:
        retry = None
        if isinstance(error, OverloadedError):
            retry = self._servicer.service.admission.retry_after_seconds()
        details = status.encode(error, request_id=self.call.request_id, retry_after_seconds=retry)
        self._context.set_trailing_metadata(
            ((status.DETAILS_KEY, details), (status.REQUEST_ID_KEY, self.call.request_id))
        )
        code = status.status_of(error)
        self._finish(code.name, error.reason)
        self._context.abort(code, status.message_of(error))
        raise InternalError("unreachable: abort raises")

    def _finish(self, code: str, reason: str) -> None:
        seconds = time.perf_counter() - self._started
        self._servicer.on_finish(self._method, code, reason, seconds)
        if self._span is not None:
            self._span.set_attribute("rpc.grpc.status_code", code)
            self._span.set_attribute("vcfrag.reason", reason)
            self._span.end()
        log.debug(
            "call", method=self._method, code=code, reason=reason, seconds=seconds, request_id=self.call.request_id
        )


def _parse(kind: type[Message], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ShapeError(f"{len(data)} bytes that are not a {kind.DESCRIPTOR.name}") from error


def _encode(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _request_id(sent: str) -> str:
    """The caller's own request id where it sent a plausible one, else a new one."""
    return sent if sent.isalnum() and len(sent) <= LONGEST_REQUEST_ID else uuid.uuid4().hex
