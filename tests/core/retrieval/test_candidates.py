"""The union of neighbours over segments and scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import RangeError
from vcfrag_core.retrieval.candidates import longer_scale_candidates, union_of_neighbours
from vcfrag_core.retrieval.queries import SearchResult


def result_of(ids: np.ndarray, scales: list[int] | None = None) -> SearchResult:
    g = len(ids)
    return SearchResult(
        starts=np.arange(g, dtype=np.int32),
        stops=np.arange(g, dtype=np.int32) + 4,
        scales=np.array(scales or [0] * g, dtype=np.int32),
        ids=ids.astype(np.int32),
        distances=np.where(ids < 0, np.inf, 0).astype(np.float32),
    )


@given(seed=st.integers(0, 2**32 - 1), segments=st.integers(1, 6), queries=st.integers(1, 4), k=st.integers(1, 5))
def test_union_of_neighbours__is_the_set_of_all_found(seed: int, segments: int, queries: int, k: int) -> None:
    ids = np.random.default_rng(seed).integers(-1, 12, (segments, queries, k))
    ids[0, :, 0] = np.maximum(ids[0, :, 0], 0)
    unions = union_of_neighbours(result_of(ids))
    assert len(unions) == queries
    for q, union in enumerate(unions):
        assert union.dtype == np.int32
        assert union.tolist() == sorted({int(i) for i in ids[:, q].reshape(-1) if i >= 0})


def test_union_of_neighbours__refuses_a_query_without_any() -> None:
    ids = np.array([[[3, 1], [-1, -1]], [[1, -1], [-1, -1]]])
    with pytest.raises(RangeError, match="1 queries have no neighbour, the first is query 1"):
        union_of_neighbours(result_of(ids))


def test_union_of_neighbours__refuses_a_search_without_segments() -> None:
    with pytest.raises(RangeError, match="2 queries have no neighbour, the first is query 0"):
        union_of_neighbours(result_of(np.empty((0, 2, 4), dtype=np.int64)))


def longer_scales_of(result: SearchResult) -> list[list[np.ndarray]]:
    return longer_scale_candidates(result, union_of_neighbours(result))


def test_longer_scale_candidates__are_those_of_the_middle_and_of_the_longest_scale() -> None:
    ids = np.array([[[1, 2]], [[3, 4]], [[5, 4]], [[9, 8]]])
    middle, longest = longer_scales_of(result_of(ids, scales=[0, 1, 1, 2]))
    assert (middle[0].tolist(), longest[0].tolist()) == ([3, 4, 5], [8, 9])


def test_longer_scale_candidates__of_one_scale_are_all() -> None:
    ids = np.array([[[1, 2]], [[3, -1]]])
    middle, longest = longer_scales_of(result_of(ids))
    assert middle[0].tolist() == longest[0].tolist() == [1, 2, 3]


def test_longer_scale_candidates__a_query_without_any_at_a_scale_has_those_of_all() -> None:
    ids = np.array([[[1, 2], [5, 6]], [[3, 4], [-1, -1]]])
    middle, longest = longer_scales_of(result_of(ids, scales=[0, 1]))
    assert [rows.tolist() for rows in longest] == [[3, 4], [5, 6]]
    assert middle[0].tolist() == [3, 4]
