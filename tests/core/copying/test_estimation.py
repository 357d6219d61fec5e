"""Rates from a loss: the least of it is found, the prior speaks where the loss does not, one sample does not decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying.estimation import DOUBT, TELLING, Pair, RatePrior, SampleLoss, estimate_rates, log_loss
from vcfrag_core.errors import ConfigError, NotFiniteError, ShapeError
from vcfrag_core.types import F64Array

PRIOR = RatePrior(switch_per_cm=3.0)


def one_by_one(loss: Callable[[float, float], F64Array]) -> SampleLoss:
    """The loss at many pairs of rates from that at one."""
    return lambda pairs: np.stack([loss(*pair) for pair in pairs], axis=1)


def bowl(switch_per_cm: float, mismatch: float, *, nats: float = 1000.0, n_samples: int = 10) -> SampleLoss:
    """A loss that is least at the rates given, and rises with the squared logarithms of the ratios."""

    def loss(switch: float, miss: float) -> F64Array:
        apart = math.log(switch / switch_per_cm) ** 2 + math.log(miss / mismatch) ** 2
        return np.full(n_samples, nats / n_samples * (1 + 0.1 * apart))

    return one_by_one(loss)


@pytest.mark.parametrize("switch", [0.05, 0.4, 3.0, 11.0, 90.0])
@pytest.mark.parametrize("mismatch", [7e-4, 2e-3, 4e-3])
def test_estimate_rates__finds_the_least_loss(switch: float, mismatch: float) -> None:
    found = estimate_rates(bowl(switch, mismatch, nats=1e6), PRIOR)
    assert found.switch_per_cm == pytest.approx(switch, rel=0.03)
    assert found.mismatch == pytest.approx(mismatch, rel=0.05)


def test_estimate_rates__is_the_prior_without_data() -> None:
    found = estimate_rates(lambda pairs: np.zeros((3, len(pairs))), PRIOR)
    assert (found.switch_per_cm, found.mismatch) == (PRIOR.switch_per_cm, PRIOR.mismatch)


@given(nats=st.floats(0.1, 1e5), switch=st.floats(0.1, 60))
def test_estimate_rates__lies_between_prior_and_data(nats: float, switch: float) -> None:
    found = estimate_rates(bowl(switch, PRIOR.mismatch, nats=nats), PRIOR).switch_per_cm
    low, high = sorted((switch, PRIOR.switch_per_cm))
    assert low / 1.05 <= found <= high * 1.05


def test_estimate_rates__mismatch_keeps_its_floor() -> None:
    found = estimate_rates(bowl(3.0, 1e-9, nats=1e7), PRIOR)
    assert 1e-4 <= found.mismatch <= 4e-4


def test_estimate_rates__one_sample_does_not_decide() -> None:
    sound, contaminated = bowl(2.0, 2e-3, n_samples=9), bowl(60.0, 2e-3, nats=1e4, n_samples=1)

    def loss(pairs: Sequence[Pair]) -> F64Array:
        return np.concatenate([sound(pairs), contaminated(pairs)])

    with_it = estimate_rates(loss, PRIOR).switch_per_cm
    summed = estimate_rates(lambda pairs: loss(pairs).sum(axis=0, keepdims=True), PRIOR).switch_per_cm
    assert with_it < 3.5
    assert summed > 10


def test_estimate_rates__panel_samples_decide_where_the_loss_says_nothing() -> None:
    def at(best: float, nats: float) -> SampleLoss:
        return one_by_one(lambda switch, mismatch: np.full(4, 1 + nats * math.log(switch / best) ** 2))

    flat, told = at(1.0, 0.0), at(0.3, 100.0)
    alone, beside = (estimate_rates(flat, PRIOR, panel).switch_per_cm for panel in (None, told))
    assert alone == pytest.approx(PRIOR.switch_per_cm)
    assert beside == pytest.approx(0.3, rel=0.1)
    between = estimate_rates(at(3.0, 100.0), PRIOR, told).switch_per_cm
    assert 0.5 < between < 2.0


@pytest.mark.parametrize("nats", [0.9 * TELLING, 1.2 * TELLING])
def test_estimate_rates__ask_of_the_mismatch_what_says_enough(nats: float) -> None:
    tried: list[Pair] = []
    loss = bowl(3.0, 1e-3, nats=nats)

    def noted(pairs: Sequence[Pair]) -> F64Array:
        tried.extend(pairs)
        return loss(pairs)

    found = estimate_rates(noted, PRIOR)
    assert len(tried) == len(set(tried))
    told = {mismatch for _, mismatch in tried} != {PRIOR.mismatch}
    assert told == (nats > TELLING)
    assert (found.mismatch != PRIOR.mismatch) <= told


@pytest.mark.parametrize("near", [0.1, 0.8, 40.0])
def test_estimate_rates__are_the_same_wherever_the_search_begins(near: float) -> None:
    loss = bowl(0.9, 2e-3, nats=1e5)
    alone, beside = (estimate_rates(loss, PRIOR, None, start).switch_per_cm for start in (None, near))
    assert beside == pytest.approx(alone, rel=0.03)


def test_estimate_rates__refuses_a_loss_that_is_not_finite() -> None:
    with pytest.raises(NotFiniteError):
        estimate_rates(lambda pairs: np.array([[1.0], [math.nan]]).repeat(len(pairs), axis=1), PRIOR)
    with pytest.raises(NotFiniteError):
        estimate_rates(lambda pairs: np.zeros((0, len(pairs))), PRIOR)


def test_rate_prior__falls_with_the_panel() -> None:
    medians = [RatePrior.of_panel(n).switch_per_cm for n in (120, 600, 4_000, 25_000, 200_000)]
    assert medians == sorted(medians, reverse=True)
    assert medians[2] == pytest.approx(3.0)


@pytest.mark.parametrize("wrong", [{"switch_per_cm": 0.0}, {"switch_per_cm": 1.0, "mismatch": 0.5}])
def test_rate_prior__refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        RatePrior(**wrong)
    with pytest.raises(ConfigError):
        RatePrior.of_panel(0)


def test_log_loss__is_that_of_the_alleles_believed_to_a_doubt() -> None:
    dosage = np.array([[0.0, 1.0, 0.25], [0.5, 1.0, 0.75]], dtype=np.float32)
    alleles = np.array([[0, 0, 1], [1, -1, 0]], dtype=np.int8)
    frequency = np.array([0.0, 0.4, 0.2])
    expected = [0.0, 0.0]
    for q in range(2):
        for site in range(3):
            f = min(max(frequency[site], 1e-3), 1 - 1e-3)
            p = (1 - DOUBT) * float(dosage[q, site]) + DOUBT * f
            if alleles[q, site] >= 0:
                expected[q] -= math.log(p if alleles[q, site] == 1 else 1 - p)
    assert log_loss(dosage, alleles, frequency) == pytest.approx(expected)


def test_log_loss__is_that_of_each_row_however_many_there_are() -> None:
    rng = np.random.default_rng(1)
    dosage, frequency = rng.random((5, 9000), dtype=np.float32), rng.random(9000)
    alleles = rng.integers(-1, 2, dosage.shape).astype(np.int8)
    together = log_loss(dosage, alleles, frequency)
    for q in range(5):
        assert together[q] == log_loss(dosage[q : q + 1], alleles[q : q + 1], frequency)[0]


def test_log_loss__refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        log_loss(np.zeros((2, 3), dtype=np.float32), np.zeros((2, 2), dtype=np.int8), np.zeros(3))
