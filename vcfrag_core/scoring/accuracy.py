"""How good imputed genotypes are: definitions, one obvious function each.

Genotypes are unordered ALT copy numbers; a missing true call (-1) counts nowhere. Sites are binned by the minor allele
frequency of the *reference* samples, so that the bins do not depend on the targets. `metric_resampling` computes the
same numbers from sums, for the bootstrap.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.types import BoolArray, F64Array, FloatArray, I8Array, I32Array, IntArray

MISSING: Final = -1
MAF_EDGES: Final = (0.0, 0.001, 0.005, 0.01, 0.05, 0.5)
N_BINS: Final = len(MAF_EDGES) - 1
# By their percentages, as in columns of validation: `0.1-0.5`.
BIN_NAMES: Final = tuple(f"{100 * a:g}-{100 * b:g}" for a, b in zip(MAF_EDGES[:-1], MAF_EDGES[1:], strict=True))
# A variance below this share of the mean square, or below this value, is rounding: the values are constant.
CONSTANT_SHARE: Final = 1e-12
CONSTANT_VARIANCE: Final = 1e-13


@dataclasses.dataclass(frozen=True, slots=True)
class BinGroup:
    """A row of the tables: one MAF bin, or several pooled.

    Attributes:
        label: Name in tables.
        bins: Numbers of its bins.
    """

    label: str
    bins: tuple[int, ...]


def _bin_label(low: float, high: float) -> str:
    return f"{100 * low:g}–{100 * high:g} %"


GROUPS: Final = (
    *(BinGroup(_bin_label(MAF_EDGES[b], MAF_EDGES[b + 1]), (b,)) for b in range(N_BINS)),
    BinGroup("rare (≤ 1 %)", (0, 1, 2)),
    BinGroup("common (> 1 %)", (3, 4)),
    BinGroup("all", (0, 1, 2, 3, 4)),
)


def maf_bin(frequency: FloatArray) -> I32Array:
    """(V,) number of the MAF bin (low, high] of each reference ALT frequency; -1 where the reference does not vary.

    Raises:
        RangeError: A frequency is outside [0, 1] or NaN.
    """
    if not bool(((frequency >= 0) & (frequency <= 1)).all()):
        raise RangeError("allele frequencies are between 0 and 1")
    # 1 - 0.999 is a little more than 0.001: rounded, a frequency and its mirror share a bin.
    maf = np.round(np.minimum(frequency, 1 - np.asarray(frequency, dtype=np.float64)), 12)
    return (np.searchsorted(np.array(MAF_EDGES), maf, side="left") - 1).astype(np.int32)


def dosage_r2(dosage: FloatArray, truth: IntArray) -> F64Array:
    """Squared Pearson correlation of imputed dosage and true genotype, per site.

    Args:
        dosage: (V, S) imputed ALT copies, each in [0, 2].
        truth: (V, S) true ALT copies, 0, 1 or 2; -1 marks a missing call.

    Returns:
        (V,) r² in [0, 1]; NaN where fewer than two samples are called or either side is constant.

    Raises:
        ShapeError: The arrays are not two-dimensional and of one shape.
    """
    _check_pair(dosage, truth)
    called = truth != MISSING
    n = called.sum(axis=1)
    x = np.where(called, np.asarray(dosage, dtype=np.float64), 0.0)
    y = np.where(called, truth, 0).astype(np.float64)
    return squared_correlation(n, x.sum(1), y.sum(1), (x * x).sum(1), (y * y).sum(1), (x * y).sum(1))


def truth_varies(truth: IntArray) -> BoolArray:
    """(V,) whether the called true genotypes (V, S) of a site are not all the same."""
    called = truth != MISSING
    highest = np.where(called, truth, np.int8(-1)).max(axis=1, initial=-1)
    lowest = np.where(called, truth, np.int8(3)).min(axis=1, initial=3)
    return np.asarray(lowest < highest, dtype=np.bool_)


def site_r2(dosage: FloatArray, truth: IntArray) -> F64Array:
    """`dosage_r2` for averaging: (V,) NaN where the truth does not vary, 0 where only the dosages do not.

    A site whose truth varies is never left out: a method that does not dare to vary is not rewarded.
    """
    return np.where(truth_varies(truth), np.nan_to_num(dosage_r2(dosage, truth)), np.nan)


def squared_correlation(
    n: FloatArray | IntArray, x: FloatArray, y: FloatArray, xx: FloatArray, yy: FloatArray, xy: FloatArray
) -> F64Array:
    """r² from sums: n pairs, Σx, Σy, Σx², Σy², Σxy (any one shape); NaN where n < 2 or either side is constant."""
    varies = _varies(n, x, xx) & _varies(n, y, yy)
    variances = (n * xx - x * x) * (n * yy - y * y)
    r2 = np.divide((n * xy - x * y) ** 2, variances, out=np.full(np.shape(varies), np.nan), where=varies)
    return np.asarray(np.minimum(r2, 1.0), dtype=np.float64)


def explained_share(
    n: FloatArray | IntArray, x: FloatArray, y: FloatArray, xx: FloatArray, yy: FloatArray, xy: FloatArray
) -> F64Array:
    """`squared_correlation`, but 0 where the dosages x are constant and the truth y is not: they explain nothing.

    NaN where a dosage is no finite number.
    """
    r2 = squared_correlation(n, x, y, xx, yy, xy)
    return np.where(_varies(n, y, yy) & np.isfinite(xx), np.nan_to_num(r2), np.nan)


def _varies(n: FloatArray | IntArray, x: FloatArray, xx: FloatArray) -> BoolArray:
    variance = n * xx - x * x
    return np.asarray((n >= 2) & (variance > CONSTANT_SHARE * n * xx) & (variance > CONSTANT_VARIANCE * n * n))


def aggregate_r2(dosage: FloatArray, truth: IntArray, frequency: FloatArray) -> float:
    """Squared Pearson correlation over all (site, sample) pairs, both sides centred on twice the reference frequency.

    Without the centring the differences between sites' frequencies alone would give a high r².

    Args:
        dosage: (V, S) imputed ALT copies.
        truth: (V, S) true ALT copies; -1 missing.
        frequency: (V,) ALT frequency among the reference samples.

    Returns:
        r²; 0 where only the dosages are constant, NaN where the truth is, or a dosage is no finite number.

    Raises:
        ShapeError: The shapes do not agree.
    """
    _check_pair(dosage, truth, frequency)
    called = truth != MISSING
    expected = 2 * np.asarray(frequency, dtype=np.float64)[:, None]
    x, y = (dosage - expected)[called], (truth - expected)[called]
    sums = np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])
    return float(explained_share(*sums[:, None])[0])


def iqs(posterior: FloatArray, truth: IntArray) -> F64Array:
    """Imputation quality score, per site: agreement corrected for chance (Lin et al., PLoS ONE 5:e9697, 2010).

    IQS = (Po − Pc) / (1 − Pc): Po is the mean posterior of the true genotype, Pc = Σ_g (mean posterior of g) ·
    (share of g among the true genotypes), what independent draws would agree by.

    Args:
        posterior: (V, S, 3) probabilities of 0, 1 and 2 ALT copies.
        truth: (V, S) true ALT copies; -1 missing.

    Returns:
        (V,) IQS, at most 1 and below 0 where worse than chance; NaN where Pc is 1 or nothing is called.

    Raises:
        ShapeError: The shapes do not agree.
    """
    if posterior.shape != (*truth.shape, 3):
        raise ShapeError(f"posterior {posterior.shape} against truth {truth.shape}")
    share = (truth[:, :, None] == np.arange(3)).astype(np.float64)
    n = share.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (share * posterior).sum(axis=(1, 2)) / n
        mean_posterior = (share.sum(axis=2)[:, :, None] * posterior).sum(axis=1) / n[:, None]
        chance = (mean_posterior * share.sum(axis=1) / n[:, None]).sum(axis=1)
        score = (observed - chance) / (1 - chance)
    return np.where(chance < 1 - CONSTANT_SHARE, score, np.nan)


def best_guess(dosage: FloatArray, posterior: FloatArray | None = None) -> I8Array:
    """(V, S) most likely genotype: of the posterior (V, S, 3) where there is one, else the nearest to the dosage.

    A tie goes to fewer ALT copies.
    """
    if posterior is not None:
        return np.asarray(posterior.argmax(axis=2), dtype=np.int8)
    return np.asarray(np.ceil(np.clip(dosage, 0, 2) - 0.5), dtype=np.int8)


def concordance(calls: IntArray, truth: IntArray) -> float:
    """Share of called true genotypes that `calls` (V, S) equals; NaN without any."""
    _check_pair(calls, truth)
    called = truth != MISSING
    return _ratio(int(((calls == truth) & called).sum()), int(called.sum()))


def non_reference_concordance(calls: IntArray, truth: IntArray) -> float:
    """Share of equal genotypes among those where the truth, the call or both carry ALT; NaN without any.

    One minus the non-reference discordance rate: pairs that are 0 on both sides, the bulk at rare sites, count nowhere.
    """
    _check_pair(calls, truth)
    carries = (truth != MISSING) & ((truth > 0) | (calls > 0))
    return _ratio(int(((calls == truth) & carries).sum()), int(carries.sum()))


@dataclasses.dataclass(frozen=True, slots=True)
class AltScores:
    """Precision, recall and F1 of ALT allele copies; NaN where nothing is called, true, or either."""

    precision: float
    recall: float
    f1: float


def alt_scores(calls: IntArray, truth: IntArray) -> AltScores:
    """Precision, recall and F1 of ALT over allele copies, unordered.

    Per genotype min(call, truth) copies are true positives, what the call has more is false positive, what the truth
    has more false negative.
    """
    _check_pair(calls, truth)
    called = truth != MISSING
    hits = int(np.minimum(calls, truth)[called].sum())
    claimed, present = int(calls[called].sum()), int(truth[called].sum())
    return AltScores(_ratio(hits, claimed), _ratio(hits, present), _ratio(2 * hits, claimed + present))


def posterior_of_haplotypes(haplotype_dosage: FloatArray) -> F64Array:
    """(..., 3) genotype probabilities of two independent haplotypes with ALT probabilities (..., 2)."""
    p, q = haplotype_dosage[..., 0].astype(np.float64), haplotype_dosage[..., 1].astype(np.float64)
    return np.stack([(1 - p) * (1 - q), p * (1 - q) + q * (1 - p), p * q], axis=-1)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check_pair(left: FloatArray | IntArray, truth: IntArray, frequency: FloatArray | None = None) -> None:
    if left.ndim != 2 or left.shape != truth.shape:
        raise ShapeError(f"imputed {left.shape} and true {truth.shape} must be (sites, samples) alike")
    if frequency is not None and frequency.shape != truth.shape[:1]:
        raise ShapeError(f"{truth.shape[0]} sites and {frequency.shape} frequencies")
