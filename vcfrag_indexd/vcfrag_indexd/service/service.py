"""The daemon's work, without gRPC and without a wire: open, prepare, search, list, close, inform."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Callable, Sequence
from importlib import metadata

from vcfrag_core.errors import OutOfBudgetError, RangeError, UnavailableError, VcfragError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.consistency import check_range, check_search
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.cache import Holding
from vcfrag_core.search.engine import Answer, Engine
from vcfrag_core.search.index import HeldPanel, OpenIndex, search_task
from vcfrag_indexd import __version__
from vcfrag_indexd.config.config import GPU_ENGINES, LimitsConfig
from vcfrag_indexd.service.admission import Admission
from vcfrag_indexd.service.call import Call
from vcfrag_indexd.service.joined import PlannedSearch, Waiting, apart, checkpoint_of, joined
from vcfrag_indexd.service.registry import Registry
from vcfrag_indexd.service.requests import (
    DaemonInfo,
    IndexInfo,
    Opened,
    OpenRequest,
    PanelInfo,
    PrepareProgress,
    PrepareRequest,
    SearchAnswer,
    SearchRequest,
)

PREPARE_SEGMENTS = 64

# What observers (metrics, tests) are told of every search: queries, and the queue, search and build seconds.
SearchObserver = Callable[[int, float, float, float], None]


class Preparation:
    """Segments that are built some at a time, so that the engine can do something else between."""

    def __init__(self, engine: Engine, index: OpenIndex, segments: Sequence[Segment]) -> None:
        self._engine = engine
        self._index = index
        self._segments = segments
        self._done = 0

    @property
    def finished(self) -> bool:
        return self._done >= len(self._segments)

    def step(self, call: Call) -> None:
        """Builds the next segments.

        Raises:
            OutOfBudgetError: One of them alone exceeds the memory budget.
            UnavailableError: The engine's worker is away.
            DeadlineError: The call is no longer wanted.
        """
        some = self._segments[self._done : self._done + PREPARE_SEGMENTS]
        self._engine.prepare(self._index.handle, some, call.checkpoint)
        self._done += len(some)

    def progress(self) -> PrepareProgress:
        """How far it is."""
        held = self._engine.usage().holdings.get(self._index.handle, Holding())
        return PrepareProgress(
            segments_done=min(self._done, len(self._segments)),
            segments_total=len(self._segments),
            n_bytes=held.n_bytes,
        )


class IndexService:
    """Answers what it is asked; every refusal is an error of the tree.

    Args:
        engine: Computes.
        limits: What is allowed.
        on_search: Told of every answered search.
    """

    def __init__(self, engine: Engine, limits: LimitsConfig, *, on_search: SearchObserver | None = None) -> None:
        self.engine = engine
        self.limits = limits
        self.instance = uuid.uuid4().hex
        self.admission = Admission(
            max_work=limits.max_queued_work, max_bytes=limits.queue_bytes, max_calls=limits.max_queued_calls
        )
        self.registry = Registry(engine, max_open=limits.max_open_indexes, max_bytes=limits.identity_bytes)
        self._on_search = on_search

    def add_panel(self, name: str, panel: Panel) -> None:
        """Takes a panel into service."""
        self.registry.add_panel(name, HeldPanel.of(panel))

    def open_index(self, request: OpenRequest) -> Opened:
        """See `Registry.open`."""
        index, already = self.registry.open(request)
        return Opened(handle=index.handle, identity=index.identity, already_open=already)

    def plan_preparation(self, request: PrepareRequest) -> Preparation:
        """
        Raises:
            UnknownIndexError: No such index is open.
            IdentityError: It is another than the caller believes.
            RangeError: The sites are not within the panel.
        """
        index = self.registry.find(request.handle)
        index.identity.check(request.identity)
        check_range(request.start, request.stop, len(index.observed))
        segments = index.source.layout.segments_within(request.start, request.stop, index.observed)
        return Preparation(self.engine, index, segments)

    def plan_search(self, request: SearchRequest) -> PlannedSearch:
        """Checks a search at the boundary.

        Raises:
            UnknownIndexError: No such index is open.
            RangeError: k outside what is allowed.
            UnknownSampleError: A name that nobody knows.
            VcfragError: The queries were not made for this index; see `check_search`.
            OutOfBudgetError: The reply would be more than a message holds.
        """
        index = self.registry.find(request.handle)
        if not 1 <= request.k <= self.limits.max_k:
            index.identity.check(request.identity)
            raise RangeError(f"k must be in [1, {self.limits.max_k}], got {request.k}")
        queries = request.queries
        check_search(index, request.identity, queries, max_missing_share=self.limits.max_missing_share)
        n_segments = index.source.layout.count_within(queries.start, queries.stop, index.observed)
        planned = PlannedSearch(
            index, search_task(index, queries, request.k), len(queries.samples) * n_segments * request.k
        )
        if planned.reply_bytes > self.limits.reply_bytes:
            raise OutOfBudgetError(
                f"the reply would be {planned.reply_bytes} bytes, more than the {self.limits.reply_bytes} of one "
                "message here: send fewer queries"
            )
        return planned

    def joins(self, first: PlannedSearch, other: PlannedSearch, n_bytes: int) -> bool:
        """Whether a search is computed with one before it, where so many bytes are joined already.

        On a device a search of few queries takes about as long as one of many. On the host it does not, and who came
        first would wait for the others.
        """
        within = n_bytes + other.task_bytes + other.reply_bytes <= self.limits.joined_bytes
        return within and self.engine.name in GPU_ENGINES and first.fits(other)

    def search(self, planned: PlannedSearch, call: Call, queue_seconds: float) -> SearchAnswer:
        """
        Raises:
            OutOfBudgetError: The working set exceeds the memory budget.
            UnavailableError: The engine's worker is away.
            DeadlineError: The call is no longer wanted.
        """
        self.require_engine()
        before = time.perf_counter()
        answer = self.engine.search(planned.index.handle, planned.task, call.checkpoint)
        seconds = time.perf_counter() - before
        self.admission.note_speed(planned.work, seconds)
        return self._answered(planned, answer, queue_seconds, seconds)

    def search_together(self, searches: Sequence[Waiting]) -> list[SearchAnswer | VcfragError]:
        """Searches that `joins` allows, as one; for each its answer, or why it has none.

        Raises:
            UnavailableError: The engine's worker is away.
            DeadlineError: None of the calls is wanted any more.
        """
        self.require_engine()
        tasks = [search.planned.task for search in searches]
        before = time.perf_counter()
        try:
            answer = self.engine.search(
                searches[0].planned.index.handle, joined(tasks), lambda: checkpoint_of(searches)
            )
        except (OutOfBudgetError, MemoryError):
            return [self._alone(search) for search in searches]
        seconds = time.perf_counter() - before
        self.admission.note_speed(sum(search.planned.work for search in searches), seconds)
        return [
            search.failed
            or self._answered(search.planned, Answer(part, answer.build_seconds), search.queue_seconds, seconds)
            for search, part in zip(searches, apart(answer.result, tasks), strict=True)
        ]

    def _alone(self, search: Waiting) -> SearchAnswer | VcfragError:
        try:
            return self.search(search.planned, search.call, search.queue_seconds)
        except VcfragError as error:
            return error

    def _answered(self, planned: PlannedSearch, answer: Answer, queue_seconds: float, seconds: float) -> SearchAnswer:
        planned.index.searches += 1
        if self._on_search is not None:
            self._on_search(planned.task.n_queries, queue_seconds, seconds, answer.build_seconds)
        return SearchAnswer(
            identity=planned.index.identity,
            result=answer.result,
            k=planned.task.k,
            queue_seconds=queue_seconds,
            search_seconds=seconds,
            build_seconds=answer.build_seconds,
        )

    def list_indexes(self) -> list[IndexInfo]:
        """Open indexes, least recently used first."""
        holdings = self.engine.usage().holdings
        return [
            _index_info(index, n_bytes, holdings.get(index.handle, Holding()))
            for index, n_bytes in self.registry.indexes()
        ]

    def close_index(self, handle: str) -> None:
        """
        Raises:
            UnknownIndexError: No such index is open.
        """
        self.registry.close(handle)

    def info(self) -> DaemonInfo:
        """What the daemon says of itself."""
        return DaemonInfo(
            panels=tuple(_panel_info(name, held) for name, held in sorted(self.registry.panels().items())),
            engine=self.engine.name,
            devices=self.engine.devices,
            versions=versions(),
            instance=self.instance,
        )

    def require_engine(self) -> None:
        """
        Raises:
            UnavailableError: The engine's worker is away.
        """
        if not self.engine.available():
            raise UnavailableError("the engine's worker is being restarted: try again")


FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu-cuvs")


def versions() -> dict[str, str]:
    """Versions of what the answers may depend on."""
    found = {"vcfrag-indexd": __version__, "python": platform.python_version()}
    for name in ("numpy", "numba", *FAISS, "cuda-bindings", "grpcio", "protobuf"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _index_info(index: OpenIndex, n_bytes: int, held: Holding) -> IndexInfo:
    return IndexInfo(
        handle=index.handle,
        panel=index.panel_name,
        split=index.split.name,
        identity=index.identity,
        segments=held.entries,
        n_bytes=held.n_bytes + n_bytes,
        searches=index.searches,
    )


def _panel_info(name: str, held: HeldPanel | None) -> PanelInfo:
    if held is None:
        return PanelInfo(name=name, ready=False)
    panel = held.panel
    return PanelInfo(
        name=name,
        ready=True,
        digest=held.digest,
        contig=panel.contig,
        n_sites=panel.n_sites,
        n_samples=panel.n_samples,
    )
