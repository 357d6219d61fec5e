"""Whether copying believes retrieval: posterior mass on the candidates that were nearest."""

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.reference import posterior_reference, switch_probabilities
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.types import BoolArray, IntArray
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.window import MaskedWindow

NEAREST = 4
MAX_SITES = 400


def nearest_posterior(context: PanelContext, queries: MaskedWindow, result: SearchResult) -> tuple[float, float]:
    """Posterior of the first query on its nearest candidates, and what chance would put there.

    At each observed site, the nearest are the first four neighbours of every segment of the shortest scale around
    it. The posterior is taken over at most 400 observed sites in the middle of the window.

    Args:
        context: Panel and map.
        queries: The queries.
        result: What the search answered.
    """
    candidates = np.unique(result.ids[:, 0])
    candidates = candidates[candidates >= 0]
    sites = _middle(queries)
    if len(sites) == 0:
        return 0.0, 0.0
    states = context.panel.haplotypes(candidates, int(sites[0]), int(sites[-1]) + 1)[:, sites - sites[0]]
    gaps = np.diff(context.cm[sites], prepend=context.cm[sites[0]])
    posterior = posterior_reference(
        np.ascontiguousarray(states.T).astype(np.int8),
        queries.alleles[0, sites],
        queries.weights[sites].astype(np.float64),
        switch_probabilities(gaps, queries.parameters.switch_per_cm),
    )
    near = _near(sites, candidates, result)
    return float((posterior * near).sum(axis=1).mean()), float(near.mean())


def _middle(queries: MaskedWindow) -> IntArray:
    window, sites = queries.window, queries.observed_sites
    middle = int(np.searchsorted(sites, (window.start + window.stop) // 2))
    first = max(0, middle - MAX_SITES // 2)
    return sites[first : first + MAX_SITES]


def _near(sites: IntArray, candidates: IntArray, result: SearchResult) -> BoolArray:
    """(M, K) whether a candidate is among the nearest around a site."""
    near = np.zeros((len(sites), len(candidates)), dtype=np.bool_)
    for g in np.flatnonzero(result.scales == result.scales.min()):
        nearest = result.ids[g, 0, :NEAREST]
        here = (sites >= result.starts[g]) & (sites < result.stops[g])
        near[np.ix_(here, np.isin(candidates, nearest))] = True
    return near
