"""The process of `vcfrag-indexd serve`: signals in, exit code out."""

from __future__ import annotations

import signal
import threading

from vcfrag_core.errors import VcfragError
from vcfrag_indexd import logs
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.serving.server import Daemon

EXIT_OK = 0


def serve_until_signalled(config: ServeConfig) -> int:
    """Serves until SIGTERM or SIGINT, then drains; the log says so if work had to be cut off.

    Raises:
        VcfragError: It cannot be served.
    """
    logs.configure(config.log)
    wanted = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wanted.set())
    daemon = Daemon(config)
    daemon.start()
    failure = _wait(daemon, wanted)
    if failure is not None:
        daemon.stop()
        raise failure
    daemon.drain()
    return EXIT_OK


def _wait(daemon: Daemon, wanted: threading.Event) -> VcfragError | None:
    while not wanted.wait(0.2):
        if daemon.failure is not None:
            return daemon.failure
    return None
