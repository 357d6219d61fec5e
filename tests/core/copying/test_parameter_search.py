"""The search for copying parameters, on losses whose minimum is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying.parameter_search import (
    MISMATCH,
    SWITCH,
    Axis,
    Move,
    SearchConfig,
    minimise,
    retrieval_moves,
    search,
)
from vcfrag_core.copying.parameters import SPARSE, CopyingParameters
from vcfrag_core.errors import ConfigError, NotFiniteError

AXIS = Axis(name="switch_per_cm", step=1.5, low=0.1, high=100.0)


def loss_around(best: CopyingParameters, *, floor: float = 0.1) -> Callable[[CopyingParameters], float]:
    """A smooth bowl in the logarithms of all parameters."""

    def loss(p: CopyingParameters) -> float:
        pairs = [(p.switch_per_cm, best.switch_per_cm), (p.mismatch, best.mismatch), (p.k, best.k)]
        pairs += [(p.flank_cm, best.flank_cm), *zip(p.scales, best.scales, strict=True)]
        return floor + 0.02 * sum(math.log(a / b) ** 2 for a, b in pairs)

    return loss


@given(start=st.floats(0.2, 60), best=st.floats(0.3, 40))
def test_minimise__finds_the_bottom_of_a_parabola(start: float, best: float) -> None:
    found = minimise(lambda x: math.log(x / best) ** 2, start, AXIS)
    # Within a tenth of the grid's step: the parabola in the logarithm is exact but for rounding.
    assert abs(math.log(found / best)) < 0.1 * math.log(AXIS.step)


@given(start=st.floats(0.2, 60), seed=st.integers(0, 10**6))
def test_minimise__never_ends_worse_than_it_began(start: float, seed: int) -> None:
    def rough(x: float) -> float:
        return math.sin(seed * x) + (math.nan if seed % 3 == 0 and x > 20 else 0)

    found = minimise(rough, start, AXIS)
    assert found == start or rough(found) < rough(start) or math.isnan(rough(start))


@pytest.mark.parametrize(("slope", "end"), [(1, 0.1), (-1, 100.0)])
def test_minimise__stays_within_its_bounds(slope: int, end: float) -> None:
    found = minimise(lambda x: slope * x, 5.0, AXIS)
    assert AXIS.low <= found <= AXIS.high
    assert abs(math.log(found / end)) < math.log(AXIS.step)


def test_minimise__tries_no_value_twice() -> None:
    tried: list[float] = []

    def loss(x: float) -> float:
        tried.append(x)
        return math.log(x / 7) ** 2

    minimise(loss, 1.0, AXIS)
    assert len(tried) == len(set(tried))


@given(start=st.floats(0.2, 60), best=st.floats(0.3, 40))
def test_minimise__told_ahead_finds_the_same_bottom_and_does_not_try_it(start: float, best: float) -> None:
    tried: list[float] = []
    told: list[float] = []

    def loss(x: float) -> float:
        tried.append(x)
        return math.log(x / best) ** 2

    found = minimise(loss, start, AXIS, ahead=told.extend)
    assert abs(math.log(found / best)) < 0.1 * math.log(AXIS.step)
    assert start in told
    steps = np.log(np.array(tried) / start) / math.log(AXIS.step)
    assert np.abs(steps - np.round(steps)).max() < 0.01


def test_search__recovers_all_parameters_from_a_bad_start() -> None:
    best = CopyingParameters(scales=(30, 90, 400), k=12, flank_cm=0.9, switch_per_cm=11.0, mismatch=2e-3)
    start = CopyingParameters(scales=(16, 64, 200), k=32, flank_cm=3.0, switch_per_cm=0.5, mismatch=1e-5)
    found = search(loss_around(best), start, SearchConfig(rounds=8, least_gain=0.0))
    assert found.loss < 0.1 + 0.05 * (found.start_loss - 0.1)
    assert found.parameters.switch_per_cm == pytest.approx(best.switch_per_cm, rel=0.05)
    assert found.parameters.mismatch == pytest.approx(best.mismatch, rel=0.05)
    assert 9 <= found.parameters.k <= 16


@given(switch=st.floats(0.1, 50), mismatch=st.floats(1e-5, 0.1), k=st.integers(4, 60), seed=st.integers(0, 10**6))
def test_search__never_scores_worse_than_the_start(switch: float, mismatch: float, k: int, seed: int) -> None:
    start = CopyingParameters(scales=(16, 64), k=k, flank_cm=1.0, switch_per_cm=switch, mismatch=mismatch)

    def rough(p: CopyingParameters) -> float:
        return 1 + math.sin(seed + 3 * p.switch_per_cm + 100 * p.mismatch + p.k + 7 * p.flank_cm + sum(p.scales))

    found = search(rough, start)
    assert found.loss <= found.start_loss == rough(start)
    assert found.loss == rough(found.parameters)


def test_search__a_dearer_retrieval_must_earn_its_price() -> None:
    start = dataclasses.replace(SPARSE, k=16)

    def loss(p: CopyingParameters) -> float:
        return 0.1 * (1 - 1e-4 * p.k)

    assert search(loss, start).parameters.k <= 16
    assert search(loss, start, SearchConfig(least_gain=0.0)).parameters.k > 16


def test_search__a_cheaper_retrieval_is_taken_where_it_costs_nothing() -> None:
    found = search(lambda p: 0.1, SPARSE)
    assert found.parameters.k < SPARSE.k
    assert found.parameters.flank_cm < SPARSE.flank_cm
    assert found.parameters.switch_per_cm == SPARSE.switch_per_cm


def test_search__copying_alone_leaves_retrieval_as_it_is() -> None:
    best = dataclasses.replace(SPARSE, k=8, switch_per_cm=9.0)
    found = search(loss_around(best), SPARSE, SearchConfig(retrieval=False))
    assert (found.parameters.scales, found.parameters.k) == (SPARSE.scales, SPARSE.k)
    assert found.parameters.switch_per_cm == pytest.approx(9.0, rel=0.05)


def test_search__refuses_a_start_without_a_loss() -> None:
    with pytest.raises(NotFiniteError, match="first parameters"):
        search(lambda p: math.nan, SPARSE)


def test_search__passes_over_parameters_without_a_loss() -> None:
    found = search(lambda p: math.nan if p != SPARSE else 0.5, SPARSE)
    assert found.parameters == SPARSE


@pytest.mark.parametrize("n_scales", [1, 2, 3])
def test_retrieval_moves__stay_within_bounds(n_scales: int) -> None:
    config = SearchConfig()
    parameters = CopyingParameters(
        scales=(4, 5, 4096)[:n_scales], k=config.most_k, flank_cm=config.least_flank_cm, switch_per_cm=1.0
    )
    moved = [p for move in retrieval_moves(n_scales) if (p := move.applied(parameters, config)) is not None]
    assert moved
    for there in moved:
        assert there != parameters
        assert config.least_k <= there.k <= config.most_k
        assert config.least_flank_cm <= there.flank_cm <= config.most_flank_cm
        assert there.scales[0] >= config.least_scale
        assert there.scales[-1] <= config.most_scale


def test_move__nowhere_is_none() -> None:
    parameters = dataclasses.replace(SPARSE, k=4)
    assert Move("k", 1 / 1.5).applied(parameters, SearchConfig()) is None


@pytest.mark.parametrize("change", [{"rounds": 0}, {"least_gain": 1.0}, {"least_gain": -0.1}])
def test_search_config__refuses_what_makes_no_sense(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SearchConfig(**change)  # type: ignore[arg-type]


def test_axes__lie_within_what_parameters_allow() -> None:
    for value in (MISMATCH.low, MISMATCH.high):
        assert dataclasses.replace(SPARSE, mismatch=value).mismatch == value
    assert 0 < SWITCH.low < SWITCH.high
