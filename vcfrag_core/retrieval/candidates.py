"""The candidates of a query: every haplotype that is near in some segment, of any scale or of one alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.types import I32Array


def union_of_neighbours(result: SearchResult) -> list[I32Array]:
    """Q ascending arrays of distinct panel haplotype ids, over all segments and scales.

    Raises:
        RangeError: A query has no neighbour at all.
    """
    unions = _distinct(result.ids)
    empty = [q for q, ids in enumerate(unions) if len(ids) == 0]
    if empty:
        raise RangeError(
            f"{len(empty)} queries have no neighbour, the first is query {empty[0]}: the panel has nobody whom they may"
            " copy from, or their context has too few typed sites"
        )
    return unions


def longer_scale_candidates(result: SearchResult, candidates: Sequence[I32Array]) -> list[list[I32Array]]:
    """Candidates of the middle scale alone, and of the longest alone.

    Args:
        result: The search.
        candidates: Q arrays of those of all scales, which stand in for a query without any at a scale.
    """
    scales = np.unique(result.scales)
    alone = [_distinct(result.ids[result.scales == scale]) for scale in (scales[len(scales) // 2], scales[-1])]
    return [[mine if len(mine) else q for mine, q in zip(found, candidates, strict=True)] for found in alone]


def _distinct(ids: I32Array) -> list[I32Array]:
    """Q ascending arrays of the ids among (G, Q, K), without -1."""
    is_there = np.zeros(ids.max(initial=-1) + 2, dtype=np.bool_)
    found = []
    for q in range(ids.shape[1]):
        # The place before the first is that of -1.
        is_there[ids[:, q] + 1] = True
        found.append(np.flatnonzero(is_there[1:]).astype(np.int32))
        is_there[:] = False
    return found
