"""How much the daemon takes upon itself: calls, work and bytes of all that is admitted, from message to reply."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable

from vcfrag_core.errors import DrainingError, OutOfBudgetError, OverloadedError
from vcfrag_indexd.service.call import Call, Client

LEAST_RETRY_SECONDS = 0.05
MOST_RETRY_SECONDS = 5.0
SMOOTHING = 0.2
RESOURCES = ("calls", "work", "n_bytes")


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What is admitted now, the running call included.

    Attributes:
        calls: Their number.
        work: Queries x segments x k.
        n_bytes: Of messages, of what is made of them, and of replies until their peers have taken them.
    """

    calls: int = 0
    work: int = 0
    n_bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.calls + other.calls, self.work + other.work, self.n_bytes + other.n_bytes)

    def __sub__(self, other: Load) -> Load:
        return Load(self.calls - other.calls, self.work - other.work, self.n_bytes - other.n_bytes)


@dataclasses.dataclass(eq=False)
class Ticket:
    """An admitted call.

    Attributes:
        call: The call.
        client: Whose it is.
        load: What it takes.
        evict: While it waits, asked to leave for a client that has less here; whether it did.
    """

    call: Call
    client: Client
    load: Load
    evict: Callable[[], bool]


class Admission:
    """Admits calls until the daemon is full.

    When it is, a client that has less here than another makes the other's youngest waiting call leave; otherwise the
    newcomer is refused.

    Args:
        max_work: Queries x segments x k that may be admitted at once.
        max_bytes: Bytes that may be admitted at once.
        max_calls: Calls that may be admitted at once.
    """

    def __init__(self, *, max_work: int, max_bytes: int, max_calls: int) -> None:
        self.max = Load(max_calls, max_work, max_bytes)
        self._load = Load()
        self._tickets: dict[Ticket, None] = {}
        self._changed = threading.Condition(threading.RLock())
        self._draining = False
        self._work_per_second = 1e6

    @property
    def load(self) -> Load:
        return self._load

    def drain(self) -> None:
        """Refuses new calls; those admitted go on."""
        self._draining = True

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is admitted; whether that came to pass in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tickets, timeout_seconds)

    def check_accepting(self) -> None:
        """
        Raises:
            DrainingError: The daemon is going away.
        """
        if self._draining:
            raise DrainingError("the daemon is shutting down: try again, another or a new one will answer")

    def admit(
        self,
        call: Call,
        client: Client,
        *,
        n_bytes: int,
        evict: Callable[[], bool] = lambda: False,
        counts: bool = True,
    ) -> Ticket:
        """A place for a call, to be closed; one that does not count is admitted however full it is.

        Raises:
            OutOfBudgetError: This call alone is more than is ever admitted.
            OverloadedError: The daemon is full.
            DrainingError: The daemon is going away.
        """
        self.check_accepting()
        ticket = Ticket(call, client, Load(), evict)
        with self._changed:
            if counts:
                self._take(ticket, Load(1, 0, n_bytes))
            self._tickets[ticket] = None
        return ticket

    def change(self, ticket: Ticket, *, work: int | None = None, n_bytes: int | None = None) -> None:
        """Now that more is known of a call.

        Raises:
            OutOfBudgetError: This call alone is more than is ever admitted.
            OverloadedError: The daemon is full.
        """
        before = ticket.load
        after = Load(
            before.calls, before.work if work is None else work, before.n_bytes if n_bytes is None else n_bytes
        )
        with self._changed:
            if ticket in self._tickets and before.calls:
                self._take(ticket, after)

    def close(self, ticket: Ticket) -> None:
        """Nothing of the call is left; again and again is the same."""
        with self._changed:
            if ticket in self._tickets:
                del self._tickets[ticket]
                self._load -= ticket.load
                self._changed.notify_all()

    def retry_after_seconds(self) -> float:
        """When the work admitted now will probably be done."""
        return min(max(self._load.work / self._work_per_second, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)

    def note_speed(self, work: int, seconds: float) -> None:
        """So much work took so long."""
        if work and seconds > 0:
            self._work_per_second += SMOOTHING * (work / seconds - self._work_per_second)

    def _take(self, ticket: Ticket, wanted: Load) -> None:
        self._check_alone(wanted)
        while (full := self._first_full(wanted - ticket.load)) is not None:
            if not self._evict_for(ticket, wanted, full):
                raise OverloadedError(
                    f"the queue is full: {self._load.calls} calls, {self._load.work} of {self.max.work} "
                    f"queries x segments x k, {self._load.n_bytes} of {self.max.n_bytes} bytes"
                )
        self._load += wanted - ticket.load
        ticket.load = wanted

    def _check_alone(self, wanted: Load) -> None:
        if wanted.work > self.max.work or wanted.n_bytes > self.max.n_bytes:
            raise OutOfBudgetError(
                f"one call of {wanted.work} queries x segments x k and {wanted.n_bytes} bytes exceeds the whole queue "
                f"({self.max.work}, {self.max.n_bytes} bytes): send fewer queries at once"
            )

    def _first_full(self, more: Load) -> str | None:
        load = self._load + more
        return next((r for r in RESOURCES if getattr(load, r) > getattr(self.max, r) and getattr(more, r) > 0), None)

    def _evict_for(self, newcomer: Ticket, wanted: Load, resource: str) -> bool:
        """Makes a waiting call of a heavier client leave; whether one did."""

        def amount(ticket: Ticket) -> int:
            return int(getattr(ticket.load, resource))

        for level in ("host", "connection"):
            held: Counter[str] = Counter()
            for ticket in self._tickets:
                held[getattr(ticket.client, level)] += amount(ticket)
            mine = getattr(newcomer.client, level)
            limit = held[mine] - amount(newcomer) + int(getattr(wanted, resource))
            heavier = [name for name, amount_held in held.most_common() if amount_held > limit and name != mine]
            for name in heavier:
                if self._evict_one(level, name):
                    return True
        return False

    def _evict_one(self, level: str, name: str) -> bool:
        for ticket in reversed(list(self._tickets)):
            if getattr(ticket.client, level) == name and ticket.evict():
                self.close(ticket)
                return True
        return False
