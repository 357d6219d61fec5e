"""The daemon's work, without gRPC: open, prepare, search, list, close, inform."""

from __future__ import annotations

import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import metadata

from vcfrag_core.errors import OverloadedError, UnavailableError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.consistency import check_range
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.search.cache import Holding
from vcfrag_core.search.engine import Engine
from vcfrag_core.search.index import HeldPanel, OpenIndex
from vcfrag_indexd import __version__
from vcfrag_indexd.config.config import LimitsConfig
from vcfrag_indexd.service import messages as decoding
from vcfrag_indexd.service.admission import Admission, Call
from vcfrag_indexd.service.registry import Registry
from vcfrag_proto.messages import identity_message, identity_of
from vcfrag_proto.status import MAX_MESSAGE_BYTES
from vcfrag_proto.v1 import index_pb2 as pb

PREPARE_SEGMENTS = 64
# A stream whose reader stalls holds a thread; so there are fewer of them than threads.
MAX_PREPARES = 16

# What observers (metrics, tests) are told of every search: queries, and the queue, search and build seconds.
SearchObserver = Callable[[int, float, float, float], None]


class IndexService:
    """Answers decoded requests; every refusal is an error of the tree.

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
            max_work=limits.max_queued_work, max_bytes=limits.max_queued_bytes, max_calls=limits.max_queued_calls
        )
        self.registry = Registry(max_open=limits.max_open_indexes, on_open=engine.open, on_close=engine.close)
        self._on_search = on_search
        self._prepares = threading.BoundedSemaphore(MAX_PREPARES)

    def add_panel(self, name: str, panel: Panel) -> None:
        """Takes a panel into service."""
        self.registry.add_panel(name, HeldPanel.of(panel))

    def open_index(self, request: pb.OpenIndexRequest, call: Call) -> pb.OpenIndexReply:
        self.admission.check_accepting()
        call.checkpoint()
        layout = decoding.layout_of(request.layout)
        index, already = self.registry.open(
            request.panel,
            identity_of(request.identity),
            decoding.split_of(request.split),
            layout,
            decoding.mask_of(request.observed, layout.n_sites) if request.HasField("observed") else None,
            decoding.weights_of(request.weights) if request.HasField("weights") else None,
        )
        return pb.OpenIndexReply(handle=index.handle, identity=identity_message(index.identity), already_open=already)

    def prepare_index(self, request: pb.PrepareIndexRequest, call: Call) -> Iterator[pb.PrepareIndexProgress]:
        """Builds some segments at a time and leaves the lane between, so that a slow reader holds nobody up."""
        self.admission.check_accepting()
        index = self._checked(request.handle, identity_of(request.identity))
        check_range(request.start, request.stop, len(index.source.observed))
        if not self._prepares.acquire(blocking=False):
            raise OverloadedError(f"{MAX_PREPARES} preparations are under way already")
        try:
            yield from self._prepare(index, request, call)
        finally:
            self._prepares.release()

    def _prepare(
        self, index: OpenIndex, request: pb.PrepareIndexRequest, call: Call
    ) -> Iterator[pb.PrepareIndexProgress]:
        segments = index.source.layout.segments_within(request.start, request.stop, index.source.observed)
        yield self._progress(index, 0, len(segments))
        for begin in range(0, len(segments), PREPARE_SEGMENTS):
            some = segments[begin : begin + PREPARE_SEGMENTS]
            with self.admission.enter(call, work=0, n_bytes=0):
                self._require_engine()
                self.engine.prepare(index.handle, some, call.checkpoint)
            yield self._progress(index, begin + len(some), len(segments))

    def search(self, request: pb.SearchRequest, call: Call) -> pb.SearchReply:
        self.admission.check_accepting()
        index = self.registry.find(request.handle)
        task = decoding.task_of(
            request, index, max_k=self.limits.max_k, max_missing_share=self.limits.max_missing_share
        )
        n_segments = len(index.source.layout.segments_within(task.start, task.stop, index.source.observed))
        work = task.n_queries * n_segments * task.k
        n_bytes = request.ByteSize() + task.alleles.nbytes + task.called.nbytes + 8 * work
        decoding.check_reply_size(work)
        with self.admission.enter(call, work=work, n_bytes=n_bytes) as queue_seconds:
            self._require_engine()
            before = time.perf_counter()
            answer = self.engine.search(index.handle, task, call.checkpoint)
            seconds = time.perf_counter() - before
        index.searches += 1
        if self._on_search is not None:
            self._on_search(task.n_queries, queue_seconds, seconds, answer.build_seconds)
        result = answer.result
        return pb.SearchReply(
            identity=identity_message(index.identity),
            starts=decoding.int32_bytes(result.starts),
            stops=decoding.int32_bytes(result.stops),
            scales=decoding.int32_bytes(result.scales),
            ids=decoding.int32_bytes(result.ids),
            distances=result.distances.astype("<f4", copy=False).tobytes(),
            k=task.k,
            queue_seconds=queue_seconds,
            search_seconds=seconds,
            build_seconds=answer.build_seconds,
        )

    def list_indexes(self) -> pb.ListIndexesReply:
        holdings = self.engine.usage().holdings
        return pb.ListIndexesReply(
            indexes=[_index_info(index, holdings.get(index.handle, Holding())) for index in self.registry.indexes()]
        )

    def close_index(self, request: pb.CloseIndexRequest) -> pb.CloseIndexReply:
        self.registry.close(request.handle)
        return pb.CloseIndexReply()

    def info(self) -> pb.InfoReply:
        limits = self.limits
        return pb.InfoReply(
            panels=[_panel_info(name, held) for name, held in sorted(self.registry.panels().items())],
            limits=pb.Limits(
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_k=limits.max_k,
                memory_budget_bytes=limits.memory_budget_bytes,
                max_queued_work=limits.max_queued_work,
                max_open_indexes=limits.max_open_indexes,
                max_missing_share=limits.max_missing_share,
            ),
            engine=self.engine.name,
            devices=self.engine.devices,
            versions=versions(),
            instance=self.instance,
        )

    def _checked(self, handle: str, stated: Identity) -> OpenIndex:
        index = self.registry.find(handle)
        index.identity.check(stated)
        return index

    def _require_engine(self) -> None:
        if not self.engine.available():
            raise UnavailableError("the engine's worker is being restarted: try again")

    def _progress(self, index: OpenIndex, done: int, total: int) -> pb.PrepareIndexProgress:
        held = self.engine.usage().holdings.get(index.handle, Holding())
        return pb.PrepareIndexProgress(segments_done=done, segments_total=total, bytes=held.n_bytes)


def versions() -> dict[str, str]:
    """Versions of what the answers may depend on."""
    found = {"vcfrag-indexd": __version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "faiss-cpu", "faiss-gpu-cu12", "grpcio", "protobuf"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _index_info(index: OpenIndex, held: Holding) -> pb.IndexInfo:
    return pb.IndexInfo(
        handle=index.handle,
        panel=index.panel_name,
        split=index.split.name,
        identity=identity_message(index.identity),
        segments=held.entries,
        bytes=held.n_bytes,
        searches=index.searches,
    )


def _panel_info(name: str, held: HeldPanel | None) -> pb.PanelInfo:
    if held is None:
        return pb.PanelInfo(name=name, ready=False)
    panel = held.panel
    return pb.PanelInfo(
        name=name,
        digest=held.digest,
        contig=panel.contig,
        n_sites=panel.n_sites,
        n_samples=panel.n_samples,
        ready=True,
    )
