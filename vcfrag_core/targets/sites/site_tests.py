"""The target in the panel's coding: which alleles are ambiguous, what is missing, where typed sites are thin."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.sites.matching import Matching
from vcfrag_core.targets.sites.orientation import is_ambiguous
from vcfrag_core.types import BoolArray, F64Array, I8Array, I32Array, I64Array

# What is coded of everybody at a time, so that no copy of all calls is made.
_RECORDS_AT_ONCE: Final = 1024


def ambiguous_sites(panel: Panel, sites: I64Array) -> BoolArray:
    """(M,) whether each site is A/T or C/G."""
    return np.array([is_ambiguous(panel.refs[s], panel.alts[s]) for s in sites.tolist()], dtype=np.bool_)


def target_alleles(records: TargetRecords, matching: Matching, n_sites: int) -> tuple[I8Array, BoolArray]:
    """The target in the panel's coding.

    Returns:
        (Q, V) alleles, 0 or 1, -1 where not typed or missing, and (V,) typed and used sites.
    """
    observed = used_sites(matching, n_sites)
    alleles = np.full((records.alleles.shape[1], n_sites), -1, dtype=np.int8)
    alleles[:, observed] = typed_alleles(records, matching, np.flatnonzero(observed))
    return alleles, observed


def used_sites(matching: Matching, n_sites: int) -> BoolArray:
    """(V,) typed and used sites."""
    observed = np.zeros(n_sites, dtype=np.bool_)
    observed[matching.sites[matching.used()]] = True
    return observed


def typed_alleles(records: TargetRecords, matching: Matching, sites: I64Array) -> I8Array:
    """(Q, M) alleles in the panel's coding, 0 or 1, -1 where missing.

    Args:
        records: The target's.
        matching: Which panel site each of them is.
        sites: (M,) ascending panel sites, those of all used records among them.
    """
    alleles = np.full((records.alleles.shape[1], len(sites)), -1, dtype=np.int8)
    used = matching.used()
    for start in range(0, len(used), _RECORDS_AT_ONCE):
        some = used[start : start + _RECORDS_AT_ONCE]
        coded = records.alleles[some].T
        exchanged = matching.exchanged[some] & (coded >= 0)
        alleles[:, np.searchsorted(sites, matching.sites[some])] = np.where(exchanged, 1 - coded, coded)
    return alleles


def typed_phase_sets(records: TargetRecords, matching: Matching, sites: I64Array) -> I32Array | None:
    """(S, M) phase set of each heterozygote at typed sites, UNPHASED where its phase is not known.

    None where each sample's heterozygotes are of one set.

    Args:
        records, matching, sites: As for `typed_alleles`.
    """
    if bool(records.is_phased.all()) and records.phase_sets is None:
        return None
    made = np.zeros((len(records.samples), len(sites)), dtype=np.int32)
    used = matching.used()
    for start in range(0, len(used), _RECORDS_AT_ONCE):
        some = used[start : start + _RECORDS_AT_ONCE]
        sets = np.int32(0) if records.phase_sets is None else records.phase_sets[some]
        columns = np.searchsorted(sites, matching.sites[some])
        made[:, columns] = np.where(records.is_phased[some], sets, UNPHASED).T
    return made


def without_calls(records: TargetRecords, matching: Matching) -> dict[int, Reason]:
    """Used records at which no sample has a call."""
    used = matching.used()
    empty = used[(records.alleles[used] < 0).all(axis=1)]
    return dict.fromkeys(empty.tolist(), Reason.NO_CALLS)


def missing_rates(alleles: I8Array, ploidy: Ploidy | None = None) -> F64Array:
    """(S,) share of each sample's alleles at the typed sites that are missing; NaN without typed sites.

    Args:
        alleles: (Q, M) alleles at the typed sites, -1 missing.
        ploidy: Which haplotypes are one sample; each two in turn unless given.
    """
    ploidy = Ploidy.of_rows(len(alleles), ploidy)
    missing = ploidy.sums((alleles < 0).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.asarray(missing / (np.float64(alleles.shape[1]) * ploidy.counts), dtype=np.float64)


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
