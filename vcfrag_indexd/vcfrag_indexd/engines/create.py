"""An engine by its name, in this process or in a supervised one of its own."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence

from vcfrag_core.errors import ConfigError
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.config.config import ENGINES, GPU_ENGINES
from vcfrag_indexd.engines import measured
from vcfrag_indexd.engines.installed import CPU_LINE, GPU_LINE, broken_faiss, installed_faiss
from vcfrag_indexd.logs import get_log

COUNT_GPUS = "import faiss; print(faiss.get_num_gpus())"
COUNT_SECONDS = 120.0
log = get_log()


def create_engine(
    name: str, *, threads: int, budget_bytes: int, device: int = 0, device_bytes: int | None = None
) -> Engine:
    """The engine `name` in this process; `auto` is `bitscan`, the fastest without a GPU.

    Args:
        name: One of ENGINES.
        threads: Compute threads; 0 for one per core that this process may use.
        budget_bytes: Memory of the host for segment indexes and searches.
        device: The GPU of the engines that have one.
        device_bytes: Of its memory; nine tenths of what is free unless given.

    Raises:
        ConfigError: No such engine, or what it needs is not installed.
    """
    threads = threads or len(os.sched_getaffinity(0))
    if name in ("auto", "bitscan"):
        from vcfrag_core.search.bitscan import BitscanEngine

        return BitscanEngine(threads=threads, budget_bytes=budget_bytes)
    if name == "bitscan-gpu":
        from vcfrag_indexd.engines.bitscan_gpu import BitscanGpuEngine
        from vcfrag_indexd.engines.cuda.driver import CudaDevice

        return BitscanGpuEngine(functools.partial(CudaDevice, device), threads=threads, budget_bytes=device_bytes)
    if name == "faiss-cpu":
        from vcfrag_indexd.engines.faiss_cpu import FaissCpuEngine

        return FaissCpuEngine(threads=threads, budget_bytes=budget_bytes)
    if name == "faiss-gpu":
        from vcfrag_indexd.engines.faiss_gpu import FaissGpuEngine

        return FaissGpuEngine(threads=threads, budget_bytes=budget_bytes, device=device, device_bytes=device_bytes)
    if name == "reference":
        from vcfrag_core.search.reference import ReferenceEngine

        return ReferenceEngine(threads=threads, budget_bytes=budget_bytes)
    raise ConfigError(f"there is no engine {name!r}: choose from {', '.join(ENGINES)}")


def engine_for_daemon(
    name: str,
    *,
    threads: int,
    budget_bytes: int,
    worker: bool | None,
    hang_seconds: float,
    devices: Sequence[int] = (),
    device_bytes: int | None = None,
) -> Engine:
    """The engine as a daemon runs it: GPUs each behind a worker process, others on request.

    Args:
        name: One of ENGINES; `auto` is what was found to be fastest on this machine, else `bitscan`.
        threads: As in `create_engine`, of all workers together.
        budget_bytes: Memory of the host, of all workers together.
        worker: Whether to use worker processes; None: for GPUs only.
        hang_seconds: A worker that is silent for so long is replaced.
        devices: Numbers of the GPUs to use; all unless given.
        device_bytes: As in `create_engine`, of each device.

    Raises:
        ConfigError: No such engine, or what it needs is not installed.
    """
    if name == "auto":
        name = _chosen()
    if name not in GPU_ENGINES and not worker:
        return create_engine(name, threads=threads, budget_bytes=budget_bytes)
    from vcfrag_indexd.engines.sharded import ShardedEngine
    from vcfrag_indexd.engines.worker import WorkerEngine

    chosen = _devices(name, devices)
    share, each = budget_bytes // len(chosen), max(1, (threads or len(os.sched_getaffinity(0))) // len(chosen))
    workers = [
        WorkerEngine(
            name,
            functools.partial(
                create_engine, name, threads=each, budget_bytes=share, device=device, device_bytes=device_bytes
            ),
            budget_bytes=share,
            hang_seconds=hang_seconds,
        )
        for device in chosen
    ]
    return workers[0] if len(workers) == 1 else ShardedEngine(workers)


def _devices(name: str, wanted: Sequence[int]) -> Sequence[int]:
    """The devices that get a worker each; one that is none for an engine without.

    Raises:
        ConfigError: There is none, or one of them is not there.
    """
    if name not in GPU_ENGINES:
        return (0,)
    there = range(count_devices() if name == "bitscan-gpu" else count_gpus())
    if not there:
        raise ConfigError(f"{name} finds no GPU: start with --engine auto, or on a machine that has one")
    if not set(wanted) <= set(there):
        raise ConfigError(f"engine.devices are {tuple(wanted)}, and {name} finds {len(there)}, numbered from 0")
    return wanted or there


def _chosen() -> str:
    """The engine of `auto`."""
    found, faiss = measured.stored(), installed_faiss()
    if found is not None:
        # What was measured may have been uninstalled since.
        there = [name for name in found.by_speed if not name.startswith("faiss-") or name == f"faiss-{faiss}"]
        if there:
            log.info("the fastest engine of this machine searches", engine=there[0], seconds=found.seconds)
            return there[0]
    if faiss is None:
        log.info("FAISS is not installed, bitscan searches", for_a_gpu=GPU_LINE, for_faiss_cpu=CPU_LINE)
    else:
        log.info("bitscan searches: no engines were measured here", to_measure="vcfrag-indexd bench --panel NAME=FILE")
    return "bitscan"


def count_devices() -> int:
    """CUDA devices that the driver sees.

    Raises:
        ConfigError: CUDA's Python bindings are not installed.
    """
    try:
        importlib.metadata.version("cuda-bindings")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"bitscan-gpu needs CUDA's Python bindings: run `{GPU_LINE}`") from error
    return len(measured.devices())


def count_gpus() -> int:
    """GPUs that FAISS sees; asked in a process of its own, so that this one never touches CUDA.

    Raises:
        ConfigError: FAISS for a GPU is installed but does not load, or FAISS is installed twice.
    """
    if installed_faiss() != "gpu":
        return 0
    try:
        asked = subprocess.run(
            [sys.executable, "-c", COUNT_GPUS], capture_output=True, text=True, timeout=COUNT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise broken_faiss(f"it does not say within {COUNT_SECONDS:g} s how many GPUs there are") from error
    if asked.returncode != 0 or not asked.stdout.strip().isdigit():
        raise broken_faiss((asked.stderr.strip() or f"exit code {asked.returncode}").splitlines()[-1])
    return int(asked.stdout)
