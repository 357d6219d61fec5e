"""What it is to be asked to end: Ctrl-C, or a signal that means the same."""

from __future__ import annotations

import signal


class Terminated(KeyboardInterrupt):
    """A signal asked for the end, of which Ctrl-C is another.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int, *words: str) -> None:
        super().__init__(*words)
        self.number = number


def status_of(stopped: KeyboardInterrupt) -> int:
    """The exit status by convention: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (stopped.number if isinstance(stopped, Terminated) else signal.SIGINT)
