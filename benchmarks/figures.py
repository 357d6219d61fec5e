"""A figure beside its baseline: how it is judged, printed and kept."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number and what it is compared with.

    Attributes:
        name: What was measured, with its sizes.
        value: The measurement.
        unit: Of the value and the baseline, such as `s` or `bytes`.
        baseline: What it is compared with.
        baseline_value: Its measurement; None where there is nothing to compare with.
        goal: The goal in words; "" for a figure that is stated only.
        least_ratio: Least baseline / value that reaches the goal.
        most: Largest value that reaches the goal.
        note: How it was measured, where that is not plain.
    """

    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    goal: str = ""
    least_ratio: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Baseline over value: how many times better, where less is better."""
        return None if self.baseline_value is None else self.baseline_value / max(self.value, 1e-12)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.least_ratio is None and self.most is None:
            return None
        enough = self.least_ratio is None or (self.ratio is not None and self.ratio >= self.least_ratio)
        return enough and (self.most is None or self.value <= self.most)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**dataclasses.asdict(self), "ratio": self.ratio, "reached": self.reached}

    def lines(self) -> list[str]:
        """For a terminal."""
        text = f"  {self.name}: {amount(self.value, self.unit)}"
        if self.baseline_value is not None:
            text += f"; {self.baseline}: {amount(self.baseline_value, self.unit)}; ratio {self.ratio:.3g}"
        if self.goal:
            verdict = {True: "reached", False: "NOT reached", None: "not judged"}[self.reached]
            text += f"; goal {self.goal}: {verdict}"
        return [text, f"      {self.note}"] if self.note else [text]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What one topic found.

    Attributes:
        figures: Its measurements.
        missing: Why something was not measured.
        curve: Points that show how the cost grows, each a row of named numbers.
    """

    figures: Sequence[Figure] = ()
    missing: str = ""
    curve: Sequence[dict[str, float]] = ()


def amount(value: float, unit: str) -> str:
    """A number with its unit, in a size that reads well."""
    if unit == "s" and value < 1:
        return f"{1000 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} us"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    return f"{value:.4g} {unit}".rstrip()


def seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Least wall time of several runs: what the machine's other work adds is left out."""
    best = float("inf")
    with _others_frozen():
        for _ in range(repeats):
            gc.collect()
            begin = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - begin)
    return best


def cpu_seconds_in_turn(*works: Callable[[], object], repeats: int = 3) -> list[float]:
    """Least CPU time of this process for each of several pieces of work, taken in turn: for ratios between them."""
    best = [float("inf")] * len(works)
    with _others_frozen():
        for _ in range(repeats):
            for i, work in enumerate(works):
                gc.collect()
                begin = time.process_time()
                work()
                best[i] = min(best[i], time.process_time() - begin)
    return best


@contextlib.contextmanager
def _others_frozen() -> Iterator[None]:
    """Garbage is looked for in what is made from here on, not in all that the process holds."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
