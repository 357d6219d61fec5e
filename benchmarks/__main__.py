"""Every benchmark that ends by itself: `python -m benchmarks [--work bench-out] [--only NAME]`, or `make bench`.

Each is a program of its own, run in a process of its own and with a limit; what needs the shared data is left out,
and said to be, where they are not there.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.development_tasks import default_data

FOLDER = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One program.

    Attributes:
        name: What `--only` calls it.
        what: What it measures, in a line.
        words: Its arguments after the interpreter; {work} is the output folder.
        limit_seconds: After which it is ended and counted as failed.
        needs_data: Whether it reads the shared data.
    """

    name: str
    what: str
    words: tuple[str, ...]
    limit_seconds: float
    needs_data: bool = True


BENCHMARKS = (
    Benchmark(
        name="speed",
        what="index, RPC, copying, imputation, sampler and training step, each beside its baseline",
        words=("-m", "benchmarks.speed", "--out", "{work}"),
        limit_seconds=420,
        needs_data=False,
    ),
    Benchmark(
        name="search",
        what="one search by each engine, on the development tasks' shapes",
        words=("-m", "benchmarks.speed.search", "--queries", "40", "--json", "{work}/search.json"),
        limit_seconds=120,
    ),
    Benchmark(
        name="jobs",
        what="plan, run-chunk and merge beside one process",
        words=("-m", "benchmarks.scale.jobs", "--samples", "200", "--work", "{work}"),
        limit_seconds=300,
    ),
    Benchmark(
        name="accuracy",
        what="both development tasks beside Beagle and Minimac4: accuracy, time, memory",
        words=("-m", "benchmarks.accuracy.tasks", "--work", "{work}"),
        limit_seconds=360,
    ),
)


def main() -> int:
    """Runs what was asked for; the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-out"))
    parser.add_argument("--only", action="append", choices=[benchmark.name for benchmark in BENCHMARKS])
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = [b for b in BENCHMARKS if not options.only or b.name in options.only]
    return sum(not run(benchmark, options.work) for benchmark in chosen)


def run(benchmark: Benchmark, work: Path) -> bool:
    """Runs one and says how it went; True unless it failed."""
    print(f"\n== {benchmark.name}: {benchmark.what}", flush=True)
    if benchmark.needs_data and not (default_data() / "README.md").is_file():
        print(f"left out: the real data are not at {default_data()}; set VCFRAG_DATA to their folder")
        return True
    began = time.monotonic()
    command = [sys.executable, *(word.format(work=work) for word in benchmark.words)]
    try:
        code = subprocess.run(command, cwd=FOLDER.parent, timeout=benchmark.limit_seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"ended after its limit of {benchmark.limit_seconds:.0f} s", flush=True)
        return False
    print(f"{benchmark.name}: {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
