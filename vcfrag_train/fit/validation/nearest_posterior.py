"""Whether copying believes retrieval: posterior mass on the candidates that were nearest."""

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.copying.reference import posterior_reference, switch_probabilities
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.types import BoolArray, F32Array, I8Array, IntArray
from vcfrag_train.fit.data.batches import Ground

NEAREST = 4
MOST_SITES = 400


def nearest_mass(
    ground: Ground,
    window: Window,
    query: I8Array,
    observed: BoolArray,
    weights: F32Array,
    parameters: CopyingParameters,
    result: SearchResult,
) -> tuple[float, float]:
    """Posterior mass of the first query on its nearest candidates, and the mass that chance would put there.

    At each observed site, the nearest are the first four neighbours of every segment of the shortest scale around
    it. The posterior is taken over at most 400 observed sites in the middle of the window.

    Args:
        ground: Panel and map.
        window: The window.
        query: (V,) alleles of the first query.
        observed: (V,) the mask.
        weights: (V,) the metric.
        parameters: Copying under this mask.
        result: What the search answered.
    """
    candidates = np.unique(result.ids[:, 0])
    candidates = candidates[candidates >= 0]
    sites = _middle(window, observed)
    if len(sites) == 0:
        return 0.0, 0.0
    states = ground.panel.haplotypes(candidates, int(sites[0]), int(sites[-1]) + 1)[:, sites - sites[0]]
    gaps = np.diff(ground.cm[sites], prepend=ground.cm[sites[0]])
    posterior = posterior_reference(
        np.ascontiguousarray(states.T).astype(np.int8),
        query[sites],
        weights[sites].astype(np.float64),
        switch_probabilities(gaps, parameters.switch_per_cm),
    )
    near = _near(sites, candidates, result)
    return float((posterior * near).sum(axis=1).mean()), float(near.mean())


def _middle(window: Window, observed: BoolArray) -> IntArray:
    sites = window.context_start + np.flatnonzero(observed[window.context_start : window.context_stop])
    middle = int(np.searchsorted(sites, (window.start + window.stop) // 2))
    first = max(0, middle - MOST_SITES // 2)
    return sites[first : first + MOST_SITES]


def _near(sites: IntArray, candidates: IntArray, result: SearchResult) -> BoolArray:
    """(M, K) whether a candidate is among the nearest around a site."""
    near = np.zeros((len(sites), len(candidates)), dtype=np.bool_)
    for g in np.flatnonzero(result.scales == result.scales.min()):
        nearest = result.ids[g, 0, :NEAREST]
        here = (sites >= result.starts[g]) & (sites < result.stops[g])
        near[np.ix_(here, np.isin(candidates, nearest))] = True
    return near
