"""An engine by its name."""

from __future__ import annotations

import os

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.engines.base import Engine

ENGINES = ("auto", "bitscan", "faiss-cpu", "faiss-gpu", "reference")


def create_engine(name: str, *, threads: int, budget_bytes: int) -> Engine:
    """The engine `name`; `auto` is faiss-gpu where FAISS sees a GPU and bitscan elsewhere, and insists on one FAISS.

    Args:
        name: One of ENGINES.
        threads: Compute threads; 0 for one per core that this process may use.
        budget_bytes: Memory for segment indexes and searches.

    Raises:
        ConfigError: No such engine, or what it needs is not installed.
    """
    threads = threads or len(os.sched_getaffinity(0))
    if name == "auto":
        name = "faiss-gpu" if _sees_gpu() else "bitscan"
    if name == "bitscan":
        from vcfrag_indexd.engines.bitscan import BitscanEngine

        return BitscanEngine(threads=threads, budget_bytes=budget_bytes)
    if name == "faiss-cpu":
        from vcfrag_indexd.engines.faiss_cpu import FaissCpuEngine

        return FaissCpuEngine(threads=threads, budget_bytes=budget_bytes)
    if name == "faiss-gpu":
        from vcfrag_indexd.engines.faiss_gpu import FaissGpuEngine

        return FaissGpuEngine(threads=threads, budget_bytes=budget_bytes)
    if name == "reference":
        from vcfrag_indexd.engines.reference import ReferenceEngine

        return ReferenceEngine(threads=threads, budget_bytes=budget_bytes)
    raise ConfigError(f"there is no engine {name!r}: choose from {', '.join(ENGINES)}")


def _sees_gpu() -> bool:
    from vcfrag_indexd.engines.installed import check_faiss, import_faiss

    return check_faiss() == "gpu" and int(import_faiss().get_num_gpus()) > 0
