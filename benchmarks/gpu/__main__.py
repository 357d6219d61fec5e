"""Checks a GPU node and measures on it; needs no network.

    python -m benchmarks.gpu [--out gpu-check-out] [--only STAGE ...] [--brief] [--data DIR] [--seconds 580]

Every stage is a process of its own. What it finds is written to OUT/gpu.json at once, so that a stage that fails or
takes too long loses nothing that was found before. Ends with a table of the goals.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu import goals

# In this order; seconds that each may take.
STAGES = {
    "device": 30,
    "search_small": 80,
    "search_large": 90,
    "copying": 30,
    "tests": 70,
    "fit": 150,
    "step": 50,
    "daemon": 50,
    "impute": 5,
}
TAIL = 4000


def main() -> int:
    """Runs the stages; 0 if all of them ended well."""
    chosen = _parser().parse_args()
    if chosen.data is not None:
        os.environ["VCFRAG_DATA"] = str(chosen.data)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.stage:
        stage = importlib.import_module(f"benchmarks.gpu.{chosen.stage}")
        stage.run(_note(chosen.out / f"{chosen.stage}.json"), brief=chosen.brief)
        return 0
    begun, failed = time.monotonic(), 0
    stages = chosen.only or list(STAGES)
    # The host's loops compile while the device is looked at.
    warming = _warming() if set(stages) - {"device"} else None
    found: dict[str, Any] = {}
    for name in stages:
        if name != "device" and warming is not None:
            warming.wait()
        left = chosen.seconds - (time.monotonic() - begun)
        if left < 10:
            found[name] = {"missing": "no time was left"}
            continue
        found[name] = _stage(name, chosen, min(STAGES[name], left))
        failed += found[name]["ended"] != "well"
        (chosen.out / "gpu.json").write_text(json.dumps(found, indent=1))
        print(f"{name}: {found[name]['ended']} in {found[name]['seconds']:.1f} s", flush=True)
        for key, value in found[name]["found"].items():
            print(f"  {key}: {json.dumps(value)}"[:600], flush=True)
        if found[name]["ended"] != "well":
            print(found[name]["output"][-1500:], flush=True)
    for goal in goals.judged(found):
        print(goal.line())
    return 1 if failed else 0


def _warming() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.gpu.warm"], stdout=subprocess.DEVNULL)


def _stage(name: str, chosen: argparse.Namespace, seconds: float) -> dict[str, Any]:
    begun, out = time.monotonic(), chosen.out
    command = [sys.executable, "-m", "benchmarks.gpu", "--stage", name, "--out", str(out)]
    command += ["--brief"] if chosen.brief else []
    log = out / f"{name}.log"
    with log.open("wb") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(seconds)
            ended = "well" if code == 0 else f"with code {code}"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
            ended = f"stopped after {seconds:.0f} s"
    file = out / f"{name}.json"
    return {
        "ended": ended,
        "seconds": time.monotonic() - begun,
        "found": json.loads(file.read_text()) if file.exists() else {},
        "output": log.read_text(errors="replace")[-TAIL:],
    }


def _note(file: Path) -> Callable[[str, Any], None]:
    """A function that keeps a finding, in the file at once."""
    found: dict[str, Any] = {}

    def note(name: str, value: Any) -> None:
        found[name] = value
        file.write_text(json.dumps(found, indent=1))
        print(name, value, flush=True)

    return note


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-check-out"))
    parser.add_argument("--only", action="append", choices=tuple(STAGES), help="repeatable; all unless given")
    parser.add_argument("--brief", action="store_true", help="leave out what is slow and not judged")
    parser.add_argument("--data", type=Path, help="folder of the shared data")
    parser.add_argument("--seconds", type=float, default=580, help="for all stages together")
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
