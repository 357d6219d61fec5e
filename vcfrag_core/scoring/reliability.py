"""Whether stated probabilities and stated r² come true."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import F64Array, FloatArray, I64Array, IntArray

N_LEVELS: Final = 10
COMMON_MAF: Final = 0.01


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityCurve:
    """Stated against observed, in N_LEVELS equal steps of the stated value from 0 to 1; NaN where a step is empty.

    Attributes:
        stated: (N_LEVELS,) mean stated value.
        observed: (N_LEVELS,) what came true: a share, or a mean true r².
        count: (N_LEVELS,) how many values each step holds.
    """

    stated: F64Array
    observed: F64Array
    count: I64Array

    @property
    def expected_error(self) -> float:
        """Mean |stated − observed| over all values, by step; NaN without any."""
        filled = self.count > 0
        if not bool(filled.any()):
            return float("nan")
        gap = np.abs(self.stated[filled] - self.observed[filled])
        return float(np.average(gap, weights=self.count[filled]))


def posterior_levels(posterior: FloatArray, truth: IntArray, sites_at_once: int = 1024) -> F64Array:
    """(3, N_LEVELS) sums behind `reliability_curve`, of genotype probabilities: those of several contigs add up.

    Every called (site, sample) gives three values, one for each genotype, of which one came true.

    Args:
        posterior: (V, S, 3) probabilities of 0, 1 and 2 ALT copies.
        truth: (V, S) true ALT copies; -1 missing.
        sites_at_once: Sites held in memory together.

    Raises:
        ShapeError: The shapes do not agree.
    """
    if posterior.shape != (*truth.shape, 3):
        raise ShapeError(f"posterior {posterior.shape} against truth {truth.shape}")
    sums = np.zeros((3, N_LEVELS))
    for begin in range(0, len(truth), sites_at_once):
        true = truth[begin : begin + sites_at_once]
        called = true != accuracy.MISSING
        stated = posterior[begin : begin + sites_at_once][called]
        came_true = true[called][:, None] == np.arange(3)
        sums += _level_sums(stated.reshape(-1), came_true.reshape(-1).astype(np.float64))
    return sums


def r2_reliability(estimated: FloatArray, true_r2: FloatArray) -> ReliabilityCurve:
    """Estimated against true per-site r², over the sites that have both; both are (V,), NaN where there is none."""
    both = np.isfinite(estimated) & np.isfinite(true_r2)
    return reliability_curve(_level_sums(estimated[both], true_r2[both]))


def _level_sums(stated: FloatArray, observed: FloatArray) -> F64Array:
    level = np.clip((stated * N_LEVELS).astype(np.int64), 0, N_LEVELS - 1)
    columns = (None, stated, observed)
    return np.stack([np.bincount(level, weights=column, minlength=N_LEVELS) for column in columns]).astype(np.float64)


def reliability_curve(sums: F64Array) -> ReliabilityCurve:
    """The curve of (3, N_LEVELS) sums: how many values, their sum, and the sum of what came true, by level."""
    count, stated, observed = sums
    with np.errstate(invalid="ignore"):
        return ReliabilityCurve(stated=stated / count, observed=observed / count, count=count.astype(np.int64))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedR2:
    """How an imputation's own r² (INFO R2 or DR2) agrees with the true one.

    Attributes:
        correlation: Pearson correlation over the sites with MAF ≥ 1 %; NaN where undefined.
        n_sites: (G,) sites of each group (`accuracy.GROUPS`) that have both.
        mean_estimated: (G,) their mean estimated r².
        mean_true: (G,) their mean true r².
        curve: The whole curve.
    """

    correlation: float
    n_sites: I64Array
    mean_estimated: F64Array
    mean_true: F64Array
    curve: ReliabilityCurve


def estimated_r2(estimated: FloatArray, true_r2: FloatArray, frequency: FloatArray) -> EstimatedR2:
    """Compares (V,) estimated with (V,) true r² at sites of the (V,) reference ALT frequencies.

    Sites at which the targets do not vary have no true r² (NaN) and count nowhere.
    """
    bins = accuracy.maf_bin(frequency)
    both = np.isfinite(estimated) & np.isfinite(true_r2)
    members = [both & np.isin(bins, group.bins) for group in accuracy.GROUPS]
    common = both & (np.minimum(frequency, 1 - frequency) >= COMMON_MAF)
    return EstimatedR2(
        correlation=_correlation(estimated[common], true_r2[common]),
        n_sites=np.array([member.sum() for member in members], dtype=np.int64),
        mean_estimated=np.array([_mean(estimated[member]) for member in members]),
        mean_true=np.array([_mean(true_r2[member]) for member in members]),
        curve=r2_reliability(estimated, true_r2),
    )


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _correlation(x: FloatArray, y: FloatArray) -> float:
    if len(x) < 2 or not x.std() or not y.std():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
