"""The objective of calibration against the metrics' own definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.bootstrap import bootstrap_weights
from vcfrag_core.scoring.copying import DOUBT, CopyingScore, changes
from vcfrag_core.types import F32Array, F64Array, U8Array


def example(seed: int = 1, *, samples: int = 12, sites: int = 60) -> tuple[F32Array, U8Array, F64Array]:
    """Dosages that lean towards the truth, at sites of all MAF bins."""
    rng = np.random.default_rng(seed)
    frequency = np.exp(rng.uniform(np.log(2e-4), np.log(0.5), sites))
    truth = (rng.random((2 * samples, sites)) < np.maximum(frequency, 0.05)).astype(np.uint8)
    dosage = np.clip(0.6 * truth + 0.4 * rng.random(truth.shape), 0, 1).astype(np.float32)
    return dosage, truth, frequency


def test_errors__are_those_of_aggregate_r2_by_bin() -> None:
    dosage, truth, frequency = example()
    errors = CopyingScore.of(dosage, truth, frequency).errors()[0]
    copies, true_copies = (dosage[0::2] + dosage[1::2]).T, (truth[0::2] + truth[1::2]).T.astype(np.int8)
    bins = accuracy.maf_bin(frequency)
    for b in range(accuracy.N_BINS):
        expected = 1 - accuracy.aggregate_r2(copies[bins == b], true_copies[bins == b], frequency[bins == b])
        assert errors[b] == pytest.approx(expected, abs=1e-9)


def test_loss__is_the_mean_over_bins_above_a_thousandth() -> None:
    score = CopyingScore.of(*example())
    assert score.loss()[0] == pytest.approx(score.errors()[0, 1:].mean())


def test_loss__leaves_out_bins_that_do_not_vary() -> None:
    dosage, truth, frequency = example()
    truth[:, accuracy.maf_bin(frequency) == 1] = 0
    score = CopyingScore.of(dosage, truth, frequency)
    # The truth of a bin varies by its sites' frequencies alone once everybody carries REF.
    kept = score.errors()[0, 1:]
    assert score.loss()[0] == pytest.approx(kept[np.isfinite(kept)].mean())


def test_loss__refuses_sites_at_which_nothing_can_be_scored() -> None:
    dosage, truth, frequency = example()
    rare = frequency < 1e-3
    with pytest.raises(RangeError, match="nothing can be scored"):
        CopyingScore.of(dosage[:, rare], truth[:, rare], frequency[rare]).loss()


def test_log_loss__is_the_mean_surprise() -> None:
    dosage, truth, frequency = example(samples=3, sites=8)
    surprise = []
    for h in range(6):
        for i in range(8):
            p = (1 - DOUBT) * float(dosage[h, i]) + DOUBT * float(frequency[i])
            surprise.append(-math.log(p if truth[h, i] else 1 - p))
    score = CopyingScore.of(dosage, truth, frequency)
    assert score.mean_log_loss()[0] == pytest.approx(sum(surprise) / len(surprise), rel=1e-9)


def test_log_loss__finite_where_copying_is_sure_and_wrong() -> None:
    truth = np.array([[1], [0]], dtype=np.uint8)
    score = CopyingScore.of((1 - truth).astype(np.float32), truth, np.array([0.2]))
    assert np.isfinite(score.mean_log_loss()).all()
    assert score.mean_log_loss()[0] > 5


def test_total__windows_add_up_to_the_whole() -> None:
    dosage, truth, frequency = example()
    whole = CopyingScore.of(dosage, truth, frequency)
    parts = CopyingScore.total(
        CopyingScore.of(dosage[:, part], truth[:, part], frequency[part]) for part in (slice(0, 25), slice(25, 60))
    )
    np.testing.assert_allclose(parts.sums, whole.sums, atol=1e-6)
    assert parts.n_alleles == whole.n_alleles
    assert parts.mean_log_loss()[0] == pytest.approx(whole.mean_log_loss()[0])


def test_loss__of_a_resample_is_that_of_the_samples_drawn() -> None:
    dosage, truth, frequency = example()
    weights = bootstrap_weights(12, 5, seed=3)
    score = CopyingScore.of(dosage, truth, frequency)
    for row, loss, log_loss in zip(weights, score.loss(weights), score.mean_log_loss(weights), strict=True):
        rows = np.repeat(np.arange(24).reshape(12, 2), row.astype(int), axis=0).reshape(-1)
        drawn = CopyingScore.of(dosage[rows], truth[rows], frequency)
        assert loss == pytest.approx(drawn.loss()[0], abs=1e-9)
        assert log_loss == pytest.approx(drawn.mean_log_loss()[0], abs=1e-9)


def test_changes__pairs_the_samples() -> None:
    dosage, truth, frequency = example()
    before = CopyingScore.of(dosage, truth, frequency)
    after = CopyingScore.of((0.9 * dosage + 0.1 * truth).astype(np.float32), truth, frequency)
    found = changes(before, after, resamples=200, seed=2)
    bins = {f"error_maf_{name}_permille" for name in ("0_to_1", "1_to_5", "5_to_10", "10_to_50", "50_to_500")}
    assert set(found) == {"mean_error", "log_loss"} | bins
    change = found["mean_error"]
    assert change.difference.value == pytest.approx(change.after - change.before)
    assert change.difference.low <= change.difference.value <= change.difference.high
    # The same improvement in everybody is sure, although the errors themselves vary more than it.
    assert change.difference.high < 0
    spread = np.ptp(before.loss(bootstrap_weights(12, 200, 2)))
    assert change.difference.high - change.difference.low < spread


def test_changes__nothing_changes_nothing() -> None:
    score = CopyingScore.of(*example())
    for change in changes(score, score, resamples=20).values():
        assert (change.difference.value, change.difference.low, change.difference.high) == (0, 0, 0)


def test_score__refuses_arrays_that_do_not_fit() -> None:
    dosage, truth, frequency = example()
    for wrong in ((dosage[1:], truth, frequency), (dosage, truth, frequency[1:]), (dosage[:3], truth[:3], frequency)):
        with pytest.raises(ShapeError):
            CopyingScore.of(*wrong)
