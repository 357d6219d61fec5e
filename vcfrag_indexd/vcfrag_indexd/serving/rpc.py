"""The service's rpcs: each authorised, received, admitted, decoded, done in its turn, and encoded."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence

import grpc

from vcfrag_core.errors import OverloadedError, RangeError, VcfragError
from vcfrag_indexd.config.config import COPIES_OF_A_REPLY, RECEIVED_AT_ONCE, LimitsConfig
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.security.authorizer import Authorizer
from vcfrag_indexd.service import messages
from vcfrag_indexd.service.call import Client
from vcfrag_indexd.service.joined import PlannedSearch, Waiting
from vcfrag_indexd.service.lane import Job, Lane
from vcfrag_indexd.service.requests import SearchAnswer
from vcfrag_indexd.service.service import IndexService, Preparation
from vcfrag_indexd.serving.handled import CallObserver, Handled
from vcfrag_indexd.telemetry.tracing import Tracer
from vcfrag_indexd.transport.inbox import Inbox
from vcfrag_indexd.transport.transport import ServerCall
from vcfrag_proto.v1 import index_pb2 as pb

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Index"].full_name
DECODERS = 2
MAX_PREPARES = 16
# Questions about the daemon itself, which it answers however much it has to do.
LIGHT_METHODS = frozenset({"Info", "ListIndexes", "CloseIndex"})
MAX_LIGHT_BYTES = 4096
# A message that is the only one takes what `transfer_seconds` says; one that others wait for, no more than this.
GRACE_SECONDS = 1.0
REPLY_BYTES_PER_SECOND = 2**20
log = get_log()


class IndexRpc:
    """Answers the calls of the service `Index`.

    Args:
        service: Does the work.
        authorizer: Decides who may call what.
        tracer: Traces calls.
        observer: Told of calls.
    """

    def __init__(
        self, service: IndexService, authorizer: Authorizer, *, tracer: Tracer, observer: CallObserver
    ) -> None:
        self.service = service
        self.authorizer = authorizer
        self._tracer = tracer
        self._observer = observer
        self._limits: LimitsConfig = service.limits
        self._decoding, self._opening, self.searching = Lane("decode", DECODERS), Lane("open"), Lane("search")
        self._replying = Lane("reply")
        self._inbox = Inbox(
            at_once=RECEIVED_AT_ONCE,
            max_waiting=self._limits.max_queued_calls,
            grace_seconds=min(GRACE_SECONDS, self._limits.transfer_seconds),
            limit_seconds=self._limits.transfer_seconds,
        )
        self._prepares = threading.BoundedSemaphore(MAX_PREPARES)
        self._on_way: dict[Handled, float] = {}
        self._lock = threading.Lock()
        self._steps: dict[str, Callable[[Handled, bytes], None]] = {
            "OpenIndex": self._open,
            "PrepareIndex": self._prepare,
            "Search": self._search,
            "ListIndexes": self._list,
            "CloseIndex": self._close,
            "Info": self._info,
        }

    @property
    def replies_on_their_way(self) -> int:
        """Replies that their peers have not taken yet."""
        return len(self._on_way)

    def start(self) -> None:
        for lane in self._lanes():
            lane.start()

    def close(self) -> None:
        for lane in self._lanes():
            lane.close()

    def alive(self) -> bool:
        """Whether all its threads work."""
        return all(lane.alive() for lane in self._lanes())

    def _lanes(self) -> tuple[Lane, ...]:
        return self._decoding, self._opening, self.searching, self._replying

    def take(self, call: ServerCall, method: str) -> None:
        """Begins to answer a call of the service; returns at once."""
        if method not in self._steps:
            call.finish(grpc.StatusCode.UNIMPLEMENTED, f"{SERVICE_NAME} has no method {method!r}")
            return
        try:
            self.authorizer.check(method, call.metadata, call.peer)
            self.service.admission.check_accepting()
        except VcfragError as error:
            self._handle(call, method).refuse(error)
            return
        # Until there is a message, there is little to remember of a call: floods must be cheap.
        self._inbox.enter(
            call,
            Client.of(call.peer),
            lambda data: self._received(call, method, data),
            lambda error: self._handle(call, method).refuse(error),
        )

    def tick(self) -> None:
        """Cuts what takes too long; called often."""
        self._inbox.tick()
        now = time.monotonic()
        with self._lock:
            late = [handled for handled, limit in self._on_way.items() if now > limit]
        for handled in late:
            log.warning("a reply was not taken in time and is cut off", peer=handled.call.peer, method=handled.method)
            handled.call.cut()

    def _handle(self, call: ServerCall, method: str) -> Handled:
        return Handled(call, method, self.service.admission, self._tracer, self._observer)

    def _received(self, call: ServerCall, method: str, data: bytes | None) -> None:
        if data is None:
            call.finish(grpc.StatusCode.CANCELLED)
            return
        handled = self._handle(call, method)
        handled.guard(lambda: self._admit(handled, data))

    def _admit(self, handled: Handled, data: bytes) -> None:
        is_light = handled.method in LIGHT_METHODS
        if is_light and len(data) > MAX_LIGHT_BYTES:
            raise RangeError(f"{handled.method}: {len(data)} bytes, more than {MAX_LIGHT_BYTES}")
        handled.admit(messages.bytes_to_decode(data), counts=not is_light)
        step = self._steps[handled.method]
        lane = self._opening if handled.method == "OpenIndex" else self._decoding
        handled.queue(lane, lambda seconds: step(handled, data))

    def _reply(self, handled: Handled, data: bytes) -> None:
        self._departs(handled, len(data))
        handled.when_finished(lambda: self._arrived(handled))
        handled.reply(data)

    def _departs(self, handled: Handled, n_bytes: int) -> None:
        with self._lock:
            self._on_way[handled] = time.monotonic() + self._limits.transfer_seconds + n_bytes / REPLY_BYTES_PER_SECOND

    def _arrived(self, handled: Handled) -> None:
        with self._lock:
            self._on_way.pop(handled, None)

    def _open(self, handled: Handled, data: bytes) -> None:
        names = messages.count_names(data, self._limits)
        handled.change(n_bytes=messages.bytes_to_decode(data) + messages.BYTES_OF_A_NAME * names)
        self._reply(handled, messages.encode_opened(self.service.open_index(messages.decode_opening(data))))

    def _search(self, handled: Handled, data: bytes) -> None:
        planned = self.service.plan_search(messages.decode_search(data, handled.wanted))
        handled.change(
            work=planned.work,
            n_bytes=planned.task_bytes
            + messages.BYTES_OF_A_QUERY * planned.task.n_queries
            + COPIES_OF_A_REPLY * planned.reply_bytes,
        )
        handled.queue(
            self.searching, lambda seconds: self._compute(handled, planned, seconds), subject=(handled, planned)
        )

    def _compute(self, handled: Handled, planned: PlannedSearch, seconds: float) -> None:
        others = self._taken_along(planned)
        if not others:
            self._answer(handled, self.service.search(planned, handled.wanted, seconds))
            return
        each = [(handled, Waiting(planned, handled.wanted, seconds)), *others]
        try:
            outcomes: Sequence[SearchAnswer | Exception] = self.service.search_together([one for _, one in each])
        except Exception as error:  # noqa: BLE001  whatever it is, every peer must get an answer
            outcomes = [error] * len(each)
        for (whose, _), outcome in zip(each, outcomes, strict=True):
            whose.guard(functools.partial(self._answer, whose, outcome))

    def _taken_along(self, planned: PlannedSearch) -> list[tuple[Handled, Waiting]]:
        """The searches next in turn that are computed together with this one."""
        n_bytes = planned.task_bytes + planned.reply_bytes

        def joins(job: Job) -> bool:
            nonlocal n_bytes
            if job.subject is None or not self.service.joins(planned, job.subject[1], n_bytes):
                return False
            n_bytes += job.subject[1].task_bytes + job.subject[1].reply_bytes
            return True

        found = []
        for job in self.searching.take_along(joins):
            handled, other = job.subject
            handled.taken_along()
            found.append((handled, Waiting(other, handled.wanted, time.monotonic() - job.since)))
        return found

    def _answer(self, handled: Handled, outcome: SearchAnswer | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        if self.searching.waiting:
            # The next search need not wait until this one's answer is on its way.
            handled.queue(self._replying, lambda _: self._reply(handled, messages.encode_answer(outcome)))
        else:
            self._reply(handled, messages.encode_answer(outcome))

    def _list(self, handled: Handled, data: bytes) -> None:
        messages.decode_nothing(pb.ListIndexesRequest, data)
        self._reply(handled, messages.encode_indexes(self.service.list_indexes()))

    def _close(self, handled: Handled, data: bytes) -> None:
        self.service.close_index(messages.decode_handle(data))
        self._reply(handled, messages.encode_closed())

    def _info(self, handled: Handled, data: bytes) -> None:
        messages.decode_nothing(pb.InfoRequest, data)
        self._reply(handled, messages.encode_info(self.service.info(), self._limits))

    def _prepare(self, handled: Handled, data: bytes) -> None:
        preparation = self.service.plan_preparation(messages.decode_prepare(data))
        if not self._prepares.acquire(blocking=False):
            raise OverloadedError(f"{MAX_PREPARES} preparations are under way already")
        handled.when_finished(self._prepares.release)
        handled.when_finished(lambda: self._arrived(handled))
        handled.change(n_bytes=len(data))
        self._tell(handled, preparation)

    def _tell(self, handled: Handled, preparation: Preparation) -> None:
        """Sends how far it is; what comes next is done when the peer has taken that."""
        data = messages.encode_progress(preparation.progress())
        self._departs(handled, len(data))
        handled.tell(data, lambda: self._prepare_on(handled, preparation))

    def _prepare_on(self, handled: Handled, preparation: Preparation) -> None:
        self._arrived(handled)
        if preparation.finished:
            handled.call.finish()
            handled.finish()
        else:
            handled.queue(self.searching, lambda seconds: self._prepare_some(handled, preparation))

    def _prepare_some(self, handled: Handled, preparation: Preparation) -> None:
        self.service.require_engine()
        preparation.step(handled.wanted)
        self._tell(handled, preparation)
