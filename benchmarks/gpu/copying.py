"""The copying layer's kernels on the device beside the host's, with one thread and with all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import seconds
from benchmarks.speed import copying
from vcfrag_core.copying.layer import HostKernels, kernels_on

SHAPES = ((200, 5700, 1300), (32, 2500, 400))


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """200 haplotypes x 5,700 observed x 1,300 candidates, and a training batch's size."""
    for shape in SHAPES:
        _measure(note, *shape)


def _measure(note: Callable[[str, Any], None], n_queries: int, n_observed: int, n_candidates: int) -> None:
    threads = len(os.sched_getaffinity(0))
    case = copying.make(n_queries, n_observed, n_candidates)
    name = f"{n_queries} x {n_observed} x {n_candidates}"
    weights, switch = (torch.from_numpy(x).to("cuda") for x in (case.weights, case.switch))
    ones = np.ones((n_queries, len(case.problem.sites.sites)), dtype=np.float32)
    gradient = torch.from_numpy(ones).to("cuda")
    begun = time.perf_counter()
    kernels = kernels_on(torch.device("cuda"), case.problem, None)
    assert not isinstance(kernels, HostKernels)
    torch.cuda.synchronize()
    note(f"{name} upload, s", time.perf_counter() - begun)
    with ThreadPoolExecutor(threads) as pool:
        host = HostKernels(case.problem, pool)
        on_cpu = (torch.from_numpy(case.weights), torch.from_numpy(case.switch))
        works: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "forward": (lambda: kernels.dosage(weights, switch), lambda: host.dosage(*on_cpu)),
            "backward": (
                lambda: kernels.gradients(weights, switch, gradient),
                lambda: host.gradients(*on_cpu, torch.from_numpy(ones)),
            ),
        }
        for kind, (on_device, on_host) in works.items():
            begun = time.perf_counter()
            answer = on_device()
            torch.cuda.synchronize()
            first = time.perf_counter() - begun
            wanted = on_host()
            begun = time.perf_counter()
            on_host()
            taken = time.perf_counter() - begun
            note(
                f"{name} {kind}",
                {
                    "device_seconds": seconds(on_device, repeats=5),
                    "first_call_seconds": first,
                    f"host_{threads}_threads_seconds": taken,
                    "difference": _difference(answer, wanted),
                },
            )


def _difference(ours: Any, theirs: Any) -> float:
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else ((ours, theirs),)
    return max(float((a.cpu() - b).norm() / b.norm()) for a, b in pairs)
