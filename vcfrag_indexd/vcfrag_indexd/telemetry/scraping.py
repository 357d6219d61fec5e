"""An HTTP port for metrics: a few connections at once, each for a few seconds, whoever it is that does not speak."""

from __future__ import annotations

import contextlib
import queue
import socket
import socketserver
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from vcfrag_indexd.threads import Supervised

MOST_CONNECTIONS = 8
CONNECTION_SECONDS = 5.0
LOOK_SECONDS = 0.25
STOP_SECONDS = 5.0

Application = Callable[..., Iterable[bytes]]


class ScrapeServer:
    """Serves one application.

    Args:
        host: Where to listen.
        port: The port; 0 lets the kernel choose.
        application: Answers.

    Raises:
        OSError: Nobody can listen there.
    """

    def __init__(self, host: str, port: int, application: Application) -> None:
        kind = _Server6 if ":" in host else _Server
        self._server = kind((host.strip("[]"), port), _Handler)
        self._server.set_app(application)
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), name="vcfrag-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)


class _Server(WSGIServer):
    """A thread for each of a few connections, of which the oldest is closed for the one that would be too many."""

    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._open: OrderedDict[socket.socket, float] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[Any, Any] | None] = queue.Queue()
        super().__init__(*arguments)
        for i in range(MOST_CONNECTIONS):
            Supervised(f"metrics-{i}", self._work).start()

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the resolver for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._open) >= MOST_CONNECTIONS:
                _break(self._open.popitem(last=False)[0])
            self._open[request] = time.monotonic()
        self._waiting.put((request, client_address))

    def _work(self) -> None:
        while (taken := self._waiting.get()) is not None:
            request, client_address = taken
            try:
                self.finish_request(request, client_address)
            except OSError:
                """A peer that goes away is no news."""
            finally:
                self.shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for _ in range(MOST_CONNECTIONS):
            self._waiting.put(None)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        with self._lock:
            late = [r for r, since in self._open.items() if time.monotonic() - since > CONNECTION_SECONDS]
            for request in late:
                del self._open[request]
                _break(request)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        """Scrapes are no news, either."""


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
