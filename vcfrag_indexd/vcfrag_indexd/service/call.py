"""One call as the service sees it: whose it is, and whether it is still wanted."""

from __future__ import annotations

import dataclasses
import threading
import time

from vcfrag_core.errors import DeadlineError, UnavailableError


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Who takes turns: machines first, then the connections of each.

    Attributes:
        host: Its machine.
        connection: The connection, which one process may have several of.
    """

    host: str
    connection: str

    @classmethod
    def of(cls, peer: str) -> Client:
        """The client behind gRPC's name of a peer, such as `ipv4:127.0.0.1:40312`."""
        return cls(peer.rpartition(":")[0], peer)


ITSELF = Client("the daemon", "the daemon")


@dataclasses.dataclass(eq=False)
class Call:
    """One call's right to go on.

    Attributes:
        deadline: `time.monotonic` value after which nobody waits for the answer; None for none.
        request_id: Names the call in logs.
        progressed: `time.monotonic` value of its last checkpoint.
    """

    deadline: float | None = None
    request_id: str = ""
    progressed: float = 0.0
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
        self.progressed = time.monotonic()
        if self._cancelled.is_set():
            raise UnavailableError("the call was cancelled")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineError("the deadline passed before the search was done")
