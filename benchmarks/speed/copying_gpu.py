"""The copying layer on a CUDA device, beside the host's kernels on one thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.figures import Figure, Topic, seconds
from benchmarks.speed import copying
from vcfrag_core.copying.layer import HostKernels, kernels_on


def run(*, quick: bool) -> Topic:
    """Dosages and gradients of the `copying` topic's case, and the memory that both need together."""
    if not torch.cuda.is_available():
        return Topic(missing="not measured: no CUDA device")
    device = torch.device("cuda")
    n_queries, n_observed, n_candidates = (8, 300, 100) if quick else (200, 5700, 1300)
    case = copying.make(n_queries, n_observed, n_candidates)
    shape = f"{n_queries} haplotypes x {n_observed} observed x {n_candidates} candidates"
    kernels = kernels_on(device, case.problem, None)
    if isinstance(kernels, HostKernels):
        return Topic(missing="not measured: Triton is not installed")
    weights, switch = (torch.from_numpy(x).to(device) for x in (case.weights, case.switch))
    ones = np.ones((n_queries, len(case.problem.sites.sites)), dtype=np.float32)
    gradient = torch.from_numpy(ones).to(device)
    upload = _finished(lambda: kernels_on(device, case.problem, None))
    works = {
        "forward": (
            _finished(lambda: kernels.dosage(weights, switch)),
            lambda: case.problem.dosage(case.weights, case.switch),
        ),
        "backward": (
            _finished(lambda: kernels.gradients(weights, switch, gradient)),
            lambda: case.problem.gradients(case.weights, case.switch, ones),
        ),
    }
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    for on_device, on_host in works.values():
        # The first call compiles.
        on_device()
        on_host()
    most = torch.cuda.max_memory_allocated(device) - before
    figures = [
        Figure(
            name=f"copying {name} on {torch.cuda.get_device_name(device)}, {shape}",
            value=seconds(on_device),
            unit="s",
            baseline="the host's kernels, 1 thread",
            baseline_value=seconds(on_host),
        )
        for name, (on_device, on_host) in works.items()
    ]
    memory = Figure(
        name="memory that these calls need on the device beside the problem",
        value=float(most),
        unit="bytes",
        baseline="all posteriors",
        baseline_value=4.0 * n_queries * n_observed * n_candidates,
        note=f"uploading the problem takes {1000 * seconds(upload):.3g} ms, once",
    )
    return Topic(figures=[*figures, memory])


def _finished(work: Callable[[], object]) -> Callable[[], None]:
    """The same, returning when the device has done it."""

    def done() -> None:
        work()
        torch.cuda.synchronize()

    return done
