"""The process of `vcfrag-indexd serve`: signals in, exit code out."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from vcfrag_core.errors import VcfragError
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.memory import return_freed_memory
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.transport.sockets import raise_descriptor_limit

EXIT_OK = 0
EXIT_CUT_OFF = 1
EXIT_REFUSED = 2
LOOK_SECONDS = 0.2
# How long a thread that computes in Python keeps those waiting that answer what comes in: a tenth of Python's own.
SWITCH_SECONDS = 0.0005


def serve_until_signalled(config: ServeConfig) -> int:
    """Serves until SIGTERM or SIGINT, then drains; a second one ends at once, SIGHUP reads tokens and certificates.

    Raises:
        VcfragError: It cannot be served.
    """
    raise_descriptor_limit()
    return_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    signals = _Signals()
    daemon = Daemon(config)
    daemon.start()
    failure = _wait(daemon, signals)
    if failure is not None:
        daemon.stop()
        raise failure
    daemon.drain()
    return EXIT_OK


class _Signals:
    """What the process was told."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.reload = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGHUP, lambda *_: self.reload.set())

    def _leave(self, number: int, frame: FrameType | None) -> None:
        if self.leave.is_set():
            # Nothing that could wait: the operator has waited.
            os._exit(EXIT_CUT_OFF)
        self.leave.set()


def _wait(daemon: Daemon, signals: _Signals) -> VcfragError | None:
    while not signals.leave.wait(LOOK_SECONDS):
        if daemon.failure is not None:
            return daemon.failure
        if signals.reload.is_set():
            signals.reload.clear()
            daemon.reload()
    return None
