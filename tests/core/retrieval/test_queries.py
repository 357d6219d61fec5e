"""Shapes on both sides of a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.retrieval.queries import EXTERNAL, QueryBlock, SearchResult


def block(**change: Any) -> QueryBlock:
    fields: dict[str, Any] = {
        "start": 10,
        "stop": 13,
        "samples": ("A", EXTERNAL),
        "observed": np.array([True, False, True]),
        "alleles": np.array([[0, -1, 1], [1, 0, -1]], dtype=np.int8),
    }
    return QueryBlock(**(fields | change))


def result(**change: Any) -> SearchResult:
    fields: dict[str, Any] = {
        "starts": np.array([0, 4], dtype=np.int32),
        "stops": np.array([8, 12], dtype=np.int32),
        "scales": np.array([0, 0], dtype=np.int32),
        "ids": np.zeros((2, 3, 5), dtype=np.int32),
        "distances": np.zeros((2, 3, 5), dtype=np.float32),
    }
    return SearchResult(**(fields | change))


def test_query_block__a_good_one_is_kept() -> None:
    assert block().samples[1] is EXTERNAL
    assert block(samples=(), alleles=np.zeros((0, 3), dtype=np.int8)).alleles.shape == (0, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"stop": 10},
        {"stop": 14},
        {"samples": ("A",)},
        {"observed": np.ones(2, dtype=np.bool_)},
        {"alleles": np.zeros((2, 4), dtype=np.int8)},
        {"alleles": np.zeros(3, dtype=np.int8)},
    ],
)
def test_query_block__wrong_shapes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="observed has shape"):
        block(**change)


@pytest.mark.parametrize("allele", [-2, 2])
def test_query_block__other_alleles_are_refused(allele: int) -> None:
    with pytest.raises(RangeError, match="0, 1 or -1"):
        block(alleles=np.full((2, 3), allele, dtype=np.int8))


def test_search_result__a_good_one_is_kept() -> None:
    assert result().ids.shape == (2, 3, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"starts": np.zeros(3, dtype=np.int32)},
        {"scales": np.zeros(1, dtype=np.int32)},
        {"ids": np.zeros((2, 3, 4), dtype=np.int32)},
        {"ids": np.zeros((2, 3, 5), dtype=np.int64)},
        {"ids": np.zeros((2, 15), dtype=np.int32), "distances": np.zeros((2, 15), dtype=np.float32)},
    ],
)
def test_search_result__wrong_shapes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        result(**change)
