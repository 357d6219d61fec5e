"""Whether the target's alleles can be believed: damaged sites, people who are in the panel, thin stretches.

Everything here takes arrays. The leave-one-out dosages come from the caller: hidden from retrieval and copying both.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.matching import Matching
from vcfrag_core.targets.orientation import is_ambiguous
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array

# Odds, before the data are seen, that a site is coded the other way round. Exact alleles rule it out on one strand
# only for unambiguous variants, where it takes a mistake; on A/T and C/G it takes the other strand.
_PRIOR = math.log(1e-3)
_PRIOR_AMBIGUOUS = math.log(2e-2)
# A dosage never counts for more than this, whatever it says of itself.
_MIN_DOSAGE = 0.01
# Haplotypes of one cohort err together: correlation of their evidence, by which 32 are worth 16.
_CORRELATION = 1 / 31
_CONTRADICTION_NATS = 10.0
_NEIGHBOURHOOD = 2
# Spread of frequencies between a target cohort and a panel (Wright's F_ST between continents is 0.1 to 0.15).
_FST = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteEvidence:
    """What speaks for each typed site's coding, in nats; negative: for the other one.

    Attributes:
        neighbours: (M,) from leave-one-out dosages.
        frequency: (M,) from the cohort's and the panel's frequencies.
        garbage: (M,) by how much the site's own frequency predicts its alleles better than its neighbours do.
        prior: (M,) log odds of the other coding beforehand.
    """

    neighbours: F64Array
    frequency: F64Array
    garbage: F64Array
    prior: F64Array

    @property
    def odds(self) -> F64Array:
        """(M,) log odds that a site is coded the other way round."""
        return self.prior - self.neighbours - self.frequency

    @property
    def inverted(self) -> BoolArray:
        """(M,) sites that are more likely coded the other way round, the worst of each neighbourhood only.

        A damaged site speaks against the sound ones beside it; those are judged again when it is gone.
        """
        return _worst_nearby(self.odds)

    @property
    def contradicted(self) -> BoolArray:
        """(M,) sites whose alleles the sites around them contradict, the worst of each neighbourhood only.

        Means something only when no site is inverted any more.
        """
        return _worst_nearby(self.garbage - _CONTRADICTION_NATS)


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

    The frequency part is a beta-binomial likelihood ratio: the cohort's frequency varies around the panel's with
    F_ST = 0.1 (Balding and Nichols, Genetica 96, 3-12, 1995). The neighbours' part is the likelihood ratio of the
    observed alleles under the leave-one-out dosages, each bounded to [0.01, 0.99].

    Args:
        alleles: (Q, M) observed alleles, -1 missing.
        panel_frequency: (M,) of ALT.
        panel_haplotypes: How many the panel has.
        ambiguous: (M,) A/T and C/G sites.
        loo: (len(tested), M) leave-one-out haplotype dosages; NaN where there is none.
        tested: Haplotypes that `loo` speaks of; all unless given.
        prior: (M,) log odds of the other coding, NaN for the usual ones.
    """
    if not alleles.shape[1] == len(panel_frequency) == len(ambiguous):
        raise ShapeError(f"alleles {alleles.shape}, {len(panel_frequency)} frequencies, {len(ambiguous)} flags")
    usual = np.where(ambiguous, _PRIOR_AMBIGUOUS, _PRIOR)
    neighbours = np.zeros(alleles.shape[1])
    garbage = np.zeros(alleles.shape[1])
    if loo is not None:
        neighbours, garbage = _loo_evidence(alleles if tested is None else alleles[tested], loo)
    return SiteEvidence(
        neighbours=neighbours,
        frequency=_frequency_evidence(alleles, panel_frequency, panel_haplotypes),
        garbage=garbage,
        prior=usual if prior is None else np.where(np.isnan(prior), usual, prior),
    )


def _worst_nearby(badness: F64Array) -> BoolArray:
    """(M,) sites of positive badness that no site among the next few exceeds."""
    padded = np.pad(badness, _NEIGHBOURHOOD, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURHOOD + 1)
    return np.asarray((badness > 0) & (badness >= windows.max(axis=1)))


def _loo_evidence(alleles: I8Array, loo: F32Array) -> tuple[F64Array, F64Array]:
    if alleles.shape != loo.shape:
        raise ShapeError(f"alleles {alleles.shape} and leave-one-out dosages {loo.shape} differ in shape")
    known = (alleles >= 0) & np.isfinite(loo)
    p = np.clip(np.where(known, loo, 0.5).astype(np.float64), _MIN_DOSAGE, 1 - _MIN_DOSAGE)
    agree = np.where(alleles == 1, np.log(p), np.log1p(-p))
    differ = np.where(alleles == 1, np.log1p(-p), np.log(p))
    n = known.sum(axis=0)
    carriers = (known & (alleles == 1)).sum(axis=0)
    own = np.clip((carriers + 0.5) / (n + 1.0), _MIN_DOSAGE, 1 - _MIN_DOSAGE)
    by_frequency = carriers * np.log(own) + (n - carriers) * np.log1p(-own)
    by_neighbours = np.where(known, agree, 0).sum(axis=0)
    ratio = np.where(known, agree - differ, 0).sum(axis=0)
    return ratio / (1 + _CORRELATION * np.maximum(n - 1, 0)), by_frequency - by_neighbours


def _frequency_evidence(alleles: I8Array, frequency: F64Array, panel_haplotypes: int) -> F64Array:
    n = (alleles >= 0).sum(axis=0)
    k = (alleles == 1).sum(axis=0)
    least = 0.5 / max(1, panel_haplotypes)
    p = np.clip(frequency, least, 1 - least)
    scale = (1 - _FST) / _FST
    a, b = p * scale, (1 - p) * scale
    # The beta functions without data cancel, being symmetric in a and b.
    return _log_gamma(k + a) + _log_gamma(n - k + b) - _log_gamma(k + b) - _log_gamma(n - k + a)


def _log_gamma(values: F64Array) -> F64Array:
    return np.array([math.lgamma(value) for value in values.tolist()])


def ambiguous_sites(panel: Panel, sites: I64Array) -> BoolArray:
    """(M,) whether each site is A/T or C/G."""
    return np.array([is_ambiguous(panel.refs[s], panel.alts[s]) for s in sites.tolist()], dtype=np.bool_)


def target_alleles(records: TargetRecords, matching: Matching, n_sites: int) -> tuple[I8Array, BoolArray]:
    """The target in the panel's coding.

    Returns:
        (Q, V) alleles, 0 or 1, -1 where not typed or missing, and (V,) typed and used sites.
    """
    used = matching.used()
    sites = matching.sites[used]
    coded = records.alleles[used].T
    exchanged = matching.exchanged[used] & (coded >= 0)
    alleles = np.full((records.alleles.shape[1], n_sites), -1, dtype=np.int8)
    alleles[:, sites] = np.where(exchanged, 1 - coded, coded)
    observed = np.zeros(n_sites, dtype=np.bool_)
    observed[sites] = True
    return alleles, observed


def without_calls(records: TargetRecords, matching: Matching) -> dict[int, Reason]:
    """Used records at which no sample has a call."""
    used = matching.used()
    empty = used[(records.alleles[used] < 0).all(axis=1)]
    return dict.fromkeys(empty.tolist(), Reason.NO_CALLS)


def missing_rates(alleles: I8Array, observed: BoolArray, ploidy: Ploidy | None = None) -> F64Array:
    """(S,) share of each sample's typed alleles that are missing; NaN without typed sites.

    Each two haplotypes in turn are a sample unless `ploidy` is given.
    """
    ploidy = Ploidy.of_rows(len(alleles), ploidy)
    missing = ploidy.sums((alleles[:, observed] < 0).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.asarray(missing / (np.float64(observed.sum()) * ploidy.counts), dtype=np.float64)


def thin_stretches(cm: F64Array, observed: BoolArray, *, flank_cm: float, least: int) -> list[tuple[int, int]]:
    """Stretches of panel sites that have too few typed sites around them.

    Args:
        cm: (V,) genetic position of every site, non-decreasing.
        observed: (V,) typed sites.
        flank_cm: How far around a site typed ones count, on both sides.
        least: How many are needed.

    Returns:
        Ranges [start, stop) of site indices, ascending, as long as they go.
    """
    typed = cm[observed]
    low = np.searchsorted(typed, cm - flank_cm, side="left")
    high = np.searchsorted(typed, cm + flank_cm, side="right")
    thin = np.concatenate(([False], high - low < least, [False]))
    borders = np.flatnonzero(np.diff(thin)).tolist()
    return list(zip(borders[0::2], borders[1::2], strict=True))
