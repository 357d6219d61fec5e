"""Rates of copying for targets whose haplotypes the panel hardly knows.

Where candidates foretell little, many switches and mismatches hedge, which log probability rewards and squared error
does not. Whether it is that, a map that is wrong, a small panel or genotype errors, what panel samples ask for tells,
who are left out and typed alike (docs/decisions/rates-from-the-data.md).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from vcfrag_core.copying.estimation import Pair, RatePrior

# Nats an allele times the switch rate over the prior's median, from which panel samples are asked: by this panels of
# the targets' ancestry on the right map have less.
_SUSPICIOUS: Final = 0.12
# Strangers to a panel want so many times the switches of its own samples, more where they also want more mismatches, as
# genotype errors raise both.
_MORE_SWITCHES: Final = 1.5
# The loss, relative to the panel samples', from which the rate is lowered; how far at most, and the mismatch with its
# cube, on an array, unless many more mismatches are wanted, which may be errors.
_MORE_LOSS: Final = 1.4
_LEAST_FACTOR: Final = 0.35
_LEAST_MISMATCH_FACTOR: Final = 0.25
_MANY_MISMATCHES: Final = 3.0
# Nats an allele from which it is, where no panel sample can be asked.
_UNCOMPARED: Final = 0.2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Rates under which the hidden typed alleles of some samples have the least loss, and that loss.

    Attributes:
        switch_per_cm: Rate of switches between candidates.
        mismatch: Probability of a mismatch.
        loss: Nats an allele.
    """

    switch_per_cm: float
    mismatch: float
    loss: float

    @property
    def pair(self) -> Pair:
        """Both rates."""
        return self.switch_per_cm, self.mismatch


def is_suspicious(targets: Wanted, prior: RatePrior) -> bool:
    """Whether targets lose so much, and want so many switches, that panel samples should be asked."""
    more = targets.switch_per_cm / prior.switch_per_cm
    return more > 1 and targets.loss * more > _SUSPICIOUS


def are_strangers(targets: Wanted, panel: Wanted) -> bool:
    """Whether targets want more switches than panel samples, which a map or errors of genotype do not explain."""
    mismatches = max(1.0, targets.mismatch / panel.mismatch)
    return targets.switch_per_cm > _MORE_SWITCHES * math.sqrt(mismatches) * panel.switch_per_cm


def hedging_less(targets: Wanted, panel: Wanted | None, prior: RatePrior, dense_share: float) -> Pair:
    """Switch rate and mismatch for strangers to the panel; those wanted for others.

    Args:
        targets: What targets want.
        panel: What panel samples left out want at the same sites; None where nobody can be asked.
        prior: Of this panel.
        dense_share: Where data lie between an array, 0, and dense data, 1.
    """
    if panel is not None and not are_strangers(targets, panel):
        return targets.pair
    if panel is None or panel.switch_per_cm > prior.switch_per_cm:
        return _uncompared(targets, prior)
    factor = max(_LEAST_FACTOR, _MORE_LOSS * panel.loss / targets.loss)
    switch = max(prior.switch_per_cm, targets.switch_per_cm * factor)
    if switch >= targets.switch_per_cm:
        return targets.pair
    mismatch = prior.mismatch
    if targets.mismatch <= _MANY_MISMATCHES * panel.mismatch:
        lowered = max(_LEAST_MISMATCH_FACTOR, (switch / targets.switch_per_cm) ** 3)
        mismatch *= lowered ** (1 - dense_share)
    return switch, min(targets.mismatch, mismatch)


def _uncompared(targets: Wanted, prior: RatePrior) -> Pair:
    """The rates where nobody tells what is usual here, or the map is wrong by as much as panel samples want."""
    if targets.loss <= _UNCOMPARED or targets.switch_per_cm <= prior.switch_per_cm:
        return targets.pair
    switch = max(prior.switch_per_cm, targets.switch_per_cm * _UNCOMPARED / targets.loss)
    return switch, min(targets.mismatch, prior.mismatch)
