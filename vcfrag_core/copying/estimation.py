"""Switch rate and mismatch from the data at hand: those under which copying foretells hidden typed alleles best.

The rates are chosen by the error that they leave and not by the likelihood of copying: how the two are related depends
on how many candidates there are beside those that matter at a place, and with it on the length of the region
(docs/decisions/rates-from-the-data.md). A prior over panels speaks where there is little to go by.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Final, Self

import numpy as np

from vcfrag_core.copying.parameter_search import Axis, minimise
from vcfrag_core.errors import ConfigError, NotFiniteError, ShapeError
from vcfrag_core.types import F64Array, FloatArray, I8Array

# A switch rate per cM and a mismatch probability.
Pair = tuple[float, float]
# (S, N) losses of every sample, in nats, at N pairs of rates.
SampleLoss = Callable[[Sequence[Pair]], F64Array]

# Copying is often certain and sometimes wrong: its dosage is believed to this share only, the panel's frequency else.
DOUBT: Final = 1e-3
# Neighbouring alleles, and haplotypes that copy the same ones, err together: one nat of theirs counts for so many.
_TEMPER: Final = 0.2
# So few nats of loss in all say next to nothing beside a prior for people, and nothing of the mismatch.
TELLING: Final = 30.0
_SWITCH: Final = Axis(name="switch_per_cm", step=2.0, low=0.02, high=500.0)
# Generated data have no errors, and would have the mismatch fall to nothing.
_MISMATCH: Final = Axis(name="mismatch", step=math.sqrt(10), low=1e-4, high=2e-2)


# Dosages whose losses are computed together: what is in between stays in the cache.
_AT_ONCE: Final = 16_384


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RatePrior:
    """Log-normal, independent distributions of both rates over panels.

    Attributes:
        switch_per_cm: Median switch rate.
        mismatch: Median mismatch probability; from 10^-4 to 10^-2 it hardly matters, so that data speak softly of it.
        switch_log_sd: Standard deviation of the logarithm of the switch rate.
        mismatch_log_sd: The same of the mismatch probability.
    """

    switch_per_cm: float
    mismatch: float = 2e-3
    switch_log_sd: float = math.log(6)
    mismatch_log_sd: float = math.log(2)

    def __post_init__(self) -> None:
        spread = min(self.switch_log_sd, self.mismatch_log_sd)
        if not (self.switch_per_cm > 0 and 0 < self.mismatch < 0.5 and spread > 0):
            raise ConfigError(f"medians and spread of the rates must be positive, got {self}")

    @classmethod
    def of_panel(cls, n_haplotypes: int) -> Self:
        """The more haplotypes there are, the longer is the stretch that one of them explains.

        3 per cM at 4,000 haplotypes, falling with their number to the power 0.45: between what 60 to 2,304 samples of
        1000 Genomes ask for (0.3) and what generated panels of 300 to 12,500 do (0.6).

        Raises:
            ConfigError: No haplotype.
        """
        if n_haplotypes < 1:
            raise ConfigError(f"a panel has haplotypes, got {n_haplotypes}")
        return cls(switch_per_cm=3.0 * (n_haplotypes / 4000) ** -0.45)

    def cost(self, switch_per_cm: float, mismatch: float) -> float:
        """Negative log density at both rates, in nats, up to a constant."""
        switch = math.log(switch_per_cm / self.switch_per_cm) / self.switch_log_sd
        return 0.5 * (switch**2 + (math.log(mismatch / self.mismatch) / self.mismatch_log_sd) ** 2)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the data ask for.

    Attributes:
        switch_per_cm: Rate of switches between candidates.
        mismatch: Probability of a mismatch.
        best_switch_per_cm: The best switch rate that was tried; `switch_per_cm` may lie between two of them.
        loss: Of all samples at the best pair that was tried, in nats.
        n_tried: Pairs of rates that were tried.
    """

    switch_per_cm: float
    mismatch: float
    best_switch_per_cm: float
    loss: float
    n_tried: int


def estimate_rates(
    loss: SampleLoss, prior: RatePrior, panel_loss: SampleLoss | None = None, near: float | None = None
) -> Rates:
    """The rates of least loss and prior cost: the switch rate, then the mismatch.

    Each sample's loss counts relative to its own at the prior's median, but no sample's for more than twice the
    median's: one contaminated sample, or one with a relative in the panel, does not decide for all. Where the samples
    lose less than `TELLING` at the best switch rate tried, the mismatch is the prior's.

    Args:
        loss: (S,) loss of every sample at given rates, S >= 1.
        prior: Where to begin, and what to believe without data.
        panel_loss: The same of panel samples at sites to impute, where the samples' own says too little.
        near: The best switch rate tried on fewer data, where the search begins; the prior's median else.

    Raises:
        NotFiniteError: The loss at the prior's median is not finite.
    """
    usual = (prior.switch_per_cm, prior.mismatch)
    samples = _Told(loss, usual)
    told = [samples] if panel_loss is None else [samples, _Told(panel_loss, usual)]
    tried: dict[Pair, float] = {}

    def ahead(pairs: Sequence[Pair]) -> None:
        for one in told:
            one.try_all(pairs)

    def cost(switch_per_cm: float, mismatch: float) -> float:
        pair = (switch_per_cm, mismatch)
        if pair not in tried:
            tried[pair] = _TEMPER * sum(one.cost(pair) for one in told) + prior.cost(*pair)
        return tried[pair]

    switch = minimise(
        lambda value: cost(value, prior.mismatch),
        near or prior.switch_per_cm,
        _SWITCH,
        ahead=lambda values: ahead([usual, *((value, prior.mismatch) for value in values)]),
    )
    best = min(tried, key=tried.__getitem__)
    mismatch = prior.mismatch
    if samples.total(best) >= TELLING:
        mismatch = minimise(
            lambda value: cost(best[0], value),
            prior.mismatch,
            _MISMATCH,
            ahead=lambda values: ahead([(best[0], value) for value in values]),
        )
        best = min(tried, key=tried.__getitem__)
    return Rates(
        switch_per_cm=switch,
        mismatch=mismatch,
        best_switch_per_cm=best[0],
        loss=samples.total(best),
        n_tried=len(tried),
    )


class _Told:
    """What some samples say of the rates: their losses, each weighted by what it is at usual rates."""

    def __init__(self, loss: SampleLoss, usual: Pair) -> None:
        self._loss = loss
        self._usual = usual
        self._known: dict[Pair, F64Array] = {}

    def try_all(self, pairs: Sequence[Pair]) -> None:
        """Has the losses at all of these at once."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if missing:
            self._known.update(zip(missing, self._loss(missing).T, strict=True))

    def cost(self, pair: Pair) -> float:
        """Weighted nats."""
        return float(self._influence @ self._at(pair))

    def total(self, pair: Pair) -> float:
        """Nats as they are."""
        return float(self._at(pair).sum())

    @functools.cached_property
    def _influence(self) -> F64Array:
        return _influence(self._at(self._usual))

    def _at(self, pair: Pair) -> F64Array:
        self.try_all([pair])
        return self._known[pair]


def _influence(usual: F64Array) -> F64Array:
    """(S,) weights of the samples' losses: as many nats in all as there are."""
    if not len(usual) or not bool(np.isfinite(usual).all()):
        raise NotFiniteError(f"the loss of {len(usual)} samples to estimate rates from is not finite")
    floor = 0.5 * float(np.median(usual))
    total = float(usual.sum())
    if total <= 0:
        return np.ones(len(usual))
    weights = 1 / np.maximum(usual, floor if floor > 0 else total / len(usual))
    return np.asarray(weights * (total / float(weights @ usual)), dtype=np.float64)


def log_loss(dosage: FloatArray, alleles: I8Array, frequency: F64Array) -> F64Array:
    """(Q,) summed negative log probability of the alleles under (Q, L) dosages, in nats.

    Args:
        dosage: (Q, L) probabilities of ALT, believed to `DOUBT`.
        alleles: (Q, L) 0, 1, or -1 where there is no call, which costs nothing.
        frequency: (L,) of ALT in the panel, kept off 0 and 1.

    Raises:
        ShapeError: The arrays do not fit each other.
    """
    if dosage.shape != alleles.shape or dosage.shape[1:] != frequency.shape:
        raise ShapeError(f"dosage {dosage.shape}, alleles {alleles.shape}, frequency {frequency.shape}")
    doubted = DOUBT * np.clip(frequency, 1e-3, 1 - 1e-3)
    lost = np.empty(len(dosage))
    rows = max(1, _AT_ONCE // max(1, len(frequency)))
    for first in range(0, len(dosage), rows):
        some = slice(first, first + rows)
        p = (1 - DOUBT) * dosage[some].astype(np.float64) + doubted
        surprisal = -np.log(np.where(alleles[some] == 1, p, 1 - p))
        lost[some] = np.where(alleles[some] >= 0, surprisal, 0.0).sum(axis=1)
    return lost
