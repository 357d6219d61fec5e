"""Switch rate and mismatch from the data at hand: those under which copying foretells hidden typed alleles best.

The rates are chosen by the error that they leave and not by the likelihood of copying: how the two are related depends
on how many candidates there are beside those that matter at a place, and with it on the length of the region
(docs/decisions/rates-from-the-data.md). A prior over panels speaks where there is little to go by.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Final, Self

import numpy as np

from vcfrag_core.copying.parameter_search import Axis, minimise
from vcfrag_core.errors import ConfigError, NotFiniteError, ShapeError
from vcfrag_core.types import F64Array, FloatArray, I8Array

# (S,) loss of every sample, in nats, at a switch rate per cM and a mismatch probability.
SampleLoss = Callable[[float, float], F64Array]

# Copying is often certain and sometimes wrong: its dosage is believed to this share only, the panel's frequency else.
DOUBT: Final = 1e-3
# Neighbouring alleles, and haplotypes that copy the same ones, err together: one nat of theirs counts for so many.
_TEMPER: Final = 0.2
# Of panel samples all sites to impute are foretold: closer to each other than typed ones, and the samples are not those
# that the rates are for.
_TEMPER_OF_PANEL: Final = 0.05
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
        loss: Of all samples at both, in nats.
        n_tried: Pairs of rates that were tried.
    """

    switch_per_cm: float
    mismatch: float
    loss: float
    n_tried: int


def estimate_rates(
    loss: SampleLoss, prior: RatePrior, panel_loss: SampleLoss | None = None, near: float | None = None
) -> Rates:
    """The rates of least loss and prior cost, searched from the prior's median: the switch rate, then the mismatch.

    Each sample's loss counts relative to its own at the start, but no sample's for more than twice the median's: one
    contaminated sample, or one with a relative in the panel, does not decide for all.

    Args:
        loss: (S,) loss of every sample at given rates, S >= 1.
        prior: Where to begin, and what to believe without data.
        panel_loss: The same of panel samples at sites to impute, where the samples' own says too little.
        near: The switch rate that fewer data asked for, beside which the search goes on.

    Raises:
        NotFiniteError: The loss at the prior's median is not finite.
    """
    samples = _Told(loss, prior, _TEMPER)
    told = [samples]
    if panel_loss is not None:
        told.append(_Told(panel_loss, prior, _TEMPER_OF_PANEL))
    tried: dict[tuple[float, float], float] = {}

    def cost(switch_per_cm: float, mismatch: float) -> float:
        key = (switch_per_cm, mismatch)
        if key not in tried:
            tried[key] = sum(one.cost(*key) for one in told) + prior.cost(*key)
        return tried[key]

    switch = minimise(lambda value: cost(value, prior.mismatch), prior.switch_per_cm, _SWITCH, near)
    mismatch = minimise(lambda value: cost(switch, value), prior.mismatch, _MISMATCH)
    total = samples.total(switch, mismatch)
    return Rates(switch_per_cm=switch, mismatch=mismatch, loss=total, n_tried=len(tried))


class _Told:
    """What some samples say of the rates: their losses, each weighted by what it is at the prior's median."""

    def __init__(self, loss: SampleLoss, prior: RatePrior, temper: float) -> None:
        self._temper = temper
        self._loss = functools.cache(loss)
        self._influence = _influence(self._loss(prior.switch_per_cm, prior.mismatch))

    def cost(self, switch_per_cm: float, mismatch: float) -> float:
        """Weighted nats."""
        return self._temper * float(self._influence @ self._loss(switch_per_cm, mismatch))

    def total(self, switch_per_cm: float, mismatch: float) -> float:
        """Nats as they are."""
        return float(self._loss(switch_per_cm, mismatch).sum())


def _influence(start: F64Array) -> F64Array:
    """(S,) weights of the samples' losses: as many nats in all as there are."""
    if not len(start) or not bool(np.isfinite(start).all()):
        raise NotFiniteError(f"the loss of {len(start)} samples to estimate rates from is not finite")
    floor = 0.5 * float(np.median(start))
    total = float(start.sum())
    if total <= 0:
        return np.ones(len(start))
    weights = 1 / np.maximum(start, floor if floor > 0 else total / len(start))
    return np.asarray(weights * (total / float(weights @ start)), dtype=np.float64)


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
