"""The candidates of a query: every haplotype that is near in some segment."""

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
    unions = []
    for q in range(result.ids.shape[1]):
        ids = np.unique(result.ids[:, q])
        unions.append(ids[ids >= 0].astype(np.int32))
    empty = [q for q, ids in enumerate(unions) if len(ids) == 0]
    if empty:
        raise RangeError(f"{len(empty)} queries have no neighbour, the first is query {empty[0]}")
    return unions
