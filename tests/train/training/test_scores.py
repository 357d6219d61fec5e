"""Streaming r² against the definition in vcfrag_core.scoring.accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.scoring.accuracy import aggregate_r2
from vcfrag_train.training.validation.scores import GROUP_BINS, batch_sums, in_order


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    frequency = rng.choice([0.0005, 0.003, 0.008, 0.03, 0.2, 0.7, 0.0], size=80)
    truth = (rng.random((40, 80)) < frequency + 0.02).astype(np.uint8)
    dosage = np.clip(truth + rng.normal(0, 0.3, truth.shape), 0, 1).astype(np.float32)
    return dosage, truth, rng.random(80) < 0.6, frequency


def test_r2__equals_the_definition_over_the_hidden_sites(data) -> None:
    dosage, truth, hidden, frequency = data
    counted = hidden & (frequency > 0)
    copies = (dosage[0::2].astype(np.float64) + dosage[1::2]).T[counted]
    true = (truth[0::2].astype(np.int64) + truth[1::2]).T[counted]
    assert batch_sums(*data).r2("all") == pytest.approx(aggregate_r2(copies, true, frequency[counted]), abs=1e-12)


def test_r2__groups_are_the_sites_of_their_bins(data) -> None:
    dosage, truth, hidden, frequency = data
    rare = hidden & (np.minimum(frequency, 1 - frequency) <= 0.01)
    assert batch_sums(*data).r2("rare") == pytest.approx(batch_sums(dosage, truth, rare, frequency).r2("all"))
    assert set(GROUP_BINS["rare"]) | set(GROUP_BINS["common"]) == set(GROUP_BINS["all"])


def test_r2__nothing_hidden_is_nan(data) -> None:
    dosage, truth, hidden, frequency = data
    assert np.isnan(batch_sums(dosage, truth, np.zeros_like(hidden), frequency).r2("all"))


def test_in_order__any_spread_over_processes_gives_the_same_bits(data) -> None:
    dosage, truth, hidden, frequency = data
    parts = [(i, batch_sums(dosage[2 * i : 2 * i + 2], truth[2 * i : 2 * i + 2], hidden, frequency)) for i in range(20)]
    together = in_order(parts)
    spread = in_order(parts[1::2] + parts[0::2])
    assert np.array_equal(together.values, spread.values)
    np.testing.assert_allclose(together.values, batch_sums(*data).values, rtol=1e-12, atol=1e-12)
