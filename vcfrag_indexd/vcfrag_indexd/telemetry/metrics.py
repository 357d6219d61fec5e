"""Prometheus metrics on a port of their own: the one module that imports prometheus_client."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vcfrag_core.errors import ConfigError
from vcfrag_core.search.engine import Usage
from vcfrag_indexd import __version__
from vcfrag_indexd.service.admission import Load
from vcfrag_indexd.telemetry.scraping import ScrapeServer
from vcfrag_proto.channel import split_address

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


GAUGES = {
    "vcfrag_serving": "1 while health says SERVING.",
    "vcfrag_open_calls": "Calls that have begun and not ended.",
    "vcfrag_replies_in_transit": "Replies that their peers have not taken yet.",
    "vcfrag_open_index_bytes": "Held for open indexes beside what is built of them.",
}


class Metrics:
    """Counts what happens; asks for what is held when it is scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server: ScrapeServer | None = None
        ProcessCollector(registry=self.registry)
        build = Info("vcfrag_build", "What runs.", registry=self.registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._started = self._counter("vcfrag_rpc_started", "Calls begun.", "method")
        self._handled = self._counter("vcfrag_rpc_handled", "Calls ended, by status code.", "method", "code")
        self._refused = self._counter("vcfrag_refusals", "Calls refused, by reason.", "reason")
        self._queries = self._counter("vcfrag_queries", "Query haplotypes answered.")
        self._seconds = self._histogram("vcfrag_rpc_seconds", "From a call's start to its end.", "method", "code")
        self._queue = self._histogram("vcfrag_queue_seconds", "Waiting for the engine.")
        self._search = self._histogram("vcfrag_search_seconds", "Searching, building included.")
        self._build = self._histogram("vcfrag_build_seconds", "Building segment indexes within a search.")

    def call_started(self, method: str) -> None:
        self._started.labels(method).inc()

    def call_finished(self, method: str, code: str, reason: str, seconds: float) -> None:
        self._handled.labels(method, code).inc()
        self._seconds.labels(method, code).observe(seconds)
        if reason:
            self._refused.labels(reason).inc()

    def searched(self, n_queries: int, queue_seconds: float, search_seconds: float, build_seconds: float) -> None:
        self._queries.inc(n_queries)
        self._queue.observe(queue_seconds)
        self._search.observe(search_seconds)
        self._build.observe(build_seconds)

    def watch(
        self,
        usage: Callable[[], Usage],
        devices: Callable[[], tuple[str, ...]],
        load: Callable[[], Load],
        gauges: Mapping[str, Callable[[], float]],
    ) -> None:
        """Names what is asked at every scrape.

        Args:
            usage: Of the engine.
            devices: Of the engine.
            load: What is admitted.
            gauges: Anything else, by the names of `GAUGES`.
        """
        self.registry.register(_Held(usage, devices, load, gauges))

    def listen(self, address: str) -> str:
        """Serves the metrics over HTTP; HOST:PORT, with the port that was got.

        Raises:
            ConfigError: The port is taken.
        """
        host, port = split_address(address, "metrics_listen")
        try:
            self._server = ScrapeServer(host, port, make_wsgi_app(self.registry))
        except OSError as error:
            raise ConfigError(f"cannot listen on {address} for metrics: {error.strerror}") from error
        return f"{host}:{self._server.port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=SECONDS, registry=self.registry)


class _Held(Collector):
    """Gauges that are true at the moment of the scrape."""

    def __init__(
        self,
        usage: Callable[[], Usage],
        devices: Callable[[], tuple[str, ...]],
        load: Callable[[], Load],
        gauges: Mapping[str, Callable[[], float]],
    ) -> None:
        self._usage, self._devices, self._load, self._gauges = usage, devices, load, gauges

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        usage, load = self._usage(), self._load()
        device = ",".join(self._devices())
        used = GaugeMetricFamily("vcfrag_index_bytes", "Held by segment indexes and searches.", labels=["device"])
        used.add_metric([device], usage.used_bytes)
        yield used
        for name, text, value in (
            ("vcfrag_index_budget_bytes", "The memory budget.", usage.budget_bytes),
            ("vcfrag_index_peak_bytes", "The most that was held at once.", usage.peak_bytes),
            ("vcfrag_open_indexes_held", "Open indexes of which something is built.", len(usage.holdings)),
            ("vcfrag_queue_calls", "Admitted calls.", load.calls),
            ("vcfrag_queue_work", "Admitted queries x segments x k.", load.work),
            ("vcfrag_queue_bytes", "Admitted bytes of requests and replies.", load.n_bytes),
            *((name, text, float(self._gauges[name]())) for name, text in GAUGES.items()),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, total in (
            ("vcfrag_segment_builds", "Segment indexes built.", usage.builds),
            ("vcfrag_segment_evictions", "Segment indexes dropped for room.", usage.evictions),
            ("vcfrag_worker_restarts", "Engine workers started again.", usage.restarts),
        ):
            yield CounterMetricFamily(name, text, value=total)
