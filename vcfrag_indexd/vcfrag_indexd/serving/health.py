"""grpc.health.v1 on a pool of its own, and the canary whose known answer feeds readiness."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from vcfrag_core.errors import VcfragError
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.layout import Segment, SegmentLayout
from vcfrag_core.retrieval.order import nearest
from vcfrag_core.search.engine import Engine, IndexSource, SearchTask
from vcfrag_core.types import I32Array
from vcfrag_indexd.service.admission import Call
from vcfrag_indexd.serving.servicer import SERVICE_NAME

HEALTH_THREADS = 4
CANARY_SECONDS = 20.0
CANARY_SITES = 32
CANARY_SAMPLES = 24
CANARY_NEIGHBOURS = 5


class Health:
    """What the daemon says of itself: overall, for the service, and for every panel as `panel/NAME`."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="vcfrag-health")
        self._servicer = health.HealthServicer(experimental_non_blocking=True)
        self._known: dict[str, bool] = {}
        self._final = False
        for name in ("", SERVICE_NAME):
            self.set(name, False)

    def add_to(self, server: grpc.Server) -> None:
        """Answers Check and Watch on `server`, whatever its own pool is busy with."""
        health_pb2_grpc.add_HealthServicer_to_server(_OnPool(self._servicer, self.pool), server)

    def set(self, name: str, serving: bool) -> None:
        """Whether `name` can be used; nothing changes after `leave`."""
        if self._final or self._known.get(name) == serving:
            return
        self._known[name] = serving
        status = health_pb2.HealthCheckResponse
        self._servicer.set(name, status.SERVING if serving else status.NOT_SERVING)

    def serving(self, name: str = "") -> bool:
        return self._known.get(name, False) and not self._final

    def leave(self) -> None:
        """NOT_SERVING for good."""
        self._final = True
        self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Bound:
    """A method with the pool that gRPC shall run it on; gRPC looks for these two attributes."""

    def __init__(self, method: Callable[..., Any], pool: ThreadPoolExecutor, non_blocking: bool) -> None:
        self._method = method
        self.experimental_thread_pool = pool
        self.experimental_non_blocking = non_blocking

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)


class _OnPool(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    # grpc_health keeps the pool on the class, where one server's would replace another's; so it is bound here.
    def __init__(self, servicer: health.HealthServicer, pool: ThreadPoolExecutor) -> None:
        self.Check = _Bound(servicer.Check, pool, non_blocking=False)
        self.Watch = _Bound(servicer.Watch, pool, non_blocking=True)


class Canary:
    """A search in a small fixed panel whose answer the oracle gave."""

    HANDLE = "canary"

    def __init__(self) -> None:
        rng = np.random.Generator(np.random.Philox(20))
        haplotypes = rng.integers(0, 2, size=(2 * CANARY_SAMPLES, CANARY_SITES), dtype=np.uint8)
        panel = Panel.from_haplotypes(haplotypes)
        observed = np.ones(CANARY_SITES, dtype=np.bool_)
        steps = np.full(CANARY_SITES, 1024, dtype=np.int32)
        rows = np.arange(len(haplotypes), dtype=np.int32)
        keys = haplotype_keys(panel)
        self.source = IndexSource(
            handle=self.HANDLE,
            panel_name=self.HANDLE,
            packed=panel.packed,
            rows=rows,
            keys=keys,
            observed=observed,
            steps=steps,
            layout=SegmentLayout(n_sites=CANARY_SITES, lengths=(CANARY_SITES,)),
        )
        self._task = SearchTask(
            start=0,
            stop=CANARY_SITES,
            k=CANARY_NEIGHBOURS,
            alleles=haplotypes[:1],
            called=np.ones((1, CANARY_SITES), dtype=np.uint8),
            excluded=np.zeros(0, dtype=np.int64),
            excluded_starts=np.zeros(2, dtype=np.int64),
        )
        self._expected: I32Array = nearest(
            haplotypes[0].astype(np.int8),
            haplotypes,
            ids=rows,
            keys=keys,
            observed=observed,
            steps=steps,
            offset=0,
            segment=Segment(0, 0, CANARY_SITES),
            enclosing=(0, CANARY_SITES),
            k=CANARY_NEIGHBOURS,
        )[0]

    def passes(self, engine: Engine, call: Call) -> bool:
        """Whether the engine gives the known answer now."""
        try:
            engine.open(self.source)
            answer = engine.search(self.HANDLE, self._task, call.checkpoint)
        except VcfragError:
            return False
        return bool(np.array_equal(answer.result.ids[0, 0], self._expected))
