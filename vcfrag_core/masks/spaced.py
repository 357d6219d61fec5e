"""Drawing a fixed number of sites, spread along the contig, with unequal chances."""

from __future__ import annotations

import numpy as np

from vcfrag_core.streams import Stream
from vcfrag_core.types import F64Array, I64Array


def draw_spaced(weights: F64Array, n: int, stream: Stream) -> I64Array:
    """n ascending site indices, each site's chance about proportional to its weight, one per equal stretch of it.

    No site weighs more than one stretch, hence every stretch holds the middle of some site; a site belongs to the
    stretch that holds its middle, so none is drawn twice.

    Args:
        weights: (V,) positive weights.
        n: Sites to draw, 1 to V.
        stream: Where the chance comes from.
    """
    ends = np.cumsum(_inclusion(weights, n))
    begins = np.concatenate([[0.0], ends[:-1]])
    stretch = np.minimum(((begins + ends) / 2).astype(np.int64), n - 1)
    _, first = np.unique(stretch, return_index=True)
    last = np.append(first[1:], len(weights)) - 1
    target = begins[first] + stream.uniform(len(first)) * (ends[last] - begins[first])
    return np.asarray(np.clip(np.searchsorted(ends, target, side="right"), first, last), dtype=np.int64)


def _inclusion(weights: F64Array, n: int) -> F64Array:
    """(V,) numbers in [0, 1] that sum to n, proportional to the weights where they are below 1."""
    chance = np.zeros(len(weights))
    free = np.ones(len(weights), dtype=np.bool_)
    while True:
        # The last of a running sum, because sums in other orders may differ between machines.
        total = np.cumsum(weights[free])[-1] if bool(free.any()) else 1.0
        chance[free] = weights[free] * ((n - int((~free).sum())) / total)
        over = free & (chance > 1)
        if not bool(over.any()):
            return chance
        chance[over] = 1.0
        free &= ~over
