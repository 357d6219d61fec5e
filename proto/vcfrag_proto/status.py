"""How a refusal travels: the tables reason -> gRPC status and reason -> error class, and the details of a status.

A refusal's status carries a `google.rpc.ErrorInfo` with domain `vcfrag` and the error's stable reason, and the
request id in its metadata; OVERLOADED also carries a `google.rpc.RetryInfo`. Both tables are tested to cover the
error tree.
"""

from __future__ import annotations

import dataclasses

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from vcfrag_core import errors
from vcfrag_core.errors import InternalError, UnavailableError, VcfragError

DOMAIN = "vcfrag"
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_TEXT_BYTES = 1000

STATUS_OF: dict[str, grpc.StatusCode] = {
    "PANEL_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "SPLIT_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "MASK_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "METRIC_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "LAYOUT_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "TOO_MANY_MISSING": grpc.StatusCode.FAILED_PRECONDITION,
    "HELD_OUT_SAMPLE": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_SAMPLE": grpc.StatusCode.INVALID_ARGUMENT,
    "UNKNOWN_SAMPLE": grpc.StatusCode.INVALID_ARGUMENT,
    "SHAPE": grpc.StatusCode.INVALID_ARGUMENT,
    "RANGE": grpc.StatusCode.INVALID_ARGUMENT,
    "NOT_FINITE": grpc.StatusCode.INVALID_ARGUMENT,
    "UNKNOWN_INDEX": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_PANEL": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_MASK": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_METRIC": grpc.StatusCode.NOT_FOUND,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "OUT_OF_BUDGET": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "DEADLINE": grpc.StatusCode.DEADLINE_EXCEEDED,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION": grpc.StatusCode.PERMISSION_DENIED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}

# What a status means when no ErrorInfo came with it: then gRPC itself, or a proxy, answered and not the daemon.
REASON_WITHOUT_DETAILS: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE",
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION",
}

# gRPC reports a peer that died during a call as UNAVAILABLE, but sometimes as UNKNOWN or INTERNAL with these words.
BROKEN_CONNECTION = ("Stream removed", "RST_STREAM", "Socket closed", "Connection reset")


def _leaves(base: type[VcfragError]) -> dict[str, type[VcfragError]]:
    found = {base.reason: base} if "reason" in vars(base) else {}
    for child in base.__subclasses__():
        found.update(_leaves(child))
    return found


ERROR_OF: dict[str, type[VcfragError]] = {
    reason: error for reason, error in _leaves(VcfragError).items() if reason in STATUS_OF
}


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A call's failure as it arrived.

    Attributes:
        error: The typed error.
        retry_after_seconds: What the server said about trying again.
        request_id: The call's, for the daemon's log.
        answered: Whether somebody refused; False where there may be no daemon, and gRPC itself spoke.
    """

    error: VcfragError
    retry_after_seconds: float | None = None
    request_id: str = ""
    answered: bool = True


def status_of(error: VcfragError) -> grpc.StatusCode:
    """The gRPC status of an error; INTERNAL for one that should never cross the wire."""
    return STATUS_OF.get(error.reason, grpc.StatusCode.INTERNAL)


def message_of(error: VcfragError) -> str:
    """The error's message, cut where it would not fit into the 8 KiB of headers that gRPC peers accept."""
    data = str(error).encode()
    return str(error) if len(data) <= MAX_TEXT_BYTES else f"{data[:MAX_TEXT_BYTES].decode(errors='ignore')} [...]"


def encode(error: VcfragError, *, request_id: str = "", retry_after_seconds: float | None = None) -> bytes:
    """The serialised `google.rpc.Status` of a refusal, for the trailing metadata under `DETAILS_KEY`."""
    status = status_pb2.Status(code=status_of(error).value[0], message=message_of(error))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if request_id:
        info.metadata["request_id"] = request_id
    _add(status, info)
    if retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(round(retry_after_seconds * 1e6))
        _add(status, retry)
    return bytes(status.SerializeToString())


def decode(call: grpc.RpcError) -> Refusal:
    """The typed error of a failed call; a status without vcfrag's details is mapped by its code alone."""
    code, message = call.code(), call.details() or ""
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            refusal = _from_details(value, message)
            if refusal is not None:
                return refusal
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        overloaded = "oncurrent RPC limit" in message
        error = errors.OverloadedError if overloaded else errors.OutOfBudgetError
        return Refusal(error(message))
    broken = any(text in message for text in BROKEN_CONNECTION)
    kind = UnavailableError if broken else ERROR_OF[REASON_WITHOUT_DETAILS.get(code, "INTERNAL")]
    known = issubclass(kind, errors.AuthenticationError | errors.NotPermittedError)
    return Refusal(kind(f"{code.name}: {message}"), answered=known)


def _from_details(value: bytes, message: str) -> Refusal | None:
    status = status_pb2.Status.FromString(value)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found, delay = False, None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            found = detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            delay = retry.retry_delay.ToMicroseconds() / 1e6
    if not found or info.domain != DOMAIN:
        return None
    kind = ERROR_OF.get(info.reason, InternalError)
    return Refusal(kind(status.message or message), delay, info.metadata.get("request_id", ""))


def _add(status: status_pb2.Status, message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)
    status.details.append(packed)
