"""The metrics again, from sums that a resample of the samples only weighs: points and bootstrap replicates at once.

A resample draws S samples with replacement; it is a row of whole-number weights. Every metric of `metrics` is a
function of sums over samples, so a replicate is the same function of weighted sums. Row 0 of the weights is all ones:
the point estimate. All methods are measured under the same weights, which pairs their replicates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np

from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import BoolArray, F64Array, FloatArray, I8Array, I32Array, IntArray

METRICS: Final = (
    "aggregate_r2",
    "site_r2",
    "iqs",
    "concordance",
    "non_reference_concordance",
    "precision",
    "recall",
    "f1",
)
POOLED_METRICS: Final = ("aggregate_r2", "concordance", "non_reference_concordance", "precision", "recall", "f1")
# Columns of the pooled sums.
_N, _X, _Y, _XX, _YY, _XY, _EQUAL, _CARRIES, _EQUAL_ALT, _HITS, _CLAIMED, _PRESENT = range(12)
N_SUMS: Final = 12
_SITES_AT_ONCE: Final = 1024
_GROUP_BINS: Final[F64Array] = np.array(
    [[float(b in group.bins) for b in range(accuracy.N_BINS)] for group in accuracy.GROUPS]
)


def bootstrap_weights(n_samples: int, n_resamples: int, seed: int) -> F64Array:
    """(1 + n_resamples, S) weights: row 0 all ones, the others how often each sample was drawn (Philox, by seed).

    Raises:
        ConfigError: There is no sample, or a negative number of resamples.
    """
    if n_samples < 1 or n_resamples < 0:
        raise ConfigError(f"cannot resample {n_samples} samples {n_resamples} times")
    generator = np.random.Generator(np.random.Philox(seed))
    drawn = generator.multinomial(n_samples, np.full(n_samples, 1 / n_samples), size=n_resamples)
    return np.concatenate([np.ones((1, n_samples)), drawn.astype(np.float64)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """What one method imputed at the hidden sites, with the truth.

    Attributes:
        dosage: (V, S) imputed ALT copies.
        calls: (V, S) most likely genotypes.
        posterior: (V, S, 3) genotype probabilities, or None where the file has none: then IQS is NaN.
        truth: (V, S) true ALT copies, -1 missing.
        frequency: (V,) reference ALT frequency.
    """

    dosage: FloatArray
    calls: I8Array
    posterior: FloatArray | None
    truth: I8Array
    frequency: F64Array

    def __post_init__(self) -> None:
        shape = self.truth.shape
        if not self.dosage.shape == self.calls.shape == shape or len(shape) != 2:
            raise ShapeError(f"dosage {self.dosage.shape}, calls {self.calls.shape}, truth {shape}")
        if self.frequency.shape != shape[:1]:
            raise ShapeError(f"{shape[0]} sites, frequencies of shape {self.frequency.shape}")
        if self.posterior is not None and self.posterior.shape != (*shape, 3):
            raise ShapeError(f"posterior {self.posterior.shape} against truth {shape}")


def sample_sums(scored: Scored, labels: IntArray, n_labels: int) -> F64Array:
    """(B, S, N_SUMS) sums of the pooled metrics over the sites of each label, per sample; a label of -1 counts nowhere.

    Args:
        scored: Imputed and true genotypes.
        labels: (V,) label of each site, -1 or below n_labels = B.
        n_labels: Number of labels.
    """
    sums = np.zeros((n_labels, scored.truth.shape[1], N_SUMS))
    for label in range(n_labels):
        sites = np.flatnonzero(labels == label)
        for begin in range(0, len(sites), _SITES_AT_ONCE):
            sums[label] += _sums_of(scored, sites[begin : begin + _SITES_AT_ONCE])
    return sums


def _sums_of(scored: Scored, sites: IntArray) -> F64Array:
    truth, calls = scored.truth[sites], scored.calls[sites]
    called = truth != accuracy.MISSING
    expected = 2 * scored.frequency[sites][:, None]
    x = np.where(called, scored.dosage[sites] - expected, 0.0)
    y = np.where(called, truth - expected, 0.0)
    equal, carries = called & (calls == truth), called & ((calls > 0) | (truth > 0))
    columns = [called, x, y, x * x, y * y, x * y, equal, carries, equal & carries]
    columns += [np.where(called, np.minimum(calls, truth), 0), np.where(called, calls, 0), np.where(called, truth, 0)]
    return np.stack([column.sum(axis=0, dtype=np.float64) for column in columns], axis=-1)


def weighted(sums: F64Array, weights: F64Array) -> F64Array:
    """(R, B, N_SUMS) sums of every resample from (B, S, N_SUMS) sums and (R, S) weights."""
    b, s, k = sums.shape
    return (weights @ sums.transpose(1, 0, 2).reshape(s, b * k)).reshape(len(weights), b, k)


def pooled_metrics(sums: F64Array) -> dict[str, F64Array]:
    """The POOLED_METRICS of (..., N_SUMS) sums, each (...)."""
    return {
        "aggregate_r2": accuracy.explained_share(*(sums[..., c] for c in (_N, _X, _Y, _XX, _YY, _XY))),
        "concordance": _ratio(sums[..., _EQUAL], sums[..., _N]),
        "non_reference_concordance": _ratio(sums[..., _EQUAL_ALT], sums[..., _CARRIES]),
        "precision": _ratio(sums[..., _HITS], sums[..., _CLAIMED]),
        "recall": _ratio(sums[..., _HITS], sums[..., _PRESENT]),
        "f1": _ratio(2 * sums[..., _HITS], sums[..., _CLAIMED] + sums[..., _PRESENT]),
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Sums:
    """What all metrics follow from; the sums of several sets of sites, such as contigs, add up.

    Attributes:
        samples: (N_BINS, S, N_SUMS) `sample_sums` by bin of frequency.
        sites: (N_BINS, R, 3) `site_totals`.
    """

    samples: F64Array
    sites: F64Array

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.samples + other.samples, self.sites + other.sites)


def sums_of(scored: Scored, weights: F64Array) -> Sums:
    """The sums over these sites; weights are (R, S), as from `bootstrap_weights`."""
    bins = accuracy.maf_bin(scored.frequency)
    return Sums(sample_sums(scored, bins, accuracy.N_BINS), site_totals(scored, bins, weights))


def measure(sums: Sums, weights: F64Array) -> F64Array:
    """(R, M, G) every metric (METRICS) of every group of bins (`accuracy.GROUPS`) under every row of weights.

    Per-site metrics are averaged over the sites at which the (resampled) targets vary; there a site with constant
    dosages, whose r² is undefined, counts as 0: a method that does not dare to vary is not rewarded. IQS is NaN
    throughout where there is no posterior.

    Args:
        sums: Over all sites.
        weights: The (R, S) weights that they were made with.
    """
    pooled = pooled_metrics(_GROUP_BINS @ weighted(sums.samples, weights))
    groups = np.einsum("gb,brk->rgk", _GROUP_BINS, sums.sites)
    site_metrics = {"site_r2": _ratio(groups[..., 1], groups[..., 0]), "iqs": _ratio(groups[..., 2], groups[..., 0])}
    return np.stack([(pooled | site_metrics)[name] for name in METRICS], axis=1)


def population_r2(sums: Sums, weights: F64Array, populations: Mapping[str, BoolArray]) -> dict[str, F64Array]:
    """Per population, (R, G) aggregate r² over its (S,) members, centred on everyone's reference frequency."""
    return {
        name: pooled_metrics(_GROUP_BINS @ weighted(sums.samples, weights * member))["aggregate_r2"]
        for name, member in populations.items()
    }


def site_totals(scored: Scored, bins: I32Array, weights: F64Array) -> F64Array:
    """(N_BINS, R, 3) per bin and resample: sites at which the targets vary, and the sums of their r² and IQS."""
    totals = np.zeros((accuracy.N_BINS, len(weights), 3))
    for b in range(accuracy.N_BINS):
        sites = np.flatnonzero(bins == b)
        for begin in range(0, len(sites), _SITES_AT_ONCE):
            totals[b] += _site_totals(scored, sites[begin : begin + _SITES_AT_ONCE], weights.T)
    return totals


def _site_totals(scored: Scored, sites: IntArray, weights: F64Array) -> F64Array:
    truth = scored.truth[sites]
    seen = accuracy.truth_varies(truth)
    truth, sites = truth[seen], sites[seen]
    called = truth != accuracy.MISSING
    n = _dot(called, weights)
    ones, twos = _dot(truth == 1, weights), _dot(truth == 2, weights)
    varies = (ones < n) & (twos < n) & (ones + twos > 0)
    x = np.where(called, scored.dosage[sites], 0.0)
    y = np.where(called, truth, 0).astype(np.float64)
    r2 = accuracy.squared_correlation(
        n, x @ weights, ones + 2 * twos, (x * x) @ weights, ones + 4 * twos, (x * y) @ weights
    )
    score = np.full(n.shape, np.nan)
    if scored.posterior is not None:
        score = _iqs(scored.posterior[sites], truth, called, weights, (n, ones, twos))
    counted = (varies, np.where(varies, np.nan_to_num(r2), 0.0), np.where(varies, score, 0.0))
    return np.stack([column.sum(axis=0, dtype=np.float64) for column in counted], axis=-1)


def _iqs(
    posterior: FloatArray, truth: I8Array, called: BoolArray, weights: F64Array, counts: tuple[F64Array, ...]
) -> F64Array:
    n, ones, twos = counts
    chosen = np.take_along_axis(posterior, np.where(called, truth, 0)[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    observed = _dot(np.where(called, chosen, 0), weights)
    q = [_dot(np.where(called, posterior[:, :, g], 0), weights) for g in range(3)]
    chance = (q[0] * (n - ones - twos) + q[1] * ones + q[2] * twos) / np.maximum(n, 1)
    return _ratio(observed - chance, n - chance)


def _dot(values: BoolArray | FloatArray, weights: F64Array) -> F64Array:
    return np.asarray(np.asarray(values, dtype=np.float64) @ weights)


def _ratio(part: F64Array, whole: F64Array) -> F64Array:
    ratio: F64Array = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return ratio


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bootstrap interval; NaN where there is none."""

    value: float
    low: float
    high: float


def interval(replicates: F64Array, level: float = 0.95) -> Interval:
    """The estimate replicates[0] with a percentile interval of the other (R - 1,) replicates; NaNs are left out.

    The percentiles are moved by how far the replicates' mean lies from the estimate. That matters for the means over
    sites: a resample often lacks a site's only carrier, which drops the hardest sites and raises the mean.
    """
    drawn = replicates[1:][np.isfinite(replicates[1:])]
    if not drawn.size or not np.isfinite(replicates[0]):
        return Interval(float(replicates[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - (drawn.mean() - replicates[0])
    return Interval(float(replicates[0]), float(low), float(high))
