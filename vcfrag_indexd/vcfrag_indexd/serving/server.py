"""A daemon: ports, health, panels read in the background, and the way out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from vcfrag_core.errors import UnavailableError, VcfragError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.engines.create import engine_for_daemon
from vcfrag_indexd.logs import get_log
from vcfrag_indexd.security.authorizer import Authorizer
from vcfrag_indexd.security.certificates import Certificates
from vcfrag_indexd.security.exposure import warnings_of
from vcfrag_indexd.service.service import IndexService
from vcfrag_indexd.serving.health import HEALTH_SERVICE, LIVE, Health
from vcfrag_indexd.serving.loading import PanelLoader
from vcfrag_indexd.serving.ports import ProbePort, ServicePort, bind
from vcfrag_indexd.serving.readiness import Readiness
from vcfrag_indexd.serving.reflection import REFLECTION_SERVICE, Reflection
from vcfrag_indexd.serving.rpc import SERVICE_NAME, IndexRpc
from vcfrag_indexd.telemetry.metrics import Metrics
from vcfrag_indexd.telemetry.tracing import Tracer
from vcfrag_indexd.threads import Supervised
from vcfrag_indexd.transport.sockets import unsent_bytes
from vcfrag_proto.channel import split_address

TICK_SECONDS = 0.025
STOP_SECONDS = 5.0
log = get_log()


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
        self.failure: VcfragError | None = None
        given = dict(panels or {})
        self._loader = PanelLoader(given, config.panels, cache_dir=config.cache_dir, take=self._take, fail=self._fail)
        self._certificates = Certificates(config.security)
        self._authorizer = Authorizer.of(config.security)
        self._warnings = warnings_of(config)
        self.health = Health()
        self.engine = engine or _engine_of(config)
        self.metrics = Metrics()
        self._tracer = Tracer(config.otlp_endpoint)
        self.service = IndexService(self.engine, config.limits, on_search=self.metrics.searched)
        self.rpc = IndexRpc(self.service, self._authorizer, tracer=self._tracer, observer=self.metrics)
        reflection = Reflection((SERVICE_NAME, HEALTH_SERVICE, REFLECTION_SERVICE), self._authorizer)
        self._port = ServicePort(config, self.rpc, self.health, reflection)
        self._probes = ProbePort(self.health) if config.health_listen is not None else None
        self._readiness = Readiness(self.service, self.rpc.searching, self.health, self.alive)
        self._stopped = False
        self._threads = [
            Supervised("clock", self._tick),
            Supervised("load", self._loader.load),
            Supervised("watch", self._readiness.watch),
        ]
        self.address = self.health_address = self.metrics_address = ""
        for name in ("", SERVICE_NAME, LIVE, *(f"panel/{name}" for name in (*config.panels, *given))):
            self.health.set(name, name == LIVE)
        for name in (*config.panels, *given):
            self.service.registry.expect_panel(name)

    def start(self) -> None:
        """Opens the ports and begins to read panels; health says NOT_SERVING until they are there.

        Raises:
            ConfigError: A port is taken.
        """
        self.address = bind(self._port.transport, self.config.listen, self._certificates.credentials())
        if self._probes is not None and self.config.health_listen is not None:
            self.health_address = bind(self._probes.transport, self.config.health_listen)
            self._probes.transport.start()
        self._start_metrics()
        self.rpc.start()
        self._port.transport.start()
        log.info(
            "listening",
            address=self.address,
            health_address=self.health_address,
            metrics_address=self.metrics_address,
            engine=self.engine.name,
            devices=self.engine.devices,
        )
        for warning in self._warnings:
            log.warning(warning)
        for thread in self._threads:
            thread.start()

    def wait_ready(self, timeout_seconds: float | None = None) -> None:
        """Waits until health says SERVING.

        Raises:
            VcfragError: A panel could not be read.
            UnavailableError: Not in time.
        """
        ready = self._readiness.ready.wait(timeout_seconds)
        if self.failure is not None:
            raise self.failure
        if not ready:
            raise UnavailableError(f"the daemon is not ready after {timeout_seconds} s")

    def alive(self) -> bool:
        """Whether every thread that it needs lives."""
        transports = [self._port.transport, *([self._probes.transport] if self._probes is not None else [])]
        return (
            self.rpc.alive()
            and all(thread.alive() for thread in self._threads)
            and all(transport.alive() for transport in transports)
        )

    def reload(self) -> None:
        """Reads tokens and certificates again; those that cannot be used are left as they were, and the log says so."""
        reloads: dict[str, Callable[[], None]] = {
            "tokens": lambda: self._authorizer.reload(self.config.security),
            "certificates": self._certificates.reload,
        }
        for what, reload in reloads.items():
            try:
                reload()
            except VcfragError as error:
                log.error(f"the {what} stay as they were", reason=error.reason, error=str(error))
            else:
                log.info(f"{what} read again")

    def drain(self) -> bool:
        """NOT_SERVING, then no new work, then the work in flight; whether all of it was finished and taken in time."""
        log.info("draining", calls=self.service.admission.load.calls)
        self.health.leave()
        time.sleep(self.config.drain.settle_seconds)
        limit = time.monotonic() + self.config.drain.limit_seconds
        self.service.admission.drain()
        finished = self.service.admission.wait_idle(self.config.drain.limit_seconds) and self._wait_sent(limit)
        log.info("drained", finished=finished, calls_cut_off=self.service.admission.load.calls)
        self.stop()
        return finished

    def stop(self) -> None:
        """Closes the ports and frees everything."""
        if self._stopped:
            return
        self._stopped = True
        self._readiness.stop()
        self.health.leave()
        self.service.admission.drain()
        self._port.transport.stop()
        if self._probes is not None:
            self._probes.transport.stop()
        for thread in self._threads:
            thread.stop(STOP_SECONDS)
        self.rpc.close()
        self.metrics.close()
        self._tracer.close()
        self.engine.shutdown()

    def _wait_sent(self, limit: float) -> bool:
        """Waits until the kernel has delivered what peers are still to read."""
        port = split_address(self.address)[1]
        while unsent_bytes(port):
            if time.monotonic() >= limit:
                return False
            time.sleep(TICK_SECONDS)
        return True

    def _start_metrics(self) -> None:
        self.metrics.watch(
            self.engine.usage,
            lambda: self.engine.devices,
            lambda: self.service.admission.load,
            {
                "vcfrag_serving": self.health.serving,
                "vcfrag_open_calls": lambda: self._port.transport.open_calls,
                "vcfrag_replies_in_transit": lambda: self.rpc.replies_on_their_way,
                "vcfrag_open_index_bytes": lambda: self.service.registry.n_bytes,
            },
        )
        if self.config.metrics_listen is not None:
            self.metrics_address = self.metrics.listen(self.config.metrics_listen)

    def _tick(self) -> None:
        while not self._stopped:
            self.rpc.tick()
            self._port.tick()
            if self._probes is not None:
                self._probes.tick()
            time.sleep(TICK_SECONDS)

    def _take(self, name: str, panel: Panel) -> None:
        self.service.add_panel(name, panel)
        self.health.set(f"panel/{name}", True)

    def _fail(self, error: VcfragError) -> None:
        self.failure = error
        self._readiness.ready.set()


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
        budget_bytes=config.limits.engine_bytes,
        worker=config.engine.worker,
        hang_seconds=config.engine.worker_hang_seconds,
        devices=config.engine.devices,
        device_bytes=config.limits.device_budget_bytes,
    )
