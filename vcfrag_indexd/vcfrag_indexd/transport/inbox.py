"""Messages under way to here: a few at a time, in fair turns, none for ever.

A message that is being received may grow to the largest that is allowed before anything is known of it. So only a few
are received at once, and the rest wait with what a connection's window holds, 64 KiB. A message that takes its time
loses its place to those that wait.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from vcfrag_core.errors import DeadlineError, OverloadedError, VcfragError
from vcfrag_indexd.service.call import Client
from vcfrag_indexd.service.turns import FairQueue
from vcfrag_indexd.transport.transport import ServerCall

MOST_LAG_SECONDS = 1.0


@dataclasses.dataclass(eq=False, slots=True)
class Entry:
    """A call whose message is waited for.

    Attributes:
        call: The call.
        client: Whose it is.
        then: Given the message; None when there is none to come.
        refuse: Told why it is waited for no longer.
        since: When it came, and then when its message was first asked for.
        refused: Whether it has been told to leave.
    """

    call: ServerCall
    client: Client
    then: Callable[[bytes | None], None]
    refuse: Callable[[VcfragError], None]
    since: float = dataclasses.field(default_factory=time.monotonic)
    refused: bool = False

    def heard_seconds(self, now: float) -> float:
        """How long its message has been waited for, less what it may have waited for us."""
        return max(self.call.heard_until, now - MOST_LAG_SECONDS) - self.since


class Inbox:
    """Receives messages for calls.

    Args:
        at_once: Messages received at once.
        max_waiting: Calls that may wait for their turn.
        grace_seconds: How long a message may take while others wait.
        limit_seconds: How long it may take at all.
    """

    def __init__(self, *, at_once: int, max_waiting: int, grace_seconds: float, limit_seconds: float) -> None:
        self._at_once = at_once
        self._max_waiting = max_waiting
        self._grace_seconds = grace_seconds
        self._limit_seconds = limit_seconds
        self._waiting: FairQueue[Entry] = FairQueue(newcomers_first=True)
        self._receiving: OrderedDict[Entry, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls whose message is not being received yet."""
        return len(self._waiting)

    def enter(
        self,
        call: ServerCall,
        client: Client,
        then: Callable[[bytes | None], None],
        refuse: Callable[[VcfragError], None],
    ) -> None:
        """Receives the call's next message when it is its turn; `then` or `refuse` is called, once."""
        entry = Entry(call, client, then, refuse)
        leaving: Entry | None = None
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                leaving = self._waiting.give_way(client) or entry
            if leaving is not entry:
                self._waiting.push(client, entry)
        if leaving is not None:
            leaving.refuse(OverloadedError(f"{self._max_waiting} calls wait to be received already"))
        if leaving is entry:
            return
        call.when_over(lambda: self._withdraw(entry))
        self._go_on()
        # The clock may be late where the machine has much to do.
        self._refuse_slow()

    def tick(self) -> None:
        """Lets go of messages that take too long."""
        now = time.monotonic()
        with self._lock:
            late = _leave(entry for entry in self._receiving if now - entry.since > self._limit_seconds)
            never = [entry for entry in self._waiting if now - entry.since > self._limit_seconds]
            for entry in never:
                self._waiting.discard(entry.client, entry)
        for entry in late:
            entry.refuse(DeadlineError(f"the message did not arrive within {now - entry.since:.1f} s"))
        for entry in never:
            entry.refuse(OverloadedError(f"the message was not received within {now - entry.since:.1f} s"))
        self._refuse_slow()

    def _refuse_slow(self) -> None:
        """Those that keep others waiting leave."""
        if not len(self._waiting):
            return
        now = time.monotonic()
        with self._lock:
            slow = [entry for entry in self._receiving if entry.heard_seconds(now) > self._grace_seconds]
            slow = _leave(slow[: len(self._waiting)])
        for entry in slow:
            entry.refuse(OverloadedError(f"the message took {now - entry.since:.1f} s while others waited"))

    def _go_on(self) -> None:
        with self._lock:
            starting = []
            while len(self._receiving) < self._at_once and len(self._waiting):
                entry = self._waiting.pop()
                entry.since = time.monotonic()
                self._receiving[entry] = None
                starting.append(entry)
        for entry in starting:
            self._start(entry)

    def _start(self, entry: Entry) -> None:
        entry.call.receive(lambda data: self._take(entry, data))

    def _take(self, entry: Entry, data: bytes | None) -> None:
        with self._lock:
            self._receiving.pop(entry, None)
        self._go_on()
        entry.then(data)

    def _withdraw(self, entry: Entry) -> None:
        with self._lock:
            waited = self._waiting.discard(entry.client, entry)
        if waited:
            entry.then(None)


def _leave(entries: Iterable[Entry]) -> list[Entry]:
    """Those of them that have not been told to leave, which now they have."""
    leaving = [entry for entry in entries if not entry.refused]
    for entry in leaving:
        entry.refused = True
    return leaving
