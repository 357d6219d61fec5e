"""The candidates of a query: every haplotype that is near in some segment, of any scale or of one alone."""

from __future__ import annotations

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.queries import SearchResult
from vcfrag_core.types import I32Array


def union_of_neighbours(result: SearchResult) -> list[I32Array]:
    """Q ascending arrays of distinct panel haplotype ids, over all segments and scales.

    Raises:
        RangeError: A query has no neighbour at all.
    """
    unions = _distinct(result.ids)
    empty = [q for q, ids in enumerate(unions) if len(ids) == 0]
    if empty:
        raise RangeError(f"{len(empty)} queries have no neighbour, the first is query {empty[0]}")
    return unions


def wider_candidates(result: SearchResult) -> tuple[list[I32Array], list[I32Array]]:
    """The same, of the middle and of the longest scale alone; of all scales for a query without any there."""
    everything = _distinct(result.ids)
    scales = np.unique(result.scales)
    chosen = scales[len(scales) // 2], scales[-1]
    middle, longest = (
        [mine if len(mine) else every for mine, every in zip(alone, everything, strict=True)]
        for alone in (_distinct(result.ids[result.scales == scale]) for scale in chosen)
    )
    return middle, longest


def _distinct(ids: I32Array) -> list[I32Array]:
    """Q ascending arrays of the ids among (G, Q, K), without -1."""
    distinct = (np.unique(ids[:, q]) for q in range(ids.shape[1]))
    return [mine[mine >= 0].astype(np.int32) for mine in distinct]
