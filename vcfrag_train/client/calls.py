"""Calls that are tried again where that helps: by reason, with backoff and jitter, within the caller's deadline."""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from vcfrag_core.errors import ConfigError, DeadlineError, DrainingError, OverloadedError, UnavailableError, VcfragError
from vcfrag_proto.channel import TlsConfig, open_channel, unreachable
from vcfrag_proto.status import REQUEST_ID_KEY, decode
from vcfrag_proto.v1 import index_pb2_grpc as rpc

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
NOTICE_SECONDS = 3.0
NOTICE_EVERY_SECONDS = 60.0
RETRIED = (UnavailableError, DrainingError, OverloadedError)
_log = logging.getLogger(__name__)


class Caller:
    """One stub per process, made at the first call, and the policy of retries.

    A process that was forked makes a channel of its own. When a daemon is away or going away, the next address
    takes over.

    Args:
        addresses: HOST:PORT of daemons that serve the same panels.
        tls: TLS towards them.
        token: Bearer token.
    """

    def __init__(self, addresses: Sequence[str], tls: TlsConfig | None, token: str | None) -> None:
        if not addresses:
            raise ConfigError("a client needs at least one address")
        self._addresses = tuple(addresses)
        self._tls = tls
        self._token = token
        self._channel: grpc.Channel | None = None
        self._made_stub: Any = None
        self._pid = -1
        self._turn = 0
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._quiet_until = -math.inf
        self._random = random.Random()

    def __getstate__(self) -> dict[str, Any]:
        return {"addresses": self._addresses, "tls": self._tls, "token": self._token}  # a channel stays where it is

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(Caller(**state)))

    def call(
        self, method: str, request: Any, timeout_seconds: float, *, repair: Callable[[VcfragError], bool] | None = None
    ) -> Any:
        """The reply; a streaming method's as a list.

        Args:
            method: Name of the rpc.
            request: Its message.
            timeout_seconds: For all attempts together.
            repair: Asked about an error that is not retried; true if it has been seen to and the call may go again.

        Raises:
            VcfragError: The refusal, typed; for lack of time, the last one, or DeadlineError.
        """
        started = time.monotonic()
        deadline = started + timeout_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            turn = self._turn
            try:
                return self._attempt(method, request, deadline - time.monotonic())
            except grpc.RpcError as failure:
                refusal = decode(failure)
            except ValueError:  # gRPC's word for a channel that was closed in the meantime
                self._check_open(method)
                if turn == self._turn:
                    raise
                continue  # another thread has gone on to the next address
            if not isinstance(refusal.error, RETRIED):
                if repair is None or not repair(refusal.error):
                    raise refusal.error
                continue
            wait = max(pause, refusal.retry_after_seconds or 0.0) * self._random.uniform(0.5, 1.0)
            now = time.monotonic()
            if now + wait >= deadline:
                raise refusal.error if refusal.answered else unreachable(self._address, refusal.error)
            if not isinstance(refusal.error, OverloadedError):
                if now - started >= NOTICE_SECONDS:
                    self._notice(refusal.error, deadline - now)
                self._next_address(turn)
            self._closed.wait(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Closes this process's channel, ends the calls under way, and refuses later ones."""
        with self._lock:
            self._closed.set()
            self._drop_channel()

    def _drop_channel(self) -> None:
        with self._lock:
            if self._channel is not None and self._pid == os.getpid():
                self._channel.close()
            self._channel = None

    def _check_open(self, method: str) -> None:
        # Nobody waits for the answer of a client that was closed; trying again would only hold its thread.
        if self._closed.is_set():
            raise UnavailableError(f"{method}: the client was closed")

    def _attempt(self, method: str, request: Any, seconds: float) -> Any:
        if seconds <= 0:
            raise DeadlineError(f"{method}: the deadline passed")
        metadata = [(REQUEST_ID_KEY, uuid.uuid4().hex)]
        if self._token is not None:
            metadata.append(("authorization", f"Bearer {self._token}"))
        reply = getattr(self._stub(method), method)(request, timeout=seconds, metadata=metadata)
        return list(reply) if isinstance(reply, Iterator) else reply

    def _stub(self, method: str) -> Any:
        with self._lock:
            self._check_open(method)
            if self._channel is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._channel = open_channel(self._address, self._tls)
                self._made_stub = rpc.IndexStub(self._channel)
            return self._made_stub

    @property
    def _address(self) -> str:
        return self._addresses[self._turn % len(self._addresses)]

    def _notice(self, error: VcfragError, seconds: float) -> None:
        """Says that a call is being tried again; every minute at most, however many threads wait."""
        with self._lock:
            if time.monotonic() < self._quiet_until:
                return
            self._quiet_until = time.monotonic() + NOTICE_EVERY_SECONDS
        why = str(error).rpartition("last error: ")[2]
        _log.warning("the daemon at %s is away (%s); trying again for up to %.0f s", self._address, why, seconds)

    def _next_address(self, turn: int) -> None:
        """Goes on from the address whose turn it was, unless another thread has."""
        with self._lock:
            if len(self._addresses) > 1 and turn == self._turn:
                self._drop_channel()
                self._turn += 1
