"""FAISS flat indexes on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.types import F32Array, I64Array
from vcfrag_indexd.engines.flat import FlatEngine
from vcfrag_indexd.engines.installed import import_faiss


class FaissCpuEngine(FlatEngine):
    """One IndexFlatIP per segment."""

    name = "faiss-cpu"

    def __init__(self, *, threads: int, budget_bytes: int) -> None:
        super().__init__(threads=threads, budget_bytes=budget_bytes)
        self._faiss = import_faiss()
        self._faiss.omp_set_num_threads(threads)

    def _make_index(self, segment: Segment, vectors: F32Array) -> Any:
        index = self._faiss.IndexFlatIP(vectors.shape[1])
        index.add(checked(vectors))
        return index

    def _nearest_rows(self, index: Any, queries: F32Array, n: int) -> tuple[F32Array, I64Array]:
        # The thread that searches may not be the one that made the engine, and OpenMP keeps the number per thread.
        self._faiss.omp_set_num_threads(self.threads)
        products, rows = index.search(checked(queries), n)
        return products, rows


def checked(vectors: F32Array) -> F32Array:
    """What FAISS would check by itself, were it not for `python -O`.

    Raises:
        ShapeError: Not a C-contiguous finite float32 matrix.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
        raise ShapeError(f"FAISS needs a C-contiguous float32 matrix, got {vectors.dtype} of {vectors.shape}")
    if not bool(np.isfinite(vectors).all()):
        raise ShapeError("FAISS needs finite vectors")
    return vectors
