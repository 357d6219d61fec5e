"""FAISS flat indexes on one GPU, whose FAISS objects all have one owner.

GPU indexes ignore id selectors silently and are unsafe even for concurrent reads, so excluded groups are left out by
over-fetching and filtering, and one process with one lane of calls owns each device (`vcfrag_indexd.engines.worker`);
several devices are several such engines (`sharded`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.tiled import SegmentSearch
from vcfrag_core.types import F32Array, I64Array
from vcfrag_indexd.engines.faiss_cpu import checked
from vcfrag_indexd.engines.flat import FlatEngine
from vcfrag_indexd.engines.installed import GPU_LINE, import_faiss

GPU_MAX_FETCH = 2048
FETCH_MARGIN = 64
TEMPORARY_BYTES = 512 * 1024 * 1024


class FaissGpuEngine(FlatEngine):
    """One GpuIndexFlatIP per segment, all on one device."""

    name = "faiss-gpu"

    def __init__(self, *, threads: int, budget_bytes: int, device: int = 0) -> None:
        super().__init__(threads=threads, budget_bytes=budget_bytes)
        self._faiss = import_faiss()
        n_gpus = int(self._faiss.get_num_gpus()) if hasattr(self._faiss, "get_num_gpus") else 0
        if device >= n_gpus:
            raise ConfigError(f"faiss-gpu finds no GPU: run `{GPU_LINE}` on a machine with one, or take another engine")
        self.devices = (f"cuda:{device}",)
        self._resources = self._faiss.StandardGpuResources()
        self._resources.setTempMemory(TEMPORARY_BYTES)
        self._config = self._faiss.GpuIndexFlatConfig()
        self._config.device = device
        self._config.useFloat16 = False

    def keep(self, n_bytes: int) -> None:
        """Nothing: the budget is the device's, and open indexes are kept on the host."""

    def _make_index(self, segment: Segment, vectors: F32Array) -> Any:
        index = self._faiss.GpuIndexFlatIP(self._resources, vectors.shape[1], self._config)
        index.add(checked(vectors))
        return index

    def _nearest_rows(self, index: Any, queries: F32Array, n: int) -> tuple[F32Array, I64Array]:
        products, rows = index.search(checked(queries), n)
        return products, rows

    def _search_segments(self, work: SegmentSearch) -> None:
        check_fetch(work.task.k, int(np.diff(work.task.excluded_starts).max(initial=0)))
        super()._search_segments(work)


def check_fetch(k: int, most_excluded: int) -> None:
    """Refuses what a GPU cannot fetch in one call.

    Raises:
        RangeError: k, the largest excluded group and a margin exceed 2,048 together.
    """
    if k + most_excluded + FETCH_MARGIN > GPU_MAX_FETCH:
        raise RangeError(
            f"k = {k} with {most_excluded} excluded haplotypes and a margin of {FETCH_MARGIN} exceeds the "
            f"{GPU_MAX_FETCH} that a GPU can fetch: ask for fewer neighbours or take a CPU engine"
        )
