"""The embedding and the metric that it implies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError
from vcfrag_core.model.config import EmbeddingConfig
from vcfrag_core.model.embedding import AlleleEmbedding, bounded, logit_of
from vcfrag_core.retrieval import site_weights

FREQUENCY = torch.tensor([0.0, 0.0002, 0.001, 0.03, 0.2, 0.5, 0.8, 0.9998, 1.0])
V = len(FREQUENCY)
EVERY_ALLELE = torch.tensor([[0] * V, [1] * V, [-1] * V])


def embedding(gated: bool, seed: int | None = None, scale: float = 1.0) -> AlleleEmbedding:
    """A new embedding, or with a seed one whose parameters have all moved."""
    torch.manual_seed(seed or 0)
    made = AlleleEmbedding(EmbeddingConfig(width=8, gated=gated))
    if seed is not None:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("mismatch", [1e-4, 1e-3, 0.01])
def test_weights__start_at_the_log_odds_of_a_mismatch(gated: bool, mismatch: float) -> None:
    made = AlleleEmbedding(EmbeddingConfig(gated=gated, mismatch=mismatch))
    expected = torch.full((V,), math.log((1 - mismatch) / mismatch))
    torch.testing.assert_close(made.weights(FREQUENCY), expected, atol=2e-6, rtol=0)


@given(gated=st.booleans(), seed=st.integers(0, 10_000))
def test_forward__squared_norm_of_the_difference_is_the_weight(gated: bool, seed: int) -> None:
    made = embedding(gated, seed)
    ref, alt, missing = made(EVERY_ALLELE, FREQUENCY)
    torch.testing.assert_close(((alt - ref) ** 2).sum(-1), made.weights(FREQUENCY), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(missing, (ref + alt) / 2)


def test_forward__the_weight_is_the_difference_in_double_precision() -> None:
    made = embedding(True, 5).double()
    ref, alt, _ = made(EVERY_ALLELE, FREQUENCY.double())
    torch.testing.assert_close(((alt - ref) ** 2).sum(-1), made.weights(FREQUENCY.double()), rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 10.0, 100.0, 1e4]))
def test_weights__bounded_and_fit_for_the_grid(seed: int, scale: float) -> None:
    weights = embedding(True, seed, scale).weights(FREQUENCY).detach()
    assert bool((weights > 0).all())
    assert bool((weights <= 14 + 1e-4).all())
    assert bool((np.abs(site_weights.quantise(weights.numpy()) - weights.numpy()) <= 2.0**-11).all())


def test_weights__additive_one_number_gated_many() -> None:
    assert len(set(embedding(False, 1).weights(FREQUENCY).tolist())) == 1
    assert len(set(embedding(True, 1).weights(FREQUENCY).tolist())) == V


@given(order=st.permutations(range(V)), seed=st.integers(0, 100))
def test_weights__depend_on_the_frequency_and_not_on_the_site(order: list[int], seed: int) -> None:
    made = embedding(True, seed)
    torch.testing.assert_close(made.weights(FREQUENCY[order]), made.weights(FREQUENCY)[order])
    torch.testing.assert_close(made.weights(FREQUENCY[2:3]), made.weights(FREQUENCY)[2:3])


def test_weights__smooth_in_the_frequency() -> None:
    made = embedding(True, 7).double().requires_grad_(False)
    fine = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    jumps = made.weights(fine).diff().abs()
    assert float(jumps.max()) < 0.5
    halved = made.weights(torch.linspace(0, 1, 400_001, dtype=torch.float64)).diff().abs()
    assert float(halved.max()) < 0.6 * float(jumps.max())


@pytest.mark.parametrize("gated", [False, True])
def test_weights__gradients_reach_the_metric_and_are_right(gated: bool) -> None:
    made = embedding(gated, 3).double()
    frequency = FREQUENCY.double()
    moved = [made.level] if made.gate is None else [made.level, *made.gate.parameters()]
    assert torch.autograd.gradcheck(lambda *_: made.weights(frequency), tuple(moved))


def test_weights__a_new_gate_can_learn() -> None:
    made = embedding(True)
    (made.weights(FREQUENCY) * torch.linspace(-1, 1, V)).sum().backward()
    assert made.gate is not None
    last = made.gate[-1].weight
    assert last.grad is not None
    assert float(last.grad.abs().max()) > 0


def test_forward__gradients_stay_finite_at_the_bounds() -> None:
    for level in (-100.0, 100.0):
        made = embedding(True)
        with torch.no_grad():
            made.level.fill_(level)
        made(EVERY_ALLELE, FREQUENCY).square().sum().backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in made.parameters())


def test_weights__full_precision_under_autocast() -> None:
    made = embedding(True, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = made.weights(FREQUENCY)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, made.weights(FREQUENCY), rtol=1e-6, atol=1e-6)


def test_forward__places_in_the_window_differ() -> None:
    made = embedding(True, 1)
    same = made(torch.zeros((1, 4), dtype=torch.long), torch.full((4,), 0.25))[0]
    assert len({tuple(row) for row in same.tolist()}) == 4


@given(weight=st.floats(0.01, 13.9))
def test_logit_of__reverses_bounded(weight: float) -> None:
    assert float(bounded(torch.tensor(logit_of(weight), dtype=torch.float64))) == pytest.approx(weight, abs=1e-9)


@pytest.mark.parametrize("change", [{"width": 7}, {"width": 0}, {"gate_width": 0}, {"mismatch": 0.5}, {"mismatch": 0}])
def test_config__nonsense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EmbeddingConfig(**change)  # type: ignore[arg-type]
