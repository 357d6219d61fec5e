"""Errors of phase: switches, flips, and haplotypes joined wrongly over a whole stretch.

At each heterozygote that truth and phasing agree on, the phasing puts ALT on the true first haplotype or on the other
one. Where two neighbours differ in that, the phase is wrong between them: a switch. Two switches on both sides of one
heterozygote are a flip of it alone, and count as one flip and no switch in that decomposition, as in WhatsHap's
`compare` (Martin et al., bioRxiv 085050, 2016). The blockwise error is the share of heterozygotes that lie on the wrong
haplotype when the stretch is put into its better order.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.types import BoolArray, F64Array, I8Array, I32Array, I64Array

# Columns of the counts.
PAIRS, SWITCHES, FLIPS, LONE_SWITCHES, HETS, ON_WRONG, UNPHASED_HETS = range(7)
N_COUNTS: Final = 7
RATES: Final = {
    "switch_error": (SWITCHES, PAIRS),
    "flips": (FLIPS, PAIRS),
    "switches_without_flips": (LONE_SWITCHES, PAIRS),
    "blockwise_error": (ON_WRONG, HETS),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseErrors:
    """Errors of one phasing.

    Attributes:
        counts: (S, N_COUNTS) of each sample: neighbouring heterozygotes compared, switches among them, flips, switches
            that are part of no flip, heterozygotes compared with another, those on the wrong haplotype, and those that
            the truth phases but the phasing does not.
        switch_sites: (V,) samples with a switch right before each site.
        pair_sites: (V,) samples with a heterozygote there that was compared with the one before.
    """

    counts: I64Array
    switch_sites: I64Array
    pair_sites: I64Array


def phase_errors(alleles: I8Array, sets: I32Array, truth: I8Array, truth_sets: I32Array) -> PhaseErrors:
    """Compares phased genotypes with the truth.

    A heterozygote counts where both say that the sample is one, with the same alleles, and the truth knows its phase.
    Heterozygotes are compared with the one before of the same phase set of both.

    Args:
        alleles: (V, S, 2) phased alleles, -1 missing.
        sets: (V, S) phase set of each call, below 0 where the order of its alleles says nothing.
        truth: (V, S, 2) true alleles.
        truth_sets: (V, S) of the truth.

    Raises:
        ShapeError: The arrays do not fit each other.
    """
    if alleles.shape != truth.shape or not sets.shape == truth_sets.shape == alleles.shape[:2]:
        raise ShapeError(f"phased alleles {alleles.shape}, truth {truth.shape}, phase sets {sets.shape}")
    v, s = sets.shape
    het = (truth[:, :, 0] != truth[:, :, 1]) & (truth >= 0).all(axis=2) & (truth_sets >= 0)
    het &= np.sort(alleles, axis=2).astype(np.int16) @ np.array([1, 512], dtype=np.int16) == np.sort(
        truth, axis=2
    ).astype(np.int16) @ np.array([1, 512], dtype=np.int16)
    counts = np.zeros((s, N_COUNTS), dtype=np.int64)
    switch_sites, pair_sites = np.zeros(v, dtype=np.int64), np.zeros(v, dtype=np.int64)
    for sample in range(s):
        phased = np.flatnonzero(het[:, sample] & (sets[:, sample] >= 0))
        for sites in _blocks(phased, sets[phased, sample], truth_sets[phased, sample]):
            turned = alleles[sites, sample, 0] != truth[sites, sample, 0]
            switched = turned[1:] != turned[:-1]
            switch_sites[sites[1:][switched]] += 1
            pair_sites[sites[1:]] += 1
            flips, n_switches, n_turned = _flips(switched), int(switched.sum()), int(turned.sum())
            counts[sample, PAIRS] += len(switched)
            counts[sample, SWITCHES] += n_switches
            counts[sample, FLIPS] += flips
            counts[sample, LONE_SWITCHES] += n_switches - 2 * flips
            counts[sample, HETS] += len(sites)
            counts[sample, ON_WRONG] += min(n_turned, len(sites) - n_turned)
        counts[sample, UNPHASED_HETS] = int((het[:, sample] & (sets[:, sample] < 0)).sum())
    return PhaseErrors(counts=counts, switch_sites=switch_sites, pair_sites=pair_sites)


def _blocks(sites: I64Array, sets: I32Array, truth_sets: I32Array) -> list[I64Array]:
    """The sites of each pair of sets that holds more than one, in order."""
    order = np.lexsort((truth_sets, sets))
    changes = (np.diff(sets[order]) != 0) | (np.diff(truth_sets[order]) != 0)
    parts = np.split(sites[order], np.flatnonzero(changes) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def _flips(switched: BoolArray) -> int:
    """Pairs of neighbouring switches, each switch in one pair at most."""
    flips, waiting = 0, False
    for switch in switched.tolist():
        if switch and waiting:
            flips, waiting = flips + 1, False
        else:
            waiting = switch
    return flips


def error_rates(counts: I64Array, weights: F64Array) -> dict[str, F64Array]:
    """(R,) rates of all samples together under (R, S) weights of the samples, by name as in RATES; NaN without any."""
    sums = weights @ counts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: sums[:, part] / sums[:, whole] for name, (part, whole) in RATES.items()}
