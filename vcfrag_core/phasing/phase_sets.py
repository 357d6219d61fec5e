"""Phase sets of heterozygotes, as phasing keeps them: runs that follow each other along a sample."""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.types import BoolArray, I8Array, I32Array, I64Array


def without_overlaps(sets: I32Array) -> I32Array:
    """Phase sets whose spans do not overlap.

    Read-backed phasing leaves sets within the span of others. There the larger one is kept, and what a smaller one has
    within its span is of unknown phase; what it has on both sides are two sets.

    Args:
        sets: (M,) number of each heterozygote's set along one sample, UNPHASED elsewhere.
    """
    known = np.flatnonzero(sets != UNPHASED)
    numbers, place, sizes = np.unique(sets[known], return_inverse=True, return_counts=True)
    if np.count_nonzero(np.diff(sets[known])) < len(numbers):
        return sets
    made, is_taken = sets.copy(), np.zeros(len(sets), dtype=np.bool_)
    for number in np.argsort(-sizes, kind="stable").tolist():
        own = known[place == number]
        made[own[is_taken[own]]] = UNPHASED
        own = own[~is_taken[own]]
        if len(own):
            is_taken[own[0] : own[-1] + 1] = True
    return made


def set_starts(sets: I32Array) -> I64Array:
    """Sites of known phase that are of another set than the one of known phase before; sets are not taken up again."""
    known = np.flatnonzero(sets != UNPHASED)
    changes = np.diff(sets[known], prepend=UNPHASED) != 0
    return np.asarray(known[changes])


def unphased_samples(alleles: I8Array, ploidy: Ploidy, phase_sets: I32Array) -> BoolArray:
    """(S,) samples with heterozygotes that may lie to each other in more than one way.

    Args:
        alleles: (Q, M) alleles, -1 missing.
        ploidy: Whose haplotypes are whose.
        phase_sets: (S, M) phase set of each heterozygote, UNPHASED where its phase is not known.
    """
    made = np.zeros(ploidy.n_samples, dtype=np.bool_)
    for sample in np.flatnonzero(ploidy.counts == 2).tolist():
        first, second = alleles[list(ploidy.span(sample))]
        made[sample] = is_open(phase_sets[sample, (first >= 0) & (second >= 0) & (first != second)])
    return made


def is_open(sets: I32Array) -> bool:
    """Whether heterozygotes of these phase sets may lie to each other in more than one way."""
    return bool(len(sets)) and bool((sets == UNPHASED).any() or (sets != sets[0]).any())
