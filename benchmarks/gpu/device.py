"""What the card is, and what it can do: the ceilings that other figures are compared with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import torch

POPCOUNT = r"""
extern "C" __global__ void ones(const unsigned* given, unsigned* out, int n) {
  unsigned x = given[threadIdx.x], total[8] = {0};
  for (int i = 0; i < n; i++) {
#pragma unroll
    for (int j = 0; j < 8; j++) total[j] += __popc((x ^ (i + j)) & given[j]);
  }
  unsigned sum = 0;
  for (int j = 0; j < 8; j++) sum += total[j];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
"""
PACKAGES = ("torch", "triton", "numpy", "numba", "faiss-gpu", "cuda-bindings", "cupy-cuda13x", "grpcio", "lightning")


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Name, versions, bandwidths and rates."""
    note("machine", {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0))})
    if shutil.which("nvidia-smi"):
        asked = subprocess.run(["nvidia-smi", "-q", "-d", "CLOCK"], capture_output=True, text=True, check=False)
        note("clocks", [line.strip() for line in asked.stdout.splitlines() if "SM  " in line or "Memory  " in line][:8])
    properties = torch.cuda.get_device_properties(0)
    note(
        "card",
        {
            "name": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "l2_bytes": properties.L2_cache_size,
        },
    )
    note("packages", {name: version(name) for name in PACKAGES})
    block = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device="cuda")
    other = torch.empty_like(block)
    note("copy_bytes_per_second", 2 * len(block) / seconds(lambda: other.copy_(block)))
    pinned = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    note("upload_bytes_per_second", len(pinned) / seconds(lambda: block[: 1 << 28].copy_(pinned, non_blocking=True)))
    note("download_bytes_per_second", len(pinned) / seconds(lambda: pinned.copy_(block[: 1 << 28], non_blocking=True)))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    note("bf16_flop_per_second", 2 * 8192**3 / seconds(lambda: a @ b))
    note("popcounts_per_second", _popcounts(properties.multi_processor_count))


def _popcounts(multiprocessors: int) -> float | str:
    """Words counted in a second by all multiprocessors."""
    try:
        import cupy
    except ImportError as error:
        return f"not measured: {error}"
    kernel = cupy.RawKernel(POPCOUNT, "ones")
    blocks, threads, n = 8 * multiprocessors, 256, 20_000
    given = cupy.arange(1024, dtype=cupy.uint32) * cupy.uint32(0x9E3779B1)
    out = cupy.empty(blocks * threads, cupy.uint32)
    best = 1e9
    for _ in range(4):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        kernel((blocks,), (threads,), (given, out, n))
        stop.record()
        stop.synchronize()
        best = min(best, cupy.cuda.get_elapsed_time(start, stop) / 1000)
    return float(8 * n * blocks * threads / best)


def seconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Median device time of a piece of work, warmed up."""
    work()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1000)
    return sorted(times)[len(times) // 2]


def version(name: str) -> str | None:
    """Of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
