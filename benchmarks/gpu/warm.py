"""Compiles the host's loops into their cache, so that no stage measures that. Needs no device.

python -m benchmarks.gpu.warm
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks import synthetic
from benchmarks.speed import copying, retrieval, step
from vcfrag_indexd.engines.create import create_engine


def main() -> None:
    """One small piece of every kind of work."""
    begun = time.perf_counter()
    panel = synthetic.panel(200, 1020)
    observed = retrieval.half_mask(panel.n_sites)
    for weighted in (False, True):
        source = retrieval.source(panel, observed, retrieval.THREE_SCALES)
        if weighted:
            source.steps[:] = np.arange(panel.n_sites) % 7000 + 1
        for name in ("bitscan", "faiss-cpu"):
            try:
                engine = create_engine(name, threads=1, budget_bytes=1 << 30)
            except Exception as error:  # noqa: BLE001  FAISS may be missing
                print(name, error, flush=True)
                continue
            engine.open(source)
            engine.search("bench", retrieval.task(panel, observed, 0, 1020, 4, 4), retrieval.nothing)
            engine.shutdown()
    print("search", time.perf_counter() - begun, flush=True)
    case = copying.make(2, 300, 50)
    case.problem.dosage(case.weights, case.switch)
    ones = np.ones((2, len(case.problem.sites.sites)), dtype=np.float32)
    case.problem.gradients(case.weights, case.switch, ones)
    step.make(2, 8)
    print("copying", time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
