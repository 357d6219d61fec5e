"""What a job costs beside one process, what Dask's workers cost, and what a cohort costs by its size.

    python -m benchmarks.scale.jobs --samples 1000 --work bench-out
    python -m benchmarks.scale.jobs --samples 1000 --ways one,job,dask1,dask2
    python -m benchmarks.scale.jobs --samples 50000 --ways job --region 20:481863-894529

Targets are mosaics of the array task's haplotypes, each of three stretches with ends of its own. Memory is the most
that any process took; seconds are of all of them together. Where other programs run, compare processor seconds, not
wall time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.development_tasks import Task, build_task, default_data
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf import bgzf
from vcfrag_train.compare.usage import Usage, run_measured

_STRETCHES = 3
_WARM_SAMPLES = 100
_WAYS = ("one", "plan", "job", "dask1", "dask2")


def main() -> int:
    """Measures the ways asked for and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--ways", default="one,job")
    parser.add_argument("--memory", help="as `vcfrag plan` takes it")
    parser.add_argument("--chunk-samples", type=int, help="as `vcfrag plan --samples-per-chunk`")
    parser.add_argument("--region", help="part of the contig, as `vcfrag plan` takes it")
    parser.add_argument("--model", action="store_true", help="with the model that ships; by copying alone without")
    parser.add_argument("--work", type=Path, default=Path("bench-out"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    task = build_task("array", default_data(), options.work)
    target = mosaics(task, options.samples, options.work)
    # The panel's cache and the compiled kernels are those of a run before; many samples are searched for by others.
    few = mosaics(task, min(_WARM_SAMPLES, options.samples), options.work)
    warm = ["impute", *_inputs(task, few, options), "--out", options.work / "warm.vcf.gz"]
    run_measured(_vcfrag(warm), log=options.work / "warm.log")
    for way in options.ways.split(","):
        for name, usage in measured(way, task, target, options).items():
            print(
                f"{way:6} {name:10} {usage.wall_seconds:8.1f} s wall {usage.cpu_seconds:8.1f} s processor"
                f" {usage.peak_bytes / 1e9:6.2f} GB",
                flush=True,
            )
    return 0


def mosaics(task: Task, n_samples: int, work: Path) -> Path:
    """A VCF of so many samples, mosaics of the task's targets."""
    path = work / f"mosaics-{n_samples}.vcf.gz"
    if path.is_file():
        return path
    (calls,) = read_target(task.target)
    rows = calls.alleles.reshape(calls.n_records, -1).T
    rng = np.random.default_rng(1)
    head = f"##fileformat=VCFv4.2\n##contig=<ID={calls.contig}>\n"
    head += '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    head += "\t".join([*columns, *(f"M{i:06d}" for i in range(n_samples))]) + "\n"
    source = rng.integers(len(rows), size=(_STRETCHES, 2 * n_samples))
    ends = rng.integers(calls.n_records, size=(_STRETCHES - 1, 2 * n_samples))
    haplotypes = np.arange(2 * n_samples)
    words = np.array([[f"{a}|{b}" if min(a, b) >= 0 else ".|." for b in (-1, 0, 1)] for a in (-1, 0, 1)])
    with path.open("wb") as file:
        file.write(bgzf.compress(head.encode())[0])
        for record in range(calls.n_records):
            alleles = rows[source[(ends <= record).sum(axis=0), haplotypes], record] + 1
            cells = words[alleles[0::2], alleles[1::2]]
            site = (calls.contig, calls.positions[record], ".", calls.refs[record], calls.alts[record][0])
            line = "\t".join([*map(str, site), ".", "PASS", ".", "GT", *cells.tolist()]) + "\n"
            file.write(bgzf.compress(line.encode())[0])
        file.write(bgzf.EOF_BLOCK)
    return path


def measured(way: str, task: Task, target: Path, options: argparse.Namespace) -> dict[str, Usage]:
    """What each command of a way took, and all of them."""
    work = options.work / way
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    inputs = [*_inputs(task, target, options), "--out", work / "out.vcf.gz"]
    cut = [] if options.memory is None else ["--memory", options.memory]
    cut += [] if options.chunk_samples is None else ["--samples-per-chunk", options.chunk_samples]
    if way == "one":
        return {"impute": run_measured(_vcfrag(["impute", *inputs]), log=work / "log")}
    if way.startswith("dask"):
        words = ["impute", *inputs, *cut, "--cluster", "local", "--jobs", way.removeprefix("dask")]
        return {"impute": run_measured(_vcfrag(words), log=work / "log")}
    manifest = work / "job.json"
    found = {"plan": run_measured(_vcfrag(["plan", *inputs, *cut, "--manifest", manifest]), log=work / "plan.log")}
    if way == "plan":
        return found
    numbers = [str(chunk["number"]) for chunk in json.loads(manifest.read_text())["chunks"]]
    found["run-chunk"] = run_measured(_vcfrag(["run-chunk", manifest, *numbers]), log=work / "chunks.log")
    found["merge"] = run_measured(_vcfrag(["merge", manifest]), log=work / "merge.log")
    every = Usage(
        command="plan, run-chunk and merge",
        wall_seconds=sum(u.wall_seconds for u in found.values()),
        cpu_seconds=sum(u.cpu_seconds for u in found.values()),
        peak_bytes=max(u.peak_bytes for u in found.values()),
    )
    return {**found, "all": every}


def _inputs(task: Task, target: Path, options: argparse.Namespace) -> list[object]:
    words: list[object] = ["--panel", task.panel, "--map", task.genetic_map, "--target", target]
    words += [] if options.region is None else ["--region", options.region]
    return words if options.model else [*words, "--copying-only"]


def _vcfrag(words: list[object]) -> list[str]:
    return [str(Path(sys.executable).with_name("vcfrag")), *map(str, words)]


if __name__ == "__main__":
    sys.exit(main())
