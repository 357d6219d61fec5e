"""FAISS flat indexes on one GPU, whose FAISS objects all have one owner.

GPU indexes ignore id selectors silently and are unsafe even for concurrent reads, so excluded groups are left out by
over-fetching and filtering, and one process with one lane of calls owns each device (`vcfrag_indexd.engines.worker`);
several devices are several such engines (`sharded`). Neighbouring segments share an index and a call; what it fetches
is ranked on the host: see docs/decisions/gpu-engine.md for what that costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vcfrag_core.errors import ConfigError, OutOfBudgetError
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.cache import SegmentCache
from vcfrag_core.search.engine import IndexSource
from vcfrag_core.types import F32Array, I64Array
from vcfrag_indexd.engines.budgets import HostAndDevice, device_budget
from vcfrag_indexd.engines.faiss_cpu import checked
from vcfrag_indexd.engines.flat import FlatEngine
from vcfrag_indexd.engines.installed import GPU_LINE, import_faiss

# FAISS takes this much for itself on the device, and page-locked memory of the host.
TEMPORARY_BYTES = 512 * 1024 * 1024
PINNED_BYTES = 64 * 1024 * 1024
# Segments of a call: as many as cost the device less than some tenths of a millisecond of products for so many queries.
MAX_SEGMENTS, CALL_PRODUCTS, CALL_QUERIES = 16, 1e10, 64
INDEX_SHARE = 1 / 16  # of the device's budget, at most, for an index of several segments
T = TypeVar("T")


class FaissGpuEngine(FlatEngine):
    """One GpuIndexFlatIP for some segments, all on one device.

    Args:
        threads: Threads of the host.
        budget_bytes: Memory of the host.
        device: Number of the device.
        device_bytes: Of its memory; nine tenths of what is free unless given.
    """

    name = "faiss-gpu"

    def __init__(self, *, threads: int, budget_bytes: int, device: int = 0, device_bytes: int | None = None) -> None:
        super().__init__(threads=threads, budget_bytes=budget_bytes)
        self._faiss = import_faiss()
        n_gpus = int(self._faiss.get_num_gpus()) if hasattr(self._faiss, "get_num_gpus") else 0
        if device >= n_gpus:
            raise ConfigError(f"faiss-gpu finds no GPU: run `{GPU_LINE}` on a machine with one, or take another engine")
        self.devices = (f"cuda:{device}",)
        budget = device_bytes or device_budget(device) or budget_bytes
        temporary, pinned = min(TEMPORARY_BYTES, budget // 4), min(PINNED_BYTES, budget_bytes // 4)
        host: SegmentCache[Any] = SegmentCache(budget_bytes - pinned)
        on_device: SegmentCache[Any] = SegmentCache(budget - temporary)
        self.cache = HostAndDevice(host, on_device, kinds_on_device=("flat",))
        self._on_device = on_device
        self._resources = self._faiss.StandardGpuResources()
        self._resources.setTempMemory(temporary)
        self._resources.setPinnedMemory(pinned)
        self._config = self._faiss.GpuIndexFlatConfig()
        self._config.device = device
        self._config.useFloat16 = False

    def _together(self, source: IndexSource, scale: int) -> int:
        # Half-overlapping segments: n of width w cover (n + 1) / 2 w sites.
        width = source.layout.lengths[scale] * float(source.observed.mean())
        row = max(1.0, len(source.rows) * width)
        squared = 2 * CALL_PRODUCTS / (CALL_QUERIES * row)
        held = 2 * INDEX_SHARE * self._on_device.budget_bytes / (4 * row) - 1
        return int(max(1, min(MAX_SEGMENTS, squared**0.5, held)))

    def _make_index(self, segment: Segment, vectors: F32Array) -> Any:
        def make() -> Any:
            index = self._faiss.GpuIndexFlatIP(self._resources, vectors.shape[1], self._config)
            index.add(checked(vectors))
            return index

        return self._with_room(make)

    def _nearest_rows(self, index: Any, queries: F32Array, n: int) -> tuple[F32Array, I64Array]:
        products, rows = self._with_room(lambda: index.search(checked(queries), n))
        return products, rows

    def _with_room(self, work: Callable[[], T]) -> T:
        """The work's result; where the device has no room for it, what is not in use goes and it is tried again.

        Raises:
            OutOfBudgetError: There is no room even so.
        """
        try:
            return work()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        self._on_device.evict_unpinned()
        try:
            return work()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise OutOfBudgetError(
                f"{self.devices[0]} has no room for this search: search a shorter range or fewer queries, or leave "
                "more of the device to the daemon"
            ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether FAISS says that an allocation on the device failed; it has one kind of error for everything."""
    text = str(error).lower()
    return "out of memory" in text or "alloc fail" in text
