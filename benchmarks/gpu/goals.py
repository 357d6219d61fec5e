"""What the stages found, beside the goals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu import panels

BASELINE = "baseline: unfused, one haplotype at a time, float32"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal and what was found.

    Attributes:
        name: What was measured.
        figure: What was found; None where it was not measured.
        least: The least that reaches the goal; None without.
        most: The most that does; None without.
    """

    name: str
    figure: float | None
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it is; None where it was not measured."""
        if self.figure is None:
            return None
        return (self.least is None or self.figure >= self.least) and (self.most is None or self.figure <= self.most)

    def line(self) -> str:
        """For a terminal."""
        wanted = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        if self.figure is None:
            return f"{self.name}: not measured (goal {wanted})"
        return f"{self.name}: {self.figure:.3g} (goal {wanted}: {'reached' if self.reached else 'NOT reached'})"


def judged(stages: dict[str, Any]) -> list[Goal]:
    """The goals, from all that the stages found."""
    found = {name: stage.get("found", {}) for name, stage in stages.items()}
    return [*_searches(found), *_copying(found), *_training(found), *_daemon(found)]


def _searches(found: dict[str, Any]) -> Iterator[Goal]:
    for stage, name, least in (("search_small", "5,008", 2.0), ("search_large", "200,000", 10.0)):
        host, device = (_through_daemon(found.get(stage, {}), engine) for engine in ("bitscan", "bitscan-gpu"))
        for key, how in (("cold", "cold"), ("warm", "warm"), ("lanes", "four clients")):
            ratio = _ratio(host.get(f"{key}_seconds"), device.get(f"{key}_seconds"))
            yield Goal(name=f"search of {name} haplotypes, times bitscan, {how}", figure=ratio, least=least)
        both = "answers" in host and "answers" in device
        same = float(host["answers"] == device["answers"]) if both else None
        yield Goal(name=f"search of {name} haplotypes, answers as bitscan's", figure=same, least=1.0)
    scan = found.get("search_large", {}).get("in process bitscan-gpu equal", {})
    least = _least_seconds(scan, found.get("device", {}).get("popcounts_per_second"))
    kernels = scan.get("kernels", {})
    for name, key in (("pass over all rows", "filter_count 1"), ("whole search", "from first to last")):
        yield Goal(name=f"share of the popcounts possible, {name}", figure=_ratio(least, kernels.get(key)), least=0.4)


def _through_daemon(found: dict[str, Any], engine: str) -> dict[str, Any]:
    """Of an engine with all threads, of which a node has many."""
    runs = [(int(name.split()[2]), run) for name, run in found.items() if name.startswith(f"daemon {engine} ")]
    return max(runs, key=lambda run: run[0], default=(0, {}))[1]


def _least_seconds(scan: dict[str, Any], per_second: float | None) -> float | None:
    """Of a search that only counted the bits of every row and query in every segment, at the device's own rate."""
    if per_second is None or "words" not in scan:
        return None
    return float(scan["words"] * scan["haplotypes"] * panels.QUERIES / per_second)


def _copying(found: dict[str, Any]) -> Iterator[Goal]:
    for kind in ("forward", "backward"):
        run = found.get("copying", {}).get(f"200 x 5700 x 1300 {kind}", {})
        host = next((value for key, value in run.items() if key.startswith("host_")), None)
        yield Goal(name=f"copying {kind}, times the host", figure=_ratio(host, run.get("device_seconds")), least=5.0)


def _training(found: dict[str, Any]) -> Iterator[Goal]:
    steps = found.get("step", {})
    baseline, ours = (steps.get(name, {}).get("seconds_per_haplotype") for name in (BASELINE, "together, bfloat16"))
    yield Goal(name="training step, times the baseline", figure=_ratio(baseline, ours), least=4.0)
    for name in ("copying trained, too", "copying as it is", "copying as it is, on the device"):
        epochs = found.get("fit", {}).get(name, {}).get("epochs", [])
        share = float(epochs[-1]["waiting_for_index_share"]) if epochs else None
        yield Goal(name=f"share of the last epoch waiting for the index, {name}", figure=share, most=0.02)


def _daemon(found: dict[str, Any]) -> Iterator[Goal]:
    for engine in ("bitscan-gpu", "faiss-gpu"):
        run = found.get("daemon", {}).get(engine, {})
        for how, most in (("killed", 10.0), ("stopped", 20.0)):
            seconds = run.get(f"{how}: seconds until the answer") if run.get(f"{how}: same answer") else None
            yield Goal(name=f"seconds until {engine} answers the same after it was {how}", figure=seconds, most=most)


def _ratio(baseline: float | None, ours: float | None) -> float | None:
    return None if baseline is None or not ours else baseline / ours
