"""Waiting for a daemon that is not there yet, or still reads its panels: never in silence, and not for ever."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable

from vcfrag_core.errors import DeadlineError, InternalError, UnavailableError
from vcfrag_proto.channel import unreachable
from vcfrag_train.client.calls import RETRIED
from vcfrag_train.client.client import DaemonInfo, IndexClient
from vcfrag_train.client.environment import PREFIX, seconds_of

CONNECT_SECONDS = 30.0
LOAD_SECONDS = 1800.0
ATTEMPT_SECONDS = 1.0
POLL_SECONDS = 0.2
NOTICE_SECONDS = 2.0
NOTICE_EVERY_SECONDS = 60.0
_log = logging.getLogger(__name__)


def wait_until_answering(address: str) -> None:
    """Waits until a daemon answers; says so where that takes long.

    Raises:
        UnavailableError: It does not within what VCFRAG_DAEMON_CONNECT_SECONDS says, 30 s if that is not set.
        ConfigError: The address is not HOST:PORT, or the environment names no number of seconds.
        AuthenticationError: It wants a token.
    """
    _Waiting(address).answer()


def wait_until_ready(address: str, wanted: Callable[[str, str], bool]) -> DaemonInfo:
    """Waits until a daemon answers and has read a wanted panel, or all that it has; returns what it says of itself.

    Args:
        address: HOST:PORT.
        wanted: Told the name and the digest of a panel that has been read.

    Raises:
        UnavailableError: It does not answer in time, or still reads after what VCFRAG_DAEMON_LOAD_SECONDS says,
            1800 s if that is not set.
        ConfigError, AuthenticationError: As `wait_until_answering`.
    """
    return _Waiting(address).ready(wanted)


class _Waiting:
    def __init__(self, address: str) -> None:
        self._address = address
        self._connect_seconds = seconds_of(os.environ, "CONNECT", CONNECT_SECONDS)
        self._load_seconds = seconds_of(os.environ, "LOAD", LOAD_SECONDS)
        self._said = ("", -math.inf)

    def answer(self) -> DaemonInfo:
        with IndexClient(self._address, timeout_seconds=min(ATTEMPT_SECONDS, self._connect_seconds)) as client:
            return self._info(client)

    def ready(self, wanted: Callable[[str, str], bool]) -> DaemonInfo:
        started = time.monotonic()
        while True:
            info = self.answer()
            unread = sorted(name for name, digest in info.panels.items() if not digest)
            if not unread or any(digest and wanted(name, digest) for name, digest in info.panels.items()):
                return info
            reading = f"the daemon at {self._address} is still reading {', '.join(unread)}"
            if time.monotonic() - started >= self._load_seconds:
                raise UnavailableError(
                    f"{reading} after {self._load_seconds:g} s ({PREFIX}LOAD_SECONDS): try again when"
                    f" `vcfrag-indexd health --address {self._address}` says SERVING"
                )
            self._say(f"{reading}; waiting up to {self._load_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def _info(self, client: IndexClient) -> DaemonInfo:
        started = time.monotonic()
        while True:
            try:
                return client.info()
            except (*RETRIED, DeadlineError) as error:
                last = error
            except InternalError as error:
                # Something else speaks gRPC there.
                raise (unreachable(self._address, error) if "UNIMPLEMENTED" in str(error) else error) from None
            waited = time.monotonic() - started
            if waited >= self._connect_seconds:
                nobody = last if isinstance(last, UnavailableError) else unreachable(self._address, last)
                raise UnavailableError(f"{nobody}; waited {self._connect_seconds:g} s ({PREFIX}CONNECT_SECONDS)")
            if waited >= NOTICE_SECONDS:
                self._say(f"no daemon answers at {self._address} yet; waiting up to {self._connect_seconds:g} s")
            time.sleep(min(POLL_SECONDS, self._connect_seconds))

    def _say(self, line: str) -> None:
        """Says a line when it is new, and again every minute."""
        now = time.monotonic()
        if line != self._said[0] or now - self._said[1] >= NOTICE_EVERY_SECONDS:
            self._said = (line, now)
            _log.warning("%s", line)
