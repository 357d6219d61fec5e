"""The bounded queue in front of the engine: one call computes, a limited amount waits, the rest is refused at once."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Iterator

from vcfrag_core.errors import (
    DeadlineError,
    DrainingError,
    OutOfBudgetError,
    OverloadedError,
    UnavailableError,
)

LEAST_RETRY_SECONDS = 0.05
MOST_RETRY_SECONDS = 5.0
SMOOTHING = 0.2


@dataclasses.dataclass(eq=False)
class Call:
    """One call's right to go on.

    Attributes:
        deadline: `time.monotonic` value after which nobody waits for the answer; None for none.
        request_id: Names the call in logs.
    """

    deadline: float | None = None
    request_id: str = ""
    _cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)

    def cancel(self) -> None:
        """The caller has gone."""
        self._cancelled.set()

    def checkpoint(self) -> None:
        """Returns if the call should go on.

        Raises:
            DeadlineError: Its deadline has passed.
            UnavailableError: It was cancelled; nobody reads this error.
        """
        if self._cancelled.is_set():
            raise UnavailableError("the call was cancelled")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineError("the deadline passed before the search was done")

    def remaining(self) -> float | None:
        """Seconds to the deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What is admitted now, the running call included."""

    calls: int
    work: int
    n_bytes: int


class Admission:
    """Lets one call at a time through to the engine, in the order of arrival.

    Args:
        max_work: Queries x segments x k that may be admitted at once.
        max_bytes: Bytes of requests and replies that may be admitted at once.
        max_calls: Calls that may be admitted at once.
    """

    def __init__(self, *, max_work: int, max_bytes: int, max_calls: int) -> None:
        self._max = Load(max_calls, max_work, max_bytes)
        self._load = Load(0, 0, 0)
        self._queue: deque[Call] = deque()
        self._changed = threading.Condition()
        self._draining = False
        self._work_per_second = 1e6

    @property
    def load(self) -> Load:
        return self._load

    def drain(self) -> None:
        """Refuses new calls; those admitted go on."""
        with self._changed:
            self._draining = True

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is admitted; whether that came to pass in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._load.calls == 0, timeout_seconds)

    def wake(self) -> None:
        """Makes waiting calls look at their deadline and cancellation."""
        with self._changed:
            self._changed.notify_all()

    def check_accepting(self) -> None:
        """
        Raises:
            DrainingError: The daemon is going away.
        """
        if self._draining:
            raise DrainingError("the daemon is shutting down: try again, another or a new one will answer")

    @contextlib.contextmanager
    def enter(self, call: Call, *, work: int, n_bytes: int) -> Iterator[float]:
        """Waits for the engine's lane, and yields the seconds that it took.

        Raises:
            OutOfBudgetError: This call alone exceeds the queue.
            OverloadedError: The queue is full.
            DrainingError: The daemon is going away.
            DeadlineError, UnavailableError: The call ended while it waited.
        """
        self._admit(call, work, n_bytes)
        before = time.monotonic()
        try:
            self._wait_for_turn(call)
            started = time.monotonic()
            yield started - before
            self._note_speed(work, time.monotonic() - started)
        finally:
            self._leave(call, work, n_bytes)

    def retry_after_seconds(self) -> float:
        """When the work admitted now will probably be done."""
        return min(max(self._load.work / self._work_per_second, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)

    def _admit(self, call: Call, work: int, n_bytes: int) -> None:
        with self._changed:
            self.check_accepting()
            if work > self._max.work or n_bytes > self._max.n_bytes:
                raise OutOfBudgetError(
                    f"one call of {work} queries x segments x k and {n_bytes} bytes exceeds the whole queue "
                    f"({self._max.work}, {self._max.n_bytes} bytes): send fewer queries at once"
                )
            load = Load(self._load.calls + 1, self._load.work + work, self._load.n_bytes + n_bytes)
            if load.calls > self._max.calls or load.work > self._max.work or load.n_bytes > self._max.n_bytes:
                raise OverloadedError(
                    f"the queue is full: {self._load.calls} calls, {self._load.work} of {self._max.work} "
                    f"queries x segments x k, {self._load.n_bytes} of {self._max.n_bytes} bytes"
                )
            self._load = load
            self._queue.append(call)

    def _wait_for_turn(self, call: Call) -> None:
        with self._changed:
            while self._queue[0] is not call:
                call.checkpoint()
                self._changed.wait(call.remaining())
        call.checkpoint()

    def _leave(self, call: Call, work: int, n_bytes: int) -> None:
        with self._changed:
            self._queue.remove(call)
            self._load = Load(self._load.calls - 1, self._load.work - work, self._load.n_bytes - n_bytes)
            self._changed.notify_all()

    def _note_speed(self, work: int, seconds: float) -> None:
        if work and seconds > 0:
            self._work_per_second += SMOOTHING * (work / seconds - self._work_per_second)
