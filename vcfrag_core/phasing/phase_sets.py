"""Phase sets of one sample's heterozygotes, as phasing keeps them: runs that follow each other."""

from __future__ import annotations

import numpy as np

from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.types import I32Array, I64Array


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
