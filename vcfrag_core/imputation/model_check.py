"""Whether a trained model does these targets any good: it is judged at typed sites that are hidden, beside copying."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, Self, TypeVar

import numpy as np

from vcfrag_core.copying.estimation import RatePrior, log_loss
from vcfrag_core.imputation.corrector import between
from vcfrag_core.imputation.integrate import Corrected
from vcfrag_core.imputation.leave_one_out import HiddenSites, HidesSites, LeaveOneOut
from vcfrag_core.imputation.rates import foretold_in_short
from vcfrag_core.panel.panel import frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import F32Array, F64Array, I8Array

# What the model changes of the loss of copying on most panels (docs/decisions/model-by-the-targets.md), how far that
# varies, and how far what it does for single samples does.
_EXPECTED: Final = -0.03
_SPREAD: Final = 0.05
_SPREAD_OF_SAMPLES: Final = 0.02
# Sites to impute are rarer than typed ones. Where the model hardly helps at these, it harms at those.
_NEEDED: Final = -0.01
# Half of a correction harms less, and what it does varies half as much; unless the switch rate is so many times that of
# a panel of this size, which lacks the targets' ancestry, or has a map of another scale.
_NEEDED_OF_HALF: Final = -0.005
_OTHER_RATE: Final = 2.0
# Nats per allele of copying where panel or targets have errors, which the model repairs: large panels without any have
# less, all others more (docs/decisions/model-for-any-panel.md).
_ERRS: Final = 5e-3
# Nats per allele of copying by large panels without errors, at most: the mean of its log-odds and the model's errs less
# than either there, and is taken unless hidden sites say that it harms (docs/decisions/model-by-the-targets.md).
_HALF_BELOW: Final = 8e-3
_NEEDED_BELOW: Final = 0.0
_HALF: Final = 0.5
# Nats per allele of copying that hardly ever errs; a quarter of that is its doubt. What is left to correct is noise
# (docs/decisions/model-by-the-targets.md).
_CERTAIN: Final = 2e-3
# Significant digits of a length factor: whoever reads it in a record has the very number.
_DIGITS: Final = 4


class Corrects(HidesSites, Protocol):
    """What is needed of an `Imputer` with a model."""

    def corrected(self, hidden: HiddenSites, n_samples: int, pool: ThreadPoolExecutor) -> list[Corrected]: ...

    def judged(self, *, used: bool, trusted: bool, length_factor: float = 1.0, share: float = 1.0) -> Self: ...


Judged = TypeVar("Judged", bound=Corrects)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """What a model did for hidden typed alleles, and what follows.

    Attributes:
        change: Of the loss of copying by the model's correction, as a share of it; NaN where nothing was hidden, and
            where copying is certain, so that the model was not asked.
        standard_error: Of the change, over samples; infinite for a single one.
        targets: Samples.
        n_sites: Typed sites that were hidden.
        n_alleles: Called alleles at them.
        loss: Mean negative log probability of those alleles by copying, in nats.
        length_factor: What genetic lengths are multiplied by before the model sees them: where it does no good with
            lengths as they are, the switch rate over that of a panel of this size, if it does good with that. This
            makes expected switches of centimorgans, whatever the scale of the map
            (docs/decisions/model-by-the-targets.md).
        share: Of the model's correction of log-odds, which is judged, and taken where it does good: all, or half where
            the whole does none or copying hardly errs.
        certain_below: Nats per allele below which copying leaves nothing to correct.
    """

    change: float = math.nan
    standard_error: float = math.inf
    targets: tuple[str, ...] = ()
    n_sites: int = 0
    n_alleles: int = 0
    loss: float = math.nan
    length_factor: float = 1.0
    share: float = 1.0
    certain_below: float = _CERTAIN

    @property
    def believed(self) -> float:
        """The change, given what it was on other panels and targets."""
        if not math.isfinite(self.change) or not math.isfinite(self.standard_error):
            return _EXPECTED
        error = max(self.standard_error, _SPREAD_OF_SAMPLES / math.sqrt(len(self.targets)))
        here, before = 1 / error**2, 1 / _SPREAD**2
        return (here * self.change + before * _EXPECTED) / (here + before)

    @property
    def needed(self) -> float:
        """The change below which the model is used."""
        if self.hardly_errs and self.share != 1 and self.length_factor == 1:
            return _NEEDED_BELOW
        return _NEEDED if self.share == 1 or self.length_factor > _OTHER_RATE else _NEEDED_OF_HALF

    @property
    def used(self) -> bool:
        """Whether the model corrects copying."""
        return not self.certain and self.believed < self.needed

    @property
    def settled(self) -> bool:
        """Whether the change is below none by more than two standard errors."""
        return math.isfinite(self.standard_error) and self.change < -2 * self.standard_error

    @property
    def trusted(self) -> bool:
        """Whether copying errs enough that the model also corrects where its scores on held-out samples disagree."""
        return self.used and self.loss >= _ERRS

    @property
    def hardly_errs(self) -> bool:
        """Whether copying loses as little as by a large panel without errors."""
        return self.loss < _HALF_BELOW

    @property
    def certain(self) -> bool:
        """Whether copying leaves nothing to correct."""
        return self.loss < self.certain_below

    def record(self) -> dict[str, object]:
        """As the cohort record and the QC summary keep it."""
        return {
            "used": self.used,
            "trusted": self.trusted,
            "change_of_loss": _finite(self.change),
            "standard_error": _finite(self.standard_error),
            "believed": round(self.believed, 6),
            "targets": list(self.targets),
            "n_sites": self.n_sites,
            "n_alleles": self.n_alleles,
            "loss": _finite(self.loss),
            "length_factor": self.length_factor,
            "share": self.share,
        }

    def applied(self, imputer: Judged) -> Judged:
        """The imputer with the model as it is used, or without it."""
        return imputer.judged(used=self.used, trusted=self.trusted, length_factor=self.length_factor, share=self.share)

    def fields(self) -> str:
        """`key=value` pairs for the header of an output."""
        return (
            f"used={'yes' if self.used else 'no'},change_of_loss={_told(self.change)},"
            f"standard_error={_told(self.standard_error)},believed={self.believed:.4g},targets={len(self.targets)},"
            f"sites={self.n_sites},alleles={self.n_alleles},nats_per_allele={_told(self.loss)},"
            f"length_factor={self.length_factor:.{_DIGITS}g},share={self.share:g}"
        )

    def __str__(self) -> str:
        if not self.n_alleles:
            return "the model could not be judged on these targets, as no typed site could be hidden"
        n = len(self.targets)
        error = f"standard error {self.standard_error:.1%}" if n > 1 else "of one target there is no standard error"
        where = f"at {self.n_sites} hidden typed sites of {n} target{'s' * (n > 1)}"
        if self.certain:
            return f"the model is left out: {where} copying loses {self.loss:.2g} nats an allele, nothing to correct"
        what = "it" if self.share == 1 else f"a share of {self.share:g} of its correction"
        judged = f"{where} {what} changes the loss of copying by {self.change:+.1%} ({error})"
        if n > 1:
            judged += f", {self.believed:+.1%} together with what it did in training"
        if n == 1 and self.used:
            return f"the model is used, as a single target cannot tell whether it helps: {judged}"
        if self.length_factor != 1:
            judged += f"; it sees genetic lengths times {self.length_factor:.{_DIGITS}g}, by the switch rate"
        if self.used:
            return f"the model is used: {judged}"
        return f"the model is left out: {judged}, where less than {self.needed:+.1%} is asked for"


def check_model(imputer: Corrects, left_out: LeaveOneOut | None, n_targets: int) -> ModelCheck:
    """Judges the model where sites were hidden to estimate the rates.

    It is shown hidden sites alone, so that what it sees of a candidate's alleles nearby is of farther sites than in
    imputation. On the panels tried that moved the change by less than half of its standard error, at a fortieth of the
    cost of imputing all sites.

    Args:
        imputer: Under the rates found; with a model.
        left_out: Remembers what was retrieved with sites hidden.
        n_targets: How many of its samples are targets; panel samples that stand in tell nothing of the targets.
    """
    places = [] if left_out is None or not n_targets else left_out.kept(imputer)
    if left_out is None or not places:
        return ModelCheck()
    ploidy = left_out.targets.ploidy.select(np.arange(n_targets))
    n_alleles = sum(int((_alleles(hidden, ploidy) >= 0).sum()) for hidden in places)
    with ThreadPoolExecutor(imputer.threads) as pool:
        copied = np.zeros(n_targets)
        for hidden in places:
            of_targets = dataclasses.replace(hidden, problem=hidden.problem.part(0, ploidy.n_haplotypes))
            copied += _loss(imputer, hidden, ploidy, imputer.copied(of_targets, pool))
        found = ModelCheck(
            targets=left_out.targets.samples[:n_targets],
            n_sites=sum(len(hidden.sites) for hidden in places),
            n_alleles=n_alleles,
            loss=float(copied.sum()) / n_alleles if n_alleles else math.nan,
            certain_below=max(_CERTAIN, foretold_in_short(imputer, left_out.targets.observed)),
        )
        if found.certain:
            return found
        whole, half = _judged(imputer, places, ploidy, copied, found, pool)
        halved = whole.hardly_errs and not whole.settled
        found = half if halved else whole
        if found.used:
            return found
        expected = RatePrior.of_panel(imputer.panel.n_haplotypes).switch_per_cm
        factor = float(f"{imputer.parameters(left_out.targets.observed).switch_per_cm / expected:.{_DIGITS}g}")
        imputer = imputer.judged(used=True, trusted=False, length_factor=factor)
        again = _judged(imputer, places, ploidy, copied, dataclasses.replace(found, length_factor=factor), pool)
    if again[0].used and not halved:
        return again[0]
    halves = [again[1]] if factor > _OTHER_RATE else [half, again[1]]
    half = min(halves, key=lambda one: one.believed)
    return half if half.used else found


def recorded_verdict(record: Mapping[str, Any], imputer: Judged) -> Judged:
    """The imputer with the model as a `ModelCheck.record` says; one written before factor and share were, too.

    Args:
        record: Not empty, and checked.
        imputer: With a model, or without.
    """
    trusted = record.get("trusted") is True
    return imputer.judged(
        used=record["used"],
        trusted=trusted,
        length_factor=record.get("length_factor", 1.0),
        share=record.get("share", 1.0),
    )


def _judged(
    imputer: Corrects,
    places: Sequence[HiddenSites],
    ploidy: Ploidy,
    copied: F64Array,
    found: ModelCheck,
    pool: ThreadPoolExecutor,
) -> tuple[ModelCheck, ModelCheck]:
    """What is found with the change by the model, from the (S,) losses of copying; and by half of its correction.

    Where the model leaves the rarest sites to a mean with the strict way to copy, half of that counts for half.
    """
    shares = (1.0, _HALF)
    lost = np.zeros((len(shares), len(copied)))
    for hidden in places:
        parts = imputer.corrected(hidden, len(copied), pool)
        before, after = (np.concatenate(some) for some in zip(*((p.copied, p.corrected) for p in parts), strict=True))
        for i, share in enumerate(shares):
            dosage = after if share == 1 else np.where(after == before, after, between(before, after, share))
            lost[i] += _loss(imputer, hidden, ploidy, dosage)
    whole, half = (
        dataclasses.replace(found, change=change, standard_error=error, share=share)
        for share, (change, error) in zip(shares, (_change(copied, some) for some in lost), strict=True)
    )
    return whole, half


def _alleles(hidden: HiddenSites, ploidy: Ploidy) -> I8Array:
    """(Q, n) of the targets at the hidden sites."""
    return hidden.queries.alleles[: ploidy.n_haplotypes, hidden.sites]


def _loss(imputer: Corrects, hidden: HiddenSites, ploidy: Ploidy, dosage: F32Array) -> F64Array:
    """(S,) nats of the targets."""
    frequency = frequency_at(imputer.panel, hidden.sites)
    lost = log_loss(np.asarray(dosage, dtype=np.float64), _alleles(hidden, ploidy), frequency)
    return np.asarray(ploidy.sums(lost), dtype=np.float64)


def _change(copied: F64Array, corrected: F64Array) -> tuple[float, float]:
    """The second (S,) losses against the first as a share of them, and its standard error as a ratio of sums."""
    total, n = float(copied.sum()), len(copied)
    if total <= 0:
        return math.nan, math.inf
    change = float(corrected.sum()) / total - 1
    if n < 2:
        return change, math.inf
    residual = corrected - (1 + change) * copied
    return change, math.sqrt(n / (n - 1) * float(residual @ residual)) / total


def _told(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
