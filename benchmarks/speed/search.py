"""Seconds and bytes of one search by each engine, on the development tasks' shapes and real haplotypes.

    python -m benchmarks.speed.search [--engine bitscan --engine faiss-cpu] [--threads 2] [--queries 200] [--json FILE]

200 query haplotypes (the tasks' targets), or fewer, against the 4,608 reference haplotypes of chr20:0.06-2.29 Mb, the
whole region as one context. The first search builds what it needs, the second finds it held; CPU seconds are of all
threads together and hardly depend on what else the machine does. Needs the shared data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.development_tasks import SOURCE, default_data
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.types import BoolArray
from vcfrag_indexd.engines.create import create_engine

BUDGET_BYTES = 8 * 2**30
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {"array": ((16, 64, 200), 24), "random50": ((32, 128, 512), 16)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", choices=("bitscan", "faiss-cpu", "faiss-gpu", "reference"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--queries", type=int, default=200, help="query haplotypes, of the targets; at most 200")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = default_data()
    panel = load_panel(data / SOURCE)
    targets = (data / "task_targets.txt").read_text().split()
    print(f"{platform.machine()}, {options.threads} threads, {options.queries} queries")
    columns = ("task", "segments", "k", "engine", "first, s", "building, s", "second, s", "CPU, s", "peak, MB")
    print("|", " | ".join(columns), "|")
    print("|", " | ".join("---" for _ in columns), "|", flush=True)
    rows = []
    for name, observed in masks(panel, data).items():
        for engine in options.engine or ("bitscan", "faiss-cpu"):
            row = measure(name, engine, panel, targets, observed, options)
            cells = (f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values())
            print("|", " | ".join(cells), "|", flush=True)
            rows.append(row)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def masks(panel: Panel, data: Path) -> dict[str, BoolArray]:
    """(V,) the sites that each task types."""
    at = {(int(p), r, a): i for i, (p, r, a) in enumerate(zip(panel.positions, panel.refs, panel.alts, strict=True))}
    found = {}
    for name, file in (("array", "chr20_array_sites.tsv"), ("random50", "task_random50_sites.tsv")):
        header, *lines = (line.split("\t") for line in (data / file).read_text().splitlines())
        observed = np.zeros(panel.n_sites, dtype=np.bool_)
        for line in lines:
            row = dict(zip(header, line, strict=True))
            site = at.get((int(row["pos"]), row["ref"], row["alt"]))
            if site is not None and row.get("typed", "1") == "1":
                observed[site] = True
        found[name] = observed
    return found


def measure(
    task: str, engine_name: str, panel: Panel, targets: list[str], observed: BoolArray, options: argparse.Namespace
) -> dict[str, Any]:
    """One engine on one task."""
    wanted, k = SHAPES[task]
    names = set(targets)
    rows = np.sort(panel.rows_of([name for name in panel.samples if name not in names])).astype(np.int32)
    source = IndexSource(
        handle="benchmark",
        panel_name="chr20",
        bits=panel.bits,
        rows=rows,
        keys=haplotype_keys(panel)[rows],
        observed=observed,
        steps=site_weights.steps(site_weights.quantise(np.full(panel.n_sites, np.log(999.0)))),
        layout=layout_for(observed, wanted),
    )
    alleles = panel.haplotypes(panel.rows_of(targets)[: options.queries])[:, observed]
    search = SearchTask(
        start=0,
        stop=panel.n_sites,
        k=k,
        alleles=alleles,
        called=np.ones_like(alleles),
        excluded=np.zeros(0, dtype=np.int64),
        excluded_starts=np.zeros(len(alleles) + 1, dtype=np.int64),
    )
    engine = create_engine(engine_name, threads=options.threads, budget_bytes=BUDGET_BYTES)
    engine.open(source)
    # Compiles the loops, so that no measurement includes that.
    stop = int(np.flatnonzero(observed)[40])
    few = observed[:stop].sum()
    warm = {"alleles": alleles[:2, :few].copy(), "called": np.ones((2, few), dtype=np.uint8)}
    starts = np.zeros(3, dtype=np.int64)
    engine.search(
        source.handle,
        SearchTask(start=0, stop=stop, k=k, excluded=search.excluded, excluded_starts=starts, **warm),
        lambda: None,
    )
    engine.close(source.handle)
    engine.open(source)
    seconds = []
    for _ in range(2):
        before, cpu = time.perf_counter(), time.process_time()
        answer = engine.search(source.handle, search, lambda: None)
        seconds.append((time.perf_counter() - before, answer.build_seconds, time.process_time() - cpu))
    peak = engine.usage().peak_bytes
    engine.shutdown()
    return {
        "task": task,
        "segments": len(answer.result.starts),
        "k": k,
        "engine": engine_name,
        "first": seconds[0][0],
        "build": seconds[0][1],
        "second": seconds[1][0],
        "cpu": seconds[1][2],
        "peak": peak / 1e6,
    }


if __name__ == "__main__":
    main()
