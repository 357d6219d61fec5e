"""The grid of weights: rounding, range, and sums that do not depend on their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vcfrag_core.errors import NotFiniteError, RangeError
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import metric_digest
from vcfrag_core.types import F64Array

weights = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 64))


@given(values=weights)
def test_quantise__is_the_nearest_step_and_stays(values: F64Array) -> None:
    quantised = site_weights.quantise(values)
    assert quantised.dtype == np.float32
    assert bool((np.abs(quantised - values) <= 2.0**-11).all())
    np.testing.assert_array_equal(site_weights.quantise(quantised), quantised)


@given(values=weights)
def test_steps__are_the_weights(values: F64Array) -> None:
    quantised = site_weights.quantise(values)
    np.testing.assert_array_equal(site_weights.steps(quantised) / site_weights.STEPS_PER_UNIT, quantised)


@given(values=hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 14)), seed=st.integers(0, 99))
def test_quantise__float32_sums_are_exact_in_any_order(values: F64Array, seed: int) -> None:
    quantised = site_weights.quantise(values)
    shuffled = np.random.default_rng(seed).permutation(quantised)
    exact = int(site_weights.steps(quantised).sum()) / site_weights.STEPS_PER_UNIT
    assert float(np.cumsum(shuffled, dtype=np.float32)[-1]) == float(quantised.sum(dtype=np.float32)) == exact


def test_quantise__negative_zero_is_zero() -> None:
    both = site_weights.quantise(np.array([-0.0])), site_weights.quantise(np.array([0.0]))
    assert metric_digest(both[0]) == metric_digest(both[1])


@pytest.mark.parametrize("function", [site_weights.quantise, site_weights.steps])
def test_weights__outside_the_range_are_refused(function: type) -> None:
    with pytest.raises(NotFiniteError, match="site 1"):
        function(np.array([1.0, np.nan], dtype=np.float32))
    for bad in (-0.5, 64.5):
        with pytest.raises(RangeError, match="site 1"):
            function(np.array([1.0, bad], dtype=np.float32))


def test_steps__off_the_grid_is_refused() -> None:
    with pytest.raises(RangeError, match=r"site 1 is not a multiple of 2\*\*-10"):
        site_weights.steps(np.array([1.0, 0.1], dtype=np.float32))
