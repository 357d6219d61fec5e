"""Few draws that stand for many, beside a search through all choices of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vcfrag_core.phasing.representatives import representatives
from vcfrag_core.types import F64Array, I8Array

N_HETS, RATE = 30, 4.0
CM = np.linspace(0, 1.5, N_HETS)
AGREED = np.ones(N_HETS, dtype=np.int8)


def drawn(rng: np.random.Generator, n_draws: int) -> I8Array:
    """(n_draws, N_HETS) phases that switch at a few places more often than not."""
    chance = np.where(rng.random(N_HETS) < 0.25, 0.4, 0.01)
    return (1 ^ np.cumsum(rng.random((n_draws, N_HETS)) < chance, axis=1) % 2).astype(np.int8)


def excess_of(draws: I8Array, chosen: list[int], probability: F64Array) -> float:
    """The weighted sum of squares that is to be small."""
    turned, total = draws != AGREED, 0.0
    for places in (1, 2, 4, 8):
        for j in range(places, N_HETS):
            differs = turned[:, j] != turned[:, j - places]
            share = 1 - probability[j] if places == 1 else differs.mean()
            total += np.exp(-RATE * (CM[j] - CM[j - places])) * (differs[chosen].mean() - share) ** 2
    return total


@pytest.mark.parametrize("seed", range(5))
def test_representatives__are_near_the_best_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = drawn(rng, 9)
    probability = 1 - (np.diff(draws, axis=1, prepend=draws[:, :1]) != 0).mean(axis=0)
    chosen = representatives(draws, AGREED, probability.astype(np.float32), CM, 3, switch_per_cm=RATE)
    assert len(set(chosen)) == 3
    costs = sorted(excess_of(draws, list(some), probability) for some in itertools.combinations(range(9), 3))
    assert excess_of(draws, chosen, probability) <= costs[len(costs) // 20]
    pairs = [excess_of(draws, list(pair), probability) for pair in itertools.combinations(chosen, 2)]
    assert excess_of(draws, chosen[:2], probability) <= min(pairs) * 1.01


def test_representatives__their_mean_is_nearer_than_that_of_any_draws() -> None:
    rng = np.random.default_rng(7)
    chosen_error, other_error = 0.0, 0.0
    for _ in range(20):
        draws = drawn(rng, 24)
        same = np.diff(draws, axis=1, prepend=draws[:, :1]) == 0
        chosen = representatives(draws, AGREED, same.mean(axis=0).astype(np.float32), CM, 8, switch_per_cm=RATE)
        chosen_error += float(((same[chosen].mean(axis=0) - same.mean(axis=0)) ** 2).sum())
        other_error += float(((same[:8].mean(axis=0) - same.mean(axis=0)) ** 2).sum())
    assert chosen_error < other_error / 3


@pytest.mark.parametrize(("n_draws", "n_chosen"), [(5, 5), (3, 4), (1, 1)])
def test_representatives__are_all_where_there_are_no_more(n_draws: int, n_chosen: int) -> None:
    draws = drawn(np.random.default_rng(1), n_draws)
    chosen = representatives(draws, AGREED, np.ones(N_HETS, np.float32), CM, n_chosen, switch_per_cm=RATE)
    assert chosen == list(range(n_draws))


@pytest.mark.parametrize("n_hets", [1, 2])
def test_representatives__of_few_heterozygotes(n_hets: int) -> None:
    draws = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], dtype=np.int8)[:, :n_hets]
    probability = np.array([np.nan, 0.75], dtype=np.float32)[:n_hets]
    agreed = np.array([1, 0], dtype=np.int8)[:n_hets]
    chosen = representatives(draws, agreed, probability, CM[:n_hets], 1, switch_per_cm=RATE)
    assert len(chosen) == 1
    assert n_hets == 1 or draws[chosen[0], 1] == 0
