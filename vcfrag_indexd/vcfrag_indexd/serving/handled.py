"""One call from its first byte to its status: who it is from, what it may take, and how it ends, whatever happens."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from vcfrag_core.errors import InternalError, OverloadedError, VcfragError
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.service.admission import Admission, Ticket
from vcfrag_indexd.service.call import Call, Client
from vcfrag_indexd.service.lane import Job, Lane
from vcfrag_indexd.telemetry.tracing import TRACEPARENT, Tracer
from vcfrag_indexd.transport.transport import ServerCall
from vcfrag_proto import status

LONGEST_REQUEST_ID = 64
CANCELLED = "CANCELLED"
# How long a reply may wait to be taken while others find no room.
PATIENT_SECONDS = 1.0
log = get_log()


class CallObserver(Protocol):
    """Told of every call."""

    def call_started(self, method: str) -> None:
        """As it begins."""

    def call_finished(self, method: str, code: str, reason: str, seconds: float) -> None:
        """As it ends, with status, reason or "", and how long it took."""


class Handled:
    """A call and what it holds: a place in a queue, a ticket, a reply on its way. It lets go of each exactly once.

    Args:
        call: The call.
        method: Its method's name.
        admission: Where it must be admitted.
        tracer: Traces it.
        observer: Told of it.
    """

    def __init__(
        self, call: ServerCall, method: str, admission: Admission, tracer: Tracer, observer: CallObserver
    ) -> None:
        self.call = call
        self.method = method
        self.client = Client.of(call.peer)
        self._admission = admission
        self._observer = observer
        self._started = time.perf_counter()
        sent = {key: value for key, value in call.metadata if isinstance(value, str)}
        self.wanted = Call(deadline=call.deadline, request_id=_request_id(sent.get(status.REQUEST_ID_KEY, "")))
        self._span = tracer.start(method, sent.get(TRACEPARENT), self.wanted.request_id)
        self._ticket: Ticket | None = None
        self._place: tuple[Lane, Job] | None = None
        self._when_finished: list[Callable[[], None]] = []
        self._replying_since: float | None = None
        self._telling = False
        self._finished = False
        self._lock = threading.RLock()
        observer.call_started(method)
        call.when_over(self._over)

    def admit(self, n_bytes: int, *, counts: bool = True) -> None:
        """Takes a place among the admitted, or beside them.

        Raises:
            ServiceError: There is none.
        """
        self._ticket = self._admission.admit(
            self.wanted, self.client, n_bytes=n_bytes, evict=self._evict, counts=counts
        )

    def change(self, *, work: int | None = None, n_bytes: int | None = None) -> None:
        """Takes more, or less.

        Raises:
            ServiceError: There is no room for it.
        """
        ticket = self._ticket
        if ticket is not None:
            self._admission.change(ticket, work=work, n_bytes=n_bytes)

    def queue(self, lane: Lane, step: Callable[[float], None], subject: Any = None) -> None:
        """Does `step` when it is this client's turn, told how many seconds that took; errors end the call."""

        def run(seconds: float) -> None:
            self.guard(lambda: self._step(step, seconds))

        with self._lock:
            job = lane.put(self.client, run, self.wanted, subject)
            self._place = (lane, job)
        if self.call.over:
            self._over()

    def taken_along(self) -> None:
        """It is this client's turn, and what was queued is done with another's; errors end the call."""
        with self._lock:
            self._place = None

    def guard(self, step: Callable[[], None]) -> None:
        """Does `step`; an error of the tree is the call's refusal, any other is logged and is INTERNAL."""
        try:
            step()
        except VcfragError as error:
            if error.reason in status.STATUS_OF:
                self.refuse(error)
            else:
                self._fail(error)
        except Exception as error:  # noqa: BLE001  the edge of the daemon: the peer must get an answer
            self._fail(error)

    def reply(self, data: bytes) -> None:
        """The answer; the call's place is given up when its peer has taken it."""
        self.change(n_bytes=len(data))
        self._replying_since = time.monotonic()
        self.call.reply(data, lambda taken: self.finish("OK" if taken else CANCELLED))

    def tell(self, data: bytes, then: Callable[[], None]) -> None:
        """One message of a stream; `then` comes next, once its peer has made room for it."""
        with self._lock:
            self._telling = True
        self.call.send(data, lambda sent: self.guard(lambda: self._told(sent, then)))

    def when_finished(self, then: Callable[[], None]) -> None:
        """Calls `then` once, when nothing of the call is left."""
        with self._lock:
            if not self._finished:
                self._when_finished.append(then)
                return
        then()

    def refuse(self, error: VcfragError) -> None:
        """Ends the call with an error's status and reason."""
        retry = self._admission.retry_after_seconds() if isinstance(error, OverloadedError) else None
        details = status.encode(error, request_id=self.wanted.request_id, retry_after_seconds=retry)
        code = status.status_of(error)
        self.call.finish(
            code,
            status.message_of(error),
            ((status.DETAILS_KEY, details), (status.REQUEST_ID_KEY, self.wanted.request_id)),
        )
        self.finish(code.name, error.reason)

    def finish(self, code: str = "OK", reason: str = "") -> None:
        """Nothing of the call is left; the first end counts."""
        with self._lock:
            if self._finished:
                return
            self._finished = True
            callbacks, self._when_finished = self._when_finished, []
            # The ticket refers to this, too: whatever is left must go without a search for garbage.
            ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._admission.close(ticket)
        for callback in callbacks:
            callback()
        seconds = time.perf_counter() - self._started
        self._observer.call_finished(self.method, code, reason, seconds)
        if self._span is not None:
            self._span.set_attribute("rpc.grpc.status_code", code)
            self._span.set_attribute("vcfrag.reason", reason)
            self._span.end()
        log.debug(
            "call", method=self.method, code=code, reason=reason, seconds=seconds, request_id=self.wanted.request_id
        )

    def _step(self, step: Callable[[float], None], seconds: float) -> None:
        self.taken_along()
        self.wanted.checkpoint()
        step(seconds)

    def _told(self, sent: bool, then: Callable[[], None]) -> None:
        with self._lock:
            evicted, self._telling = not self._telling, False
        if not sent:
            self.finish(CANCELLED)
        elif not evicted:
            then()

    def _fail(self, error: Exception) -> None:
        request_id = self.wanted.request_id
        log.error("internal error", method=self.method, request_id=request_id, exc_info=error)
        self.refuse(InternalError(f"internal error; the daemon's log has request {request_id}"))

    def _over(self) -> None:
        """The peer has gone, or has its answer."""
        self.wanted.cancel()
        if self._leave_queue():
            self.finish(CANCELLED)

    def _evict(self) -> bool:
        """Leaves for a client that has less here, if nothing is being done for this one but to wait for its peer."""
        if self._replying_since is not None and time.monotonic() - self._replying_since > PATIENT_SECONDS:
            log.warning("a reply that its peer does not take is cut off for others", peer=self.call.peer)
            self.call.cut()
            return True
        with self._lock:
            told, self._telling = self._telling, False
        if not told and not self._leave_queue():
            return False
        self.refuse(OverloadedError("the queue is full, and another client has less in it: try again"))
        return True

    def _leave_queue(self) -> bool:
        with self._lock:
            if self._place is None or not self._place[0].discard(self._place[1]):
                return False
            self._place = None
            return True


def _request_id(sent: str) -> str:
    """The caller's own request id where it sent a plausible one, else a new one."""
    return sent if sent.isalnum() and len(sent) <= LONGEST_REQUEST_ID else uuid.uuid4().hex
