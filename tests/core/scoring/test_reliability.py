"""Calibration curves on data whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.errors import ShapeError
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring import reliability as calibration
from vcfrag_core.types import FloatArray, IntArray


def posterior_reliability(
    posterior: FloatArray, truth: IntArray, sites_at_once: int = 1024
) -> calibration.ReliabilityCurve:
    """The curve of one set of sites."""
    return calibration.reliability_curve(calibration.posterior_levels(posterior, truth, sites_at_once))


def test_posterior_calibration__counts_by_hand() -> None:
    posterior = np.array([[[0.95, 0.05, 0.0], [0.25, 0.65, 0.10]]])
    curve = posterior_reliability(posterior, np.array([[0, 1]]))
    assert curve.count.tolist() == [2, 1, 1, 0, 0, 0, 1, 0, 0, 1]
    assert curve.stated[[0, 2, 6, 9]] == pytest.approx([0.025, 0.25, 0.65, 0.95])
    assert curve.observed[[0, 2, 6, 9]] == pytest.approx([0, 0, 1, 1])
    assert np.isnan(curve.stated[3])
    by_hand = (2 * 0.025 + 0.10 + 0.25 + 0.35 + 0.05) / 6
    assert curve.expected_error == pytest.approx(by_hand)


def test_posterior_calibration__truth_drawn_from_the_posterior_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet([0.7, 0.7, 0.7], size=(500, 200))
    truth = (rng.random((500, 200))[:, :, None] > posterior.cumsum(axis=2)[:, :, :2]).sum(axis=2)
    curve = posterior_reliability(posterior, truth)
    np.testing.assert_allclose(curve.observed, curve.stated, atol=0.02)
    assert curve.expected_error < 0.01


def test_posterior_calibration__overconfidence_shows() -> None:
    rng = np.random.default_rng(1)
    posterior = np.zeros((200, 50, 3))
    posterior[..., 0] = 1
    truth = (rng.random((200, 50)) < 0.3).astype(np.int8)
    assert posterior_reliability(posterior, truth).expected_error == pytest.approx(0.2, abs=0.02)


def test_posterior_calibration__missing_calls_and_blocks_change_nothing() -> None:
    rng = np.random.default_rng(2)
    posterior = rng.dirichlet([1, 1, 1], size=(30, 5))
    truth = rng.integers(-1, 3, size=(30, 5))
    whole = posterior_reliability(posterior, truth)
    parts = posterior_reliability(posterior, truth, sites_at_once=7)
    assert whole.count.sum() == 3 * (truth >= 0).sum()
    np.testing.assert_array_equal(whole.count, parts.count)
    np.testing.assert_allclose(whole.observed, parts.observed)


def test_posterior_calibration__refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        posterior_reliability(np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int8))


def test_estimated_r2__by_group_and_correlation() -> None:
    frequency = np.array([0.002, 0.02, 0.3, 0.4, 0.3, 0.3])
    estimated = np.array([0.1, 0.5, 0.8, 0.9, np.nan, 0.7])
    true = np.array([0.3, 0.4, 0.9, 1.0, 0.5, np.nan])
    got = calibration.estimated_r2(estimated, true, frequency)
    labels = [group.label for group in accuracy.GROUPS]
    assert got.n_sites[labels.index("all")] == 4
    assert got.mean_estimated[labels.index("5–50 %")] == pytest.approx(0.85)
    assert got.mean_true[labels.index("5–50 %")] == pytest.approx(0.95)
    assert got.correlation == pytest.approx(np.corrcoef([0.5, 0.8, 0.9], [0.4, 0.9, 1.0])[0, 1])
    assert np.isnan(got.mean_true[0])


def test_estimated_r2__constant_estimates_have_no_correlation() -> None:
    got = calibration.estimated_r2(np.full(3, 0.5), np.array([0.1, 0.2, 0.3]), np.full(3, 0.2))
    assert np.isnan(got.correlation)


def test_expected_error__nan_without_values() -> None:
    nothing = calibration.r2_reliability(np.array([np.nan]), np.array([0.5]))
    assert np.isnan(nothing.expected_error)
