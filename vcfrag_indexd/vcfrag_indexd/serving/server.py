"""A daemon: ports, health, panels read in the background, and the way out."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection

from vcfrag_core.errors import ConfigError, UnavailableError, VcfragError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.engines.create import engine_for_daemon
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.service.admission import Call
from vcfrag_indexd.service.service import IndexService
from vcfrag_indexd.serving.health import CANARY_SECONDS, Canary, Health
from vcfrag_indexd.serving.metrics import Metrics
from vcfrag_indexd.serving.security import Gate, server_credentials
from vcfrag_indexd.serving.servicer import SERVICE_NAME, IndexServicer
from vcfrag_indexd.serving.tracing import Tracer
from vcfrag_proto.channel import split_address
from vcfrag_proto.status import MAX_MESSAGE_BYTES

SPARE_THREADS = 32
WATCH_SECONDS = 0.5
CANARY_EVERY_SECONDS = 30.0
PROGRESS_SECONDS = 2.0
log = get_log()

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class Daemon:
    """Everything that runs, from the ports to the engine; `start`, then `drain` or `stop`.

    Args:
        config: What to serve.
        panels: Panels that are in memory already, by name; served beside those of the configuration.
        engine: Used instead of the configured one.

    Raises:
        ConfigError: The configuration cannot be served (no panel, a file that is missing, no such engine).
    """

    def __init__(
        self, config: ServeConfig, *, panels: Mapping[str, Panel] | None = None, engine: Engine | None = None
    ) -> None:
        self.config = config
        self._given = dict(panels or {})
        _check_panels(config.panels, self._given)
        self.health = Health()
        self.engine = engine or _engine_of(config)
        self.metrics = Metrics()
        self._tracer = Tracer(config.otlp_endpoint)
        self.service = IndexService(self.engine, config.limits, on_search=self.metrics.searched)
        self.failure: VcfragError | None = None
        self._canary = Canary()
        self._canary_passed = False
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._address = ""
        self._server = self._make_server()
        self._health_server: grpc.Server | None = None
        self.health_address = ""
        self.metrics_address = ""
        self._threads: list[threading.Thread] = []
        for name in [*config.panels, *self._given]:
            self.service.registry.expect_panel(name)
            self.health.set(f"panel/{name}", False)

    @property
    def address(self) -> str:
        """HOST:PORT that the service listens on."""
        return self._address

    def start(self) -> None:
        """Opens the ports and begins to read panels; health says NOT_SERVING until they are there.

        Raises:
            ConfigError: A port is taken.
        """
        self._address = _bind(self._server, self.config.listen, server_credentials(self.config.security))
        if self.config.health_listen is not None:
            self._health_server = grpc.server(self.health.pool, options=SERVER_OPTIONS)
            self.health.add_to(self._health_server)
            self.health_address = _bind(self._health_server, self.config.health_listen, None)
            self._health_server.start()
        self._start_metrics()
        self._server.start()
        log.info("listening", address=self._address, engine=self.engine.name, devices=self.engine.devices)
        for target in (self._load_panels, self._watch):
            thread = threading.Thread(target=target, name=f"vcfrag-{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait_ready(self, timeout_seconds: float | None = None) -> None:
        """Waits until health says SERVING.

        Raises:
            VcfragError: A panel could not be read.
            UnavailableError: Not in time.
        """
        ready = self._ready.wait(timeout_seconds)
        if self.failure is not None:
            raise self.failure
        if not ready:
            raise UnavailableError(f"the daemon is not ready after {timeout_seconds} s")

    def drain(self) -> bool:
        """NOT_SERVING, then no new work, then the work in flight; whether all of it was finished in time."""
        self.health.leave()
        time.sleep(self.config.drain.settle_seconds)
        self.service.admission.drain()
        finished = self.service.admission.wait_idle(self.config.drain.limit_seconds)
        log.info("drained", finished=finished)
        self.stop(grace_seconds=1.0 if finished else 0.0)
        return finished

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Closes the ports and frees everything."""
        self._stopping.set()
        self.health.leave()
        self.service.admission.drain()
        self._server.stop(grace_seconds).wait(grace_seconds + 5.0)
        if self._health_server is not None:
            self._health_server.stop(0).wait(5.0)
        for thread in self._threads:
            thread.join(5.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.health.close()
        self.metrics.close()
        self._tracer.close()
        self.engine.shutdown()

    def _make_server(self) -> grpc.Server:
        n_threads = self.config.limits.max_queued_calls + SPARE_THREADS
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="vcfrag-rpc")
        server = grpc.server(self._pool, options=SERVER_OPTIONS)
        servicer = IndexServicer(
            self.service,
            Gate.of(self.config.security),
            tracer=self._tracer,
            on_start=self.metrics.call_started,
            on_finish=self.metrics.call_finished,
        )
        server.add_generic_rpc_handlers((servicer.handler(),))
        self.health.add_to(server)
        names = (SERVICE_NAME, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        return server

    def _start_metrics(self) -> None:
        self.metrics.watch(
            self.engine.usage, lambda: self.engine.devices, lambda: self.service.admission.load, self.health.serving
        )
        if self.config.metrics_listen is not None:
            self.metrics_address = self.metrics.listen(self.config.metrics_listen)

    def _load_panels(self) -> None:
        try:
            for name, panel in self._given.items():
                self._take(name, panel)
            for name, path in self.config.panels.items():
                log.info("reading panel", panel=name, file=str(path))
                self._take(name, self._read(name, path))
        except VcfragError as error:
            log.error("a panel cannot be served", reason=error.reason, error=str(error))
            self.failure = error
            self._ready.set()

    def _read(self, name: str, path: Path) -> Panel:
        from vcfrag_core.files.panel.cache import load_panel

        said = time.monotonic()

        def progress(n_records: int) -> None:
            nonlocal said
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                log.info("reading panel", panel=name, records=n_records)

        return load_panel(path, cache_dir=self.config.cache_dir, progress=progress)

    def _take(self, name: str, panel: Panel) -> None:
        self.service.add_panel(name, panel)
        log.info("panel ready", panel=name, sites=panel.n_sites, samples=panel.n_samples, contig=panel.contig)
        self.health.set(f"panel/{name}", True)

    def _watch(self) -> None:
        """Keeps health true: panels read, engine alive, canary answered."""
        next_canary, restarts = 0.0, 0
        while not self._stopping.is_set():
            alive, before = self.engine.available(), restarts
            restarts = self.engine.usage().restarts
            # A worker that went and came between two looks is news, too: Watch shall see every change.
            self._canary_passed = self._canary_passed and alive and restarts == before
            self._set_serving(self._canary_passed)
            due = time.monotonic() >= next_canary and self.service.admission.load.calls == 0
            if alive and (not self._canary_passed or due):
                self._canary_passed = self._try_canary()
                next_canary = time.monotonic() + CANARY_EVERY_SECONDS
            self._set_serving(alive and self._canary_passed)
            self._stopping.wait(WATCH_SECONDS if self._ready.is_set() else WATCH_SECONDS / 50)

    def _try_canary(self) -> bool:
        call = Call(deadline=time.monotonic() + CANARY_SECONDS, request_id="canary")
        try:
            with self.service.admission.enter(call, work=0, n_bytes=0):
                return self._canary.passes(self.engine, call)
        except VcfragError:
            return self._canary_passed

    def _set_serving(self, working: bool) -> None:
        serving = working and all(held is not None for held in self.service.registry.panels().values())
        self.health.set("", serving)
        self.health.set(SERVICE_NAME, serving)
        if serving:
            self._ready.set()


@contextlib.contextmanager
def running(
    config: ServeConfig,
    *,
    panels: Mapping[str, Panel] | None = None,
    engine: Engine | None = None,
    ready_within_seconds: float = 300.0,
) -> Iterator[Daemon]:
    """A daemon that is ready, stopped at the end of the block.

    Raises:
        VcfragError: It cannot be served.
    """
    daemon = Daemon(config, panels=panels, engine=engine)
    try:
        daemon.start()
        daemon.wait_ready(ready_within_seconds)
        yield daemon
    finally:
        daemon.stop()


def _engine_of(config: ServeConfig) -> Engine:
    return engine_for_daemon(
        config.engine.name,
        threads=config.engine.threads,
        budget_bytes=config.limits.memory_budget_bytes,
        worker=config.engine.worker,
        hang_seconds=config.engine.worker_hang_seconds,
    )


def _check_panels(files: Mapping[str, Path], given: Mapping[str, Panel]) -> None:
    if not files and not given:
        raise ConfigError("no panel: give at least one --panel NAME=FILE")
    both = sorted(set(files) & set(given))
    if both:
        raise ConfigError(f"panel {both[0]!r} is given twice")
    for name, path in files.items():
        if not Path(path).is_file():
            raise ConfigError(f"panel {name!r}: there is no file {path}")


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    host, wanted = split_address(address)
    _check_free(host, wanted)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: is the port taken, is the host one of this machine?") from error
    if port == 0:
        raise ConfigError(f"cannot listen on {address}: is the port taken, is the host one of this machine?")
    return f"{host}:{port}"


def _check_free(host: str, port: int) -> None:
    """Asks the system itself, whose answer is clearer than gRPC's.

    Raises:
        ConfigError: Nobody can listen there.
    """
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): is the port taken, is the host one of this machine?"
        ) from error
