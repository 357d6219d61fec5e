"""What speaks for each typed site's coding, by the standard of these samples and this panel.

Samples of an ancestry that the panel hardly holds are foretold badly at sound sites, too. How far copying can be
believed is therefore estimated for each haplotype from all of its sites, and a site is damaged only if it stands out
among the others of the same samples.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from statistics import NormalDist
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array

# Odds, before the data are seen, that a site is coded the other way round. Exact alleles rule it out on one strand
# only for unambiguous variants, where it takes a mistake; on A/T and C/G it takes the other strand.
_PRIOR: Final = math.log(1e-3)
_PRIOR_AMBIGUOUS: Final = math.log(2e-2)
# A dosage never counts for more than this, whatever it says of itself.
_MIN_DOSAGE: Final = 0.01
# Haplotypes of one cohort err together: correlation of their evidence, by which 32 are worth 16.
_CORRELATION: Final = 1 / 31
_CONTRADICTION_NATS: Final = 10.0
# How far a site must stand out, in standard deviations of the surprise at the cohort's sites.
_CONTRADICTION_SD: Final = 5.0
# The standard deviation is told by the quantile that damaged sites do not reach.
_QUANTILE: Final = 0.9
_NEIGHBOURHOOD: Final = 2
# Least spread of frequencies between a target cohort and a panel (Wright's F_ST between continents is 0.1 to 0.15).
_MIN_FST: Final = 0.1
_MAX_FST: Final = 0.5
_MEDIAN_CHI_SQUARED: Final = 0.4549
_COMMON: Final = 0.05
_FST_HAPLOTYPES: Final = 20
_FST_SITES: Final = 50
# Doubt in copying: its bounds, and as many alleles as speak for the lower one beforehand.
_DOUBT: Final = (0.01, 0.95)
_DOUBT_ALLELES: Final = 50
# Shares of damaged sites, as far as doubt is concerned.
_UNRELATED_SHARE: Final = 0.02
_INVERTED_SHARE: Final = (0.02, 0.3)
_ROUNDS: Final = 25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteEvidence:
    """What speaks for each typed site's coding, in nats; negative: for the other one.

    Attributes:
        neighbours: (M,) from leave-one-out dosages.
        frequency: (M,) from the cohort's and the panel's frequencies.
        other_fits: (M,) by how much the neighbours foretell the other coding better than the site's own frequency does.
        garbage: (M,) by how much the site's own frequency predicts its alleles better than its neighbours do.
        excess: (M,) by how many of the cohort's standard deviations that is more than expected.
        prior: (M,) log odds of the other coding beforehand.
    """

    neighbours: F64Array
    frequency: F64Array
    other_fits: F64Array
    garbage: F64Array
    excess: F64Array
    prior: F64Array

    @property
    def odds(self) -> F64Array:
        """(M,) log odds that a site is coded the other way round."""
        return self.prior - self.neighbours - self.frequency

    @property
    def inverted(self) -> BoolArray:
        """(M,) sites whose other coding is right, not only likelier, the worst of each neighbourhood only.

        A damaged site speaks against the sound ones beside it; those are judged again when it is gone.
        """
        return _worst_nearby(np.where(self.other_fits >= 0, self.odds, -np.inf))

    @property
    def contradicted(self) -> BoolArray:
        """(M,) sites whose alleles the sites around them contradict, the worst of each neighbourhood only.

        Means something only when no site is inverted any more.
        """
        return _worst_nearby(np.where(self.excess > _CONTRADICTION_SD, self.garbage - _CONTRADICTION_NATS, -np.inf))


def site_evidence(
    alleles: I8Array,
    panel_frequency: F64Array,
    panel_haplotypes: int,
    ambiguous: BoolArray,
    *,
    loo: F32Array | None = None,
    tested: I64Array | None = None,
    prior: F64Array | None = None,
) -> SiteEvidence:
    """Weighs each typed site's coding.

    The frequency part is a beta-binomial likelihood ratio: the cohort's frequency varies around the panel's with the
    F_ST that they show, at least 0.1 (Balding and Nichols, Genetica 96, 3-12, 1995). The neighbours' part takes each
    allele for foretold by the leave-one-out dosage, bounded to [0.01, 0.99], or else for a draw from the site's own
    frequency; how often the latter, is estimated for each haplotype.

    Args:
        alleles: (Q, M) observed alleles, -1 missing.
        panel_frequency: (M,) of ALT.
        panel_haplotypes: How many the panel has.
        ambiguous: (M,) A/T and C/G sites.
        loo: (len(tested), M) leave-one-out haplotype dosages; NaN where there is none.
        tested: Haplotypes that `loo` speaks of; all unless given.
        prior: (M,) log odds of the other coding, NaN for the usual ones.

    Raises:
        ShapeError: The arrays do not fit each other.
    """
    m = alleles.shape[1]
    if not m == len(panel_frequency) == len(ambiguous):
        raise ShapeError(f"alleles {alleles.shape}, {len(panel_frequency)} frequencies, {len(ambiguous)} flags")
    usual = np.where(ambiguous, _PRIOR_AMBIGUOUS, _PRIOR)
    nothing = np.zeros(m)
    foretold = None if loo is None else _Foretold.of(alleles if tested is None else alleles[tested], loo)
    return SiteEvidence(
        neighbours=nothing if foretold is None else foretold.ratio,
        frequency=_frequency_evidence(alleles, panel_frequency, panel_haplotypes),
        other_fits=nothing if foretold is None else foretold.inverted - foretold.unrelated,
        garbage=nothing if foretold is None else foretold.unrelated - foretold.sound,
        excess=nothing if foretold is None else foretold.excess(),
        prior=usual if prior is None else np.where(np.isnan(prior), usual, prior),
    )


def _worst_nearby(badness: F64Array) -> BoolArray:
    """(M,) sites of positive badness that no site among the next few exceeds."""
    padded = np.pad(badness, _NEIGHBOURHOOD, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURHOOD + 1)
    return np.asarray((badness > 0) & (badness >= windows.max(axis=1)))


@dataclasses.dataclass(frozen=True)
class _Foretold:
    """Three ways in which a site's alleles may have come about: (M,) log likelihoods, and what they are made from.

    An allele of a sound site is copied right, or with the haplotype's doubt a draw from the site's own frequency; of an
    inverted site, the same of the other allele; of an unrelated one, always a draw. `counted` is 1 where an allele and
    its dosage are known, else 0, and `worth` what one haplotype counts for among as many that err together.
    """

    counted: F64Array
    copied: F64Array
    own: F64Array
    unrelated: F64Array
    worth: F64Array
    doubt: F64Array
    share_inverted: float

    @classmethod
    def of(cls, alleles: I8Array, loo: F32Array) -> _Foretold:
        if alleles.shape != loo.shape:
            raise ShapeError(f"alleles {alleles.shape} and leave-one-out dosages {loo.shape} differ in shape")
        known = (alleles >= 0) & np.isfinite(loo)
        p = np.clip(np.where(known, loo, 0.5).astype(np.float64), _MIN_DOSAGE, 1 - _MIN_DOSAGE)
        carriers = (known & (alleles == 1)).sum(axis=0)
        frequency = np.clip((carriers + 0.5) / (known.sum(axis=0) + 1.0), _MIN_DOSAGE, 1 - _MIN_DOSAGE)
        own = np.where(alleles == 1, frequency, 1 - frequency)
        made = cls(
            counted=known.astype(np.float64),
            copied=np.where(alleles == 1, p, 1 - p),
            own=own,
            unrelated=(known * np.log(own)).sum(axis=0),
            worth=1 / (1 + _CORRELATION * np.maximum(known.sum(axis=0) - 1, 0)),
            doubt=np.full((len(alleles), 1), _DOUBT[0]),
            share_inverted=_INVERTED_SHARE[0],
        )
        for _ in range(_ROUNDS):
            made = made._next()
        return made

    def _summed(self, values: F64Array) -> F64Array:
        # A product takes a fifth of a choice; all values are finite.
        return np.asarray((self.counted * values).sum(axis=0))

    def _mixed(self, copied: F64Array) -> F64Array:
        return (1 - self.doubt) * copied + self.doubt * self.own

    @functools.cached_property
    def _here(self) -> F64Array:
        """(Q, M) probability of the alleles if their site is sound."""
        return self._mixed(self.copied)

    @functools.cached_property
    def sound(self) -> F64Array:
        return self._summed(np.log(self._here))

    @functools.cached_property
    def inverted(self) -> F64Array:
        return self._summed(np.log(self._mixed(1 - self.copied)))

    @property
    def ratio(self) -> F64Array:
        """(M,) log likelihood ratio of the coding against the other, for haplotypes that err together."""
        return self.worth * (self.sound - self.inverted)

    def _next(self) -> _Foretold:
        """The next round of both shares: of inverted sites, and of draws among the alleles of probably sound ones."""
        sound = self.sound
        inverted, unrelated = (
            share * np.exp(np.clip(self.worth * (other - sound), -50, 50))
            for share, other in ((self.share_inverted, self.inverted), (_UNRELATED_SHARE, self.unrelated))
        )
        total = 1 - self.share_inverted - _UNRELATED_SHARE + inverted + unrelated
        weights = self.counted * ((1 - self.share_inverted - _UNRELATED_SHARE) / total)
        drawn = (weights * (self.doubt * self.own / self._here)).sum(axis=1, keepdims=True)
        doubt = (drawn + _DOUBT_ALLELES * _DOUBT[0]) / (weights.sum(axis=1, keepdims=True) + _DOUBT_ALLELES)
        share = float(np.clip((inverted / total).mean(), *_INVERTED_SHARE))
        return dataclasses.replace(self, doubt=np.clip(doubt, *_DOUBT), share_inverted=share)

    def excess(self) -> F64Array:
        """(M,) surprise of the alleles beyond what was expected, in standard deviations over the cohort's sites."""
        here = self._here
        there = 1 - here
        log_ratio, other = np.log(self.own / here), np.log((1 - self.own) / there)
        mean = self._summed(here * log_ratio + there * other)
        variance = self._summed(here * there * (log_ratio - other) ** 2)
        surprise = (self._summed(log_ratio) - mean) / np.sqrt(variance + 1e-9)
        middle, high = np.quantile(surprise, [0.5, _QUANTILE]) if len(surprise) else (0.0, 0.0)
        return np.asarray(surprise / max(1.0, (high - middle) / NormalDist().inv_cdf(_QUANTILE)))


def _frequency_evidence(alleles: I8Array, frequency: F64Array, panel_haplotypes: int) -> F64Array:
    n = (alleles >= 0).sum(axis=0)
    k = (alleles == 1).sum(axis=0)
    least = 0.5 / max(1, panel_haplotypes)
    p = np.clip(frequency, least, 1 - least)
    fst = _spread(n, k, p, panel_haplotypes)
    scale = (1 - fst) / fst
    a, b = p * scale, (1 - p) * scale
    # The beta functions without data cancel, being symmetric in a and b.
    return _log_gamma(k + a) + _log_gamma(n - k + b) - _log_gamma(k + b) - _log_gamma(n - k + a)


def _spread(n: I64Array, k: I64Array, frequency: F64Array, panel_haplotypes: int) -> float:
    """F_ST of the cohort from the panel, by the median site, which damaged ones hardly move."""
    counted = (n >= _FST_HAPLOTYPES) & (np.minimum(frequency, 1 - frequency) >= _COMMON)
    if counted.sum() < _FST_SITES:
        return _MIN_FST
    n, k, p = n[counted], k[counted], frequency[counted]
    median = float(np.median((k / n - p) ** 2 / (p * (1 - p))))
    drawn = 1 / float(np.median(n)) + 1 / panel_haplotypes
    return min(_MAX_FST, max(_MIN_FST, median / _MEDIAN_CHI_SQUARED - drawn))


def _log_gamma(values: F64Array) -> F64Array:
    return np.array([math.lgamma(value) for value in values.tolist()])
