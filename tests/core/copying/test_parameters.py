"""The rule that chooses copying parameters from the density of the observed sites."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying.parameters import (
    DENSE,
    DENSE_PER_CM,
    LEAST_NEIGHBOURS,
    MOST_K,
    SPARSE,
    SPARSE_PER_CM,
    CopyingParameters,
    parameters_for,
)
from vcfrag_core.errors import ConfigError
from vcfrag_core.retrieval.layout import layout_for


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": ()}, "scales"),
        ({"scales": (16, 16)}, "scales"),
        ({"scales": (64, 16)}, "scales"),
        ({"scales": (0, 16)}, "scales"),
        ({"k": 0}, "k and min_observed"),
        ({"min_observed": 0}, "k and min_observed"),
        ({"flank_cm": -0.1}, "flank_cm"),
        ({"flank_cm": float("nan")}, "flank_cm"),
        ({"switch_per_cm": 0.0}, "switch_per_cm"),
        ({"mismatch": 0.5}, "mismatch"),
        ({"mismatch": 0.0}, "mismatch"),
        ({"mismatch": float("nan")}, "mismatch"),
    ],
)
def test_copying_parameters__refuse_what_makes_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SPARSE, **change)


@pytest.mark.parametrize("mismatch", [1e-4, 1e-3, 0.02])
def test_weight__is_the_log_odds_of_a_match(mismatch: float) -> None:
    weight = dataclasses.replace(SPARSE, mismatch=mismatch).weight
    assert 1 / (1 + math.exp(weight)) == pytest.approx(mismatch)


def test_parameters_for__reaches_both_ends_and_stays_there() -> None:
    for density in (SPARSE_PER_CM, SPARSE_PER_CM / 50):
        assert parameters_for(density) == SPARSE
    for density in (DENSE_PER_CM, 100 * DENSE_PER_CM):
        assert parameters_for(density) == DENSE


def test_parameters_for__is_halfway_at_the_geometric_mean() -> None:
    middle = parameters_for(math.sqrt(SPARSE_PER_CM * DENSE_PER_CM))
    assert middle.switch_per_cm == pytest.approx(math.sqrt(SPARSE.switch_per_cm * DENSE.switch_per_cm))
    assert middle.flank_cm == pytest.approx(math.sqrt(SPARSE.flank_cm * DENSE.flank_cm))
    for scale, sparse, dense in zip(middle.scales, SPARSE.scales, DENSE.scales, strict=True):
        assert abs(scale - math.sqrt(sparse * dense)) <= 0.5


@given(
    low=st.floats(1e-3, 1e5, allow_nan=False),
    factor=st.floats(1, 1e3, allow_nan=False),
)
def test_parameters_for__moves_one_way_with_the_density(low: float, factor: float) -> None:
    sparse, dense = parameters_for(low), parameters_for(low * factor)
    assert isinstance(sparse, CopyingParameters)
    assert all(a <= b for a, b in zip(sparse.scales, dense.scales, strict=True))
    # Both rise or fall from one end of the rule to the other; rounding does not turn them.
    assert (dense.k - sparse.k) * (DENSE.k - SPARSE.k) >= 0
    assert sparse.flank_cm >= dense.flank_cm - 1e-12
    assert sparse.switch_per_cm <= dense.switch_per_cm + 1e-12


@pytest.mark.parametrize("density", [0.0, -1.0, float("nan"), float("inf")])
def test_parameters_for__refuses_what_is_no_density(density: float) -> None:
    with pytest.raises(ConfigError, match="per cM"):
        parameters_for(density)


@given(per_cm=st.floats(5, 2_000), n_observed=st.integers(8, 3_000))
def test_parameters_for__asks_for_enough_neighbours_in_all(per_cm: float, n_observed: int) -> None:
    rule, found = parameters_for(per_cm), parameters_for(per_cm, n_observed)
    assert dataclasses.replace(found, k=rule.k) == rule
    assert rule.k <= found.k <= MOST_K
    observed = np.ones(n_observed, dtype=np.bool_)
    n_segments = layout_for(observed, found.scales).count_within(0, n_observed, observed)
    # Whether a last, shorter segment is laid is left to the layout.
    assert found.k == MOST_K or (n_segments + 1) * found.k >= LEAST_NEIGHBOURS
    assert found.k == rule.k or (n_segments - len(found.scales) - 1) * (found.k - 1) < LEAST_NEIGHBOURS


def test_parameters_for__leaves_long_regions_to_the_density() -> None:
    # 6 cM are the least that a window and its context have within a contig.
    for per_cm in (20.0, SPARSE_PER_CM, 205.0, DENSE_PER_CM):
        assert parameters_for(per_cm, round(6 * per_cm)) == parameters_for(per_cm)
