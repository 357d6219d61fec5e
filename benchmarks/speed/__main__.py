"""Speed: every figure beside its baseline, measured in the same run, with its goal and whether it is reached.

    python -m benchmarks.speed [--only NAME ...] [--quick] [--out bench-out] [--data DIR]

Prints each figure and leaves OUT/speed.json, written anew after every topic.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Topic

TOPICS = ("index", "epoch", "rpc", "copying", "copying_gpu", "impute", "sampler", "step")
CHEAP = ("index", "epoch", "rpc", "copying", "copying_gpu", "sampler", "step")


def main(arguments: list[str] | None = None) -> int:
    """Runs the topics that were asked for; 0 whatever they find."""
    chosen = _parser().parse_args(arguments)
    if chosen.data is not None:
        os.environ["VCFRAG_DATA"] = str(chosen.data)
    chosen.out.mkdir(parents=True, exist_ok=True)
    os.environ["VCFRAG_BENCH_OUT"] = str(chosen.out.resolve())
    found: dict[str, Any] = {"machine": _machine(), "quick": chosen.quick, "topics": {}}
    for name in chosen.only or (CHEAP if chosen.quick else TOPICS):
        print(f"{name}", flush=True)
        begin = time.perf_counter()
        topic: Topic = importlib.import_module(f"benchmarks.speed.{name}").run(quick=chosen.quick)
        taken = time.perf_counter() - begin
        for line in [line for figure in topic.figures for line in figure.lines()] or [f"  {topic.missing}"]:
            print(line, flush=True)
        found["topics"][name] = {
            "seconds": taken,
            "figures": [figure.as_dict() for figure in topic.figures],
            "missing": topic.missing,
            "curve": list(topic.curve),
        }
        for point in topic.curve:
            print("    " + "  ".join(f"{key} {value:.4g}" for key, value in point.items()))
        (chosen.out / "speed.json").write_text(json.dumps(found, indent=1))
    return 0


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=TOPICS, help="repeatable; all unless given")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="folder of the JSON file and of the tasks")
    parser.add_argument("--data", type=Path, help="folder of the shared data, for `impute`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
