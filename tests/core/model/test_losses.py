"""Losses against the formulas, written out allele by allele."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vcfrag_core.model.losses import cross_entropy, focal


def example(seed: int, queries: int = 4, sites: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (queries, sites)))
    truth = torch.from_numpy(rng.integers(0, 2, (queries, sites), dtype=np.uint8))
    hidden = torch.from_numpy(rng.random(sites) < 0.6)
    return logits, truth, hidden


def mean_over_hidden(term: Callable[[float], float], logits: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """The mean of term(probability given to the true allele)."""
    terms = []
    for q in range(logits.shape[0]):
        for site in range(logits.shape[1]):
            if hidden[site]:
                alt = 1 / (1 + math.exp(-float(logits[q, site])))
                terms.append(term(alt if truth[q, site] == 1 else 1 - alt))
    return sum(terms) / len(terms) if terms else 0.0


@given(seed=st.integers(0, 2**32 - 1))
def test_cross_entropy__equals_the_formula(seed: int) -> None:
    logits, truth, hidden = example(seed)
    expected = mean_over_hidden(lambda p: -math.log(p), logits, truth, hidden)
    assert float(cross_entropy(logits, truth, hidden)) == pytest.approx(expected, abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), gamma=st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_focal__equals_the_formula(seed: int, gamma: float) -> None:
    logits, truth, hidden = example(seed)
    expected = mean_over_hidden(lambda p: -((1 - p) ** gamma) * math.log(p), logits, truth, hidden)
    assert float(focal(logits, truth, hidden, gamma=gamma)) == pytest.approx(expected, abs=1e-9)


def test_focal__without_gamma_is_cross_entropy() -> None:
    logits, truth, hidden = example(1)
    torch.testing.assert_close(focal(logits, truth, hidden, gamma=0.0), cross_entropy(logits, truth, hidden))


@pytest.mark.parametrize("loss", [cross_entropy, lambda *given: focal(*given, gamma=2.0)])
def test_loss__observed_sites_count_nowhere(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    logits, truth, hidden = example(2)
    logits.requires_grad_()
    loss(logits, truth, hidden).backward()
    assert logits.grad is not None
    assert bool((logits.grad[:, ~hidden] == 0).all())
    assert bool((logits.grad[:, hidden] != 0).all())
    changed = torch.where(hidden, truth, 1 - truth)
    torch.testing.assert_close(loss(logits, changed, hidden), loss(logits, truth, hidden))


@pytest.mark.parametrize("loss", [cross_entropy, lambda *given: focal(*given, gamma=2.0)])
def test_loss__zero_where_nothing_is_hidden(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    logits, truth, hidden = example(3)
    assert float(loss(logits, truth, torch.zeros_like(hidden))) == 0.0


def test_loss__finite_at_the_largest_logits() -> None:
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([[0, 1]], dtype=torch.uint8), torch.tensor([True, True]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(60.0)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, -0.5]]))
