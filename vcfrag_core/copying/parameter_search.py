"""Searches for the copying parameters of least loss: line searches where copying is cheap, steps where it retrieves.

Switch rate and mismatch are searched on logarithmic grids, since trying them costs one round of copying; scales,
neighbours and flank move by factors, since trying them costs a retrieval. The loss is a function of the parameters
alone, so the search never ends on a worse one than it started from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError, NotFiniteError

Loss = Callable[[CopyingParameters], float]
SIGNIFICANT_DIGITS = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One positive parameter that is searched on a logarithmic grid.

    Attributes:
        name: Field of `CopyingParameters`.
        step: Factor between neighbouring points of the grid.
        low: Least value.
        high: Largest value.
    """

    name: str
    step: float
    low: float
    high: float


SWITCH = Axis(name="switch_per_cm", step=1.5, low=0.02, high=500.0)
MISMATCH = Axis(name="mismatch", step=2.5, low=1e-6, high=0.2)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How long to search, and what is worth its price.

    Attributes:
        rounds: Most rounds over all parameters.
        least_gain: Share of the loss that a round, or a dearer retrieval, must gain to be gone on with.
        retrieval: Whether scales, neighbours and flank are searched too.
        least_k, most_k: Bounds of k.
        least_flank_cm, most_flank_cm: Bounds of the flank.
        least_scale, most_scale: Bounds of the observed sites of a segment.
    """

    rounds: int = 2
    least_gain: float = 2e-3
    retrieval: bool = True
    least_k: int = 4
    most_k: int = 64
    least_flank_cm: float = 0.1
    most_flank_cm: float = 8.0
    least_scale: int = 4
    most_scale: int = 4096

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 0 <= self.least_gain < 1:
            raise ConfigError(f"rounds must be >= 1 and least_gain in [0, 1), got {self.rounds}, {self.least_gain}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a search ended.

    Attributes:
        parameters: The best ones.
        loss: Theirs.
        start_loss: The loss that the search began with.
        n_tried: Parameters that were tried.
    """

    parameters: CopyingParameters
    loss: float
    start_loss: float
    n_tried: int


def search(loss: Loss, start: CopyingParameters, config: SearchConfig | None = None) -> Found:
    """Coordinate descent from `start`: switch rate, mismatch and the moves of retrieval, until a round gains little.

    Raises:
        NotFiniteError: The loss of `start` is not finite.
    """
    descent = _Descent(loss, start, config or SearchConfig())
    return descent.run()


def minimise(
    loss: Callable[[float], float],
    start: float,
    axis: Axis,
    *,
    ahead: Callable[[Sequence[float]], None] | None = None,
) -> float:
    """The value of least loss on the grid start · step^n, walked downhill, or that at the vertex of the parabola there.

    Args:
        loss: Function of the value; NaN counts as worst.
        start: Where the grid begins; its loss is never exceeded.
        axis: The grid and its bounds.
        ahead: Told the values that are asked for first, as three together may cost little more than one. Then the
            vertex is believed, and not tried.
    """
    seen: dict[int, float] = {}

    def value(n: float) -> float:
        return _rounded(start * axis.step**n) if n else start

    def at(n: int) -> float:
        if n not in seen:
            seen[n] = _or_worst(loss(value(n))) if n == 0 or axis.low <= value(n) <= axis.high else math.inf
        return seen[n]

    if ahead is not None:
        ahead([value(n) for n in (-1, 0, 1) if axis.low <= value(n) <= axis.high])
    best = 0
    for direction in (1, -1):
        while at(best + direction) < at(best):
            best += direction
    refined = value(best + _vertex(at(best - 1), at(best), at(best + 1)))
    is_new = refined != value(best) and axis.low <= refined <= axis.high
    return refined if is_new and (ahead is not None or _or_worst(loss(refined)) < at(best)) else value(best)


def _vertex(before: float, here: float, after: float) -> float:
    """Where, in steps from the middle, the parabola through three equally spaced losses is least; 0 without one."""
    bend = before - 2 * here + after
    if not (math.isfinite(bend) and bend > 0):
        return 0.0
    shift = 0.5 * (before - after) / bend
    return shift if 0.05 <= abs(shift) <= 1 else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """Multiplies k, the flank, all scales or one of them by a factor."""

    field: str
    factor: float
    scale: int | None = None

    def applied(self, parameters: CopyingParameters, config: SearchConfig) -> CopyingParameters | None:
        """The parameters after the move; None where it leads out of bounds or nowhere."""
        if self.field == "scales":
            moved = dataclasses.replace(parameters, scales=self._scales(parameters.scales, config))
        elif self.field == "k":
            k = max(config.least_k, min(config.most_k, round(parameters.k * self.factor)))
            moved = dataclasses.replace(parameters, k=k)
        else:
            flank = max(config.least_flank_cm, min(config.most_flank_cm, parameters.flank_cm * self.factor))
            moved = dataclasses.replace(parameters, flank_cm=_rounded(flank))
        return None if moved == parameters else moved

    def _scales(self, scales: tuple[int, ...], config: SearchConfig) -> tuple[int, ...]:
        wanted = tuple(round(s * self.factor) if self.scale in (None, i) else s for i, s in enumerate(scales))
        ascends = all(a < b for a, b in zip(wanted, wanted[1:], strict=False))
        return wanted if ascends and config.least_scale <= wanted[0] and wanted[-1] <= config.most_scale else scales


def retrieval_moves(n_scales: int) -> list[Move]:
    """The moves that a round tries, cheaper retrievals first."""
    chosen = [None, *(range(n_scales) if n_scales > 1 else ())]
    return [
        *(Move(field, factor) for factor in (1 / 1.5, 1.5) for field in ("k", "flank_cm")),
        *(Move("scales", factor, scale) for factor in (math.sqrt(2), 1 / math.sqrt(2)) for scale in chosen),
    ]


def _is_dearer(there: CopyingParameters, here: CopyingParameters) -> bool:
    return (
        there.k > here.k
        or there.flank_cm > here.flank_cm
        or sum(1 / s for s in there.scales) > sum(1 / s for s in here.scales)
    )


class _Descent:
    def __init__(self, loss: Loss, start: CopyingParameters, config: SearchConfig) -> None:
        self._loss = loss
        self._config = config
        self._known: dict[CopyingParameters, float] = {}
        self._here = start

    def run(self) -> Found:
        start_loss = self._at(self._here)
        if not math.isfinite(start_loss):
            raise NotFiniteError(f"the loss of the first parameters is {start_loss}: nothing can be compared with it")
        for _ in range(self._config.rounds):
            before = self._at(self._here)
            for axis in (SWITCH, MISMATCH):
                self._search_line(axis)
            if self._config.retrieval:
                self._search_retrieval()
            if before - self._at(self._here) < self._config.least_gain * before:
                break
        return Found(parameters=self._here, loss=self._at(self._here), start_loss=start_loss, n_tried=len(self._known))

    def _at(self, parameters: CopyingParameters) -> float:
        if parameters not in self._known:
            self._known[parameters] = _or_worst(self._loss(parameters))
        return self._known[parameters]

    def _search_line(self, axis: Axis) -> None:
        def replaced(value: float) -> CopyingParameters:
            change: dict[str, Any] = {axis.name: value}
            return dataclasses.replace(self._here, **change)

        value = minimise(lambda v: self._at(replaced(v)), getattr(self._here, axis.name), axis)
        self._here = replaced(value)

    def _search_retrieval(self) -> None:
        before = self._here
        for move in retrieval_moves(len(before.scales)):
            there = move.applied(self._here, self._config)
            if there is not None and self._is_worth_it(there):
                self._here = there
        if self._here != before:
            self._search_line(SWITCH)

    def _is_worth_it(self, there: CopyingParameters) -> bool:
        here_loss = self._at(self._here)
        needed = self._config.least_gain * here_loss if _is_dearer(there, self._here) else 0.0
        return self._at(there) <= here_loss - needed


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _or_worst(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
