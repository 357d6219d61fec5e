"""Whole processes: `vcfrag impute` by copying alone and by default, beside Beagle and Minimac4, on both tasks."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.development_tasks import SOURCE, TASKS, Task, build_task, default_data
from benchmarks.figures import Figure, Topic
from vcfrag_core.files.tables.genetic_map import read_genetic_map
from vcfrag_train.compare.peers import PEERS, PeerInput, run_peer
from vcfrag_train.compare.usage import Usage, run_measured

THREADS = 2
HEAP_MB = 4096
REPEATS = 3
WAYS = {"by copying alone": ("--copying-only",), "with the model that ships": ()}
DEFAULTS = tuple(peer for peer in PEERS if not peer.options)


def run(*, quick: bool) -> Topic:
    """Wall time and peak memory from process start to indexed VCF, 2 threads."""
    data = default_data()
    if not (data / SOURCE).is_file():
        return Topic(missing=f"not measured: {data / SOURCE} is not there; give --data")
    absent = [name for name in ("bcftools", *(peer.program for peer in DEFAULTS)) if shutil.which(name) is None]
    if absent:
        return Topic(missing=f"not measured: {', '.join(absent)} not on the PATH")
    work = Path(os.environ.get("VCFRAG_BENCH_OUT", "bench-out"))
    figures: list[Figure] = []
    for name in TASKS[-1:] if quick else TASKS:
        figures += _figures(build_task(name, data, work), repeats=1 if quick else REPEATS)
    return Topic(figures=figures)


def _figures(task: Task, repeats: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        runs: dict[str, Callable[[], Usage]] = {way: functools.partial(_ours, task, out, way) for way in WAYS}
        for peer in DEFAULTS:
            runs[peer.program] = functools.partial(_peer, peer, task, out)
        # A first run reads the panel into its cache; the peers' panels are prepared too. Kernels are compiled before.
        first = {}
        for way in WAYS:
            runs[way]()
            shutil.rmtree(_cache(out, way))
            first[way] = runs[way]()
        taken: dict[str, list[Usage]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, work in runs.items():
                taken[name].append(work())
    return [
        figure
        for way in WAYS
        for figure in (
            *_beside_peers(f"impute {task.name} {way}, {THREADS} threads, best of {repeats}", way, taken),
            Figure(
                name=f"impute {task.name} {way}: first run, panel not cached", value=first[way].wall_seconds, unit="s"
            ),
        )
    ]


def _beside_peers(label: str, way: str, taken: Mapping[str, Sequence[Usage]]) -> Iterator[Figure]:
    wall = {name: min(u.wall_seconds for u in usages) for name, usages in taken.items()}
    cpu = {name: min(u.cpu_seconds for u in usages) for name, usages in taken.items()}
    peak = {name: float(max(u.peak_bytes for u in usages)) for name, usages in taken.items()}
    for name in ("beagle", "minimac4"):
        least = 1.0 if name == "beagle" else None
        title = "Beagle, default, -Xmx4096m" if name == "beagle" else "Minimac4, default"
        goal = "<= Beagle" if least else ""
        for what, values, unit, judged in (
            ("wall time", wall, "s", True),
            ("CPU time", cpu, "s", False),
            ("peak memory", peak, "bytes", True),
        ):
            yield Figure(
                name=f"{label}: {what}",
                value=values[way],
                unit=unit,
                baseline=title,
                baseline_value=values[name],
                goal=goal if judged else "",
                least_ratio=least if judged else None,
            )


def _ours(task: Task, out: Path, way: str) -> Usage:
    program = Path(sys.executable).with_name("vcfrag")
    return run_measured(
        [
            program, "impute", "--panel", task.panel, "--target", task.target, "--map", task.genetic_map,
            "--out", out / "imputed.vcf.gz", "--threads", str(THREADS), *WAYS[way],
        ],
        log=out / "log",
        environment={"VCFRAG_CACHE_DIR": str(_cache(out, way))},
    )  # fmt: skip


def _cache(out: Path, way: str) -> Path:
    return out / f"cache of {way}"


def _peer(peer: object, task: Task, out: Path) -> Usage:
    files = PeerInput(panel=task.panel, target=task.target, genetic_map=read_genetic_map(task.genetic_map, "20"))
    chosen = next(known for known in DEFAULTS if known is peer)
    return run_peer(chosen, files, out / f"{chosen.program}.vcf.gz", threads=THREADS, heap_mb=HEAP_MB).imputation
