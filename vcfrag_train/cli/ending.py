"""How a command ends that is asked to end: as after Ctrl-C, with what it had begun cleared away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

from vcfrag_train.ended import Terminated

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does; the second one ends the process at once.

    Who started the process may have it ignore them, as `nohup` does, and it does.
    """
    taken = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    for other in _SIGNALS:
        if signal.getsignal(other) == _end:
            signal.signal(other, signal.SIG_DFL)
    raise Terminated(number)
