"""Sums and weights against drawing the samples and computing everything anew."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring import bootstrap as resampling
from vcfrag_core.scoring.bootstrap import Scored
from vcfrag_core.types import F64Array


def measured(scored: Scored, weights: F64Array) -> F64Array:
    """The metrics of one set of sites."""
    return resampling.measure(resampling.sums_of(scored, weights), weights)


def _scored(seed: int, v: int = 300, s: int = 23, *, missing: bool = True, posterior: bool = True) -> Scored:
    rng = np.random.default_rng(seed)
    frequency = rng.choice([0.0, 5e-4, 0.003, 0.008, 0.03, 0.2, 0.45, 0.97], size=v)
    truth = rng.binomial(2, frequency[:, None], size=(v, s)).astype(np.int8)
    probability = np.clip(frequency[:, None, None] + 0.3 * rng.standard_normal((v, s, 2)), 0, 1)
    probability[: v // 10] = 0.25  # sites with constant dosages
    posteriors = accuracy.posterior_of_haplotypes(probability)
    if missing:
        truth[rng.random((v, s)) < 0.1] = -1
    dosage = probability.sum(axis=2)
    given = posteriors if posterior else None
    calls = accuracy.best_guess(dosage, given)
    return Scored(dosage=dosage, calls=calls, posterior=given, truth=truth, frequency=frequency)


def _resample(scored: Scored, drawn: list[int]) -> Scored:
    return Scored(
        dosage=scored.dosage[:, drawn],
        calls=scored.calls[:, drawn],
        posterior=None if scored.posterior is None else scored.posterior[:, drawn],
        truth=scored.truth[:, drawn],
        frequency=scored.frequency,
    )


def _slow(scored: Scored, bins: tuple[int, ...]) -> F64Array:
    """Every metric of one group by its definition, in the order of METRICS."""
    sites = np.isin(accuracy.maf_bin(scored.frequency), bins)
    truth, dosage, calls = scored.truth[sites], scored.dosage[sites], scored.calls[sites]
    varies = np.array([len(set(row[row >= 0].tolist())) > 1 for row in truth], dtype=bool)
    r2 = np.nan_to_num(accuracy.dosage_r2(dosage[varies], truth[varies]))
    score = np.full(1, np.nan)
    if scored.posterior is not None:
        score = accuracy.iqs(scored.posterior[sites][varies], truth[varies])
    alt = accuracy.alt_scores(calls, truth)
    return np.array(
        [
            accuracy.aggregate_r2(dosage, truth, scored.frequency[sites]),
            r2.mean() if r2.size else np.nan,
            score.mean() if score.size else np.nan,
            accuracy.concordance(calls, truth),
            accuracy.non_reference_concordance(calls, truth),
            alt.precision,
            alt.recall,
            alt.f1,
        ]
    )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("posterior", [False, True])
def test_measure__equals_the_definitions_on_every_resample(missing: bool, posterior: bool) -> None:
    scored = _scored(5, missing=missing, posterior=posterior)
    weights = resampling.bootstrap_weights(23, 6, seed=11)
    fast = measured(scored, weights)
    for row, weight in enumerate(weights):
        drawn = np.repeat(np.arange(23), weight.astype(int)).tolist()
        for g, group in enumerate(accuracy.GROUPS):
            slow = _slow(_resample(scored, drawn), group.bins)
            np.testing.assert_allclose(fast[row, :, g], slow, atol=1e-9, err_msg=f"{group.label} in resample {row}")


def test_measure__does_not_depend_on_how_many_sites_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = _scored(6)
    weights = resampling.bootstrap_weights(23, 4, seed=1)
    whole = measured(scored, weights)
    monkeypatch.setattr(resampling, "_SITES_AT_ONCE", 7)
    np.testing.assert_allclose(measured(scored, weights), whole, atol=1e-12)


def test_measure__a_method_that_never_varies_is_not_left_out_of_the_site_mean() -> None:
    truth = np.array([[0, 1, 0, 1], [0, 1, 1, 0]], dtype=np.int8)
    frequency = np.array([0.2, 0.2])
    bold = np.array([[0.0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]])
    scored = Scored(dosage=bold, calls=accuracy.best_guess(bold), posterior=None, truth=truth, frequency=frequency)
    table = measured(scored, np.ones((1, 4)))
    site_r2 = table[0, resampling.METRICS.index("site_r2")]
    assert site_r2[-1] == pytest.approx(0.5)


def test_bootstrap_weights__rows_are_resamples_of_all_samples() -> None:
    weights = resampling.bootstrap_weights(17, 50, seed=2)
    assert weights.shape == (51, 17)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 17).all()
    assert np.array_equal(weights, resampling.bootstrap_weights(17, 50, seed=2))
    assert not np.array_equal(weights, resampling.bootstrap_weights(17, 50, seed=3))


@pytest.mark.parametrize(("n_samples", "n_resamples"), [(0, 5), (5, -1)])
def test_bootstrap_weights__refuses_nothing_to_draw(n_samples: int, n_resamples: int) -> None:
    with pytest.raises(ConfigError):
        resampling.bootstrap_weights(n_samples, n_resamples, seed=0)


def test_pairing__cancels_what_two_methods_share() -> None:
    """Two methods that differ by a little noise: the paired interval is far narrower than either one's own."""
    first = _scored(9, v=400, s=60, missing=False)
    noise = np.random.default_rng(0).normal(0, 0.02, first.dosage.shape)
    second = Scored(
        dosage=first.dosage + noise,
        calls=first.calls,
        posterior=None,
        truth=first.truth,
        frequency=first.frequency,
    )
    weights = resampling.bootstrap_weights(60, 300, seed=4)
    a, b = (measured(method, weights)[:, 0, -1] for method in (first, second))
    alone, paired = resampling.interval(a), resampling.interval(a - b)
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)
    assert paired.low <= paired.value <= paired.high


def test_interval__percentiles_of_the_replicates_around_the_estimate() -> None:
    replicates = np.concatenate([[50.0], np.arange(101.0), [np.nan]])
    got = resampling.interval(replicates, level=0.9)
    assert (got.value, got.low, got.high) == pytest.approx((50.0, 5.0, 95.0))


def test_interval__holds_the_site_mean_although_resamples_lose_rare_carriers() -> None:
    """Sites with one carrier, half of them imputed, and common ones imputed well: resamples drop the former."""
    rng = np.random.default_rng(8)
    truth = np.zeros((200, 50), dtype=np.int8)
    truth[np.arange(100), rng.integers(50, size=100)] = 1
    truth[100:] = rng.binomial(2, 0.4, size=(100, 50))
    dosage = np.where(np.arange(200)[:, None] < 50, 0.1 * rng.random((200, 50)), truth + 0.05 * rng.random((200, 50)))
    scored = Scored(dosage=dosage, calls=truth, posterior=None, truth=truth, frequency=np.full(200, 0.3))
    replicates = measured(scored, resampling.bootstrap_weights(50, 200, seed=1))[:, 1, -1]
    assert replicates[0] < np.quantile(replicates[1:], 0.025)
    got = resampling.interval(replicates)
    assert got.low < got.value < got.high


def test_interval__nan_without_replicates_or_estimate() -> None:
    assert np.isnan(resampling.interval(np.array([0.5])).low)
    assert np.isnan(resampling.interval(np.array([np.nan, 0.1, 0.2])).low)


def test_interval__covers_the_truth_about_as_often_as_it_says() -> None:
    """95 % intervals of concordance over 200 fresh cohorts of 60 samples whose true concordance is known."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.binomial(2, 0.3, size=(40, 60)).astype(np.int8)
        wrong = rng.random(truth.shape) < 0.2
        calls = np.where(wrong, (truth + 1) % 3, truth).astype(np.int8)
        scored = Scored(
            dosage=calls.astype(float), calls=calls, posterior=None, truth=truth, frequency=np.full(40, 0.3)
        )
        replicates = measured(scored, resampling.bootstrap_weights(60, 200, seed))
        got = resampling.interval(replicates[:, resampling.METRICS.index("concordance"), -1])
        hits += got.low <= 0.8 <= got.high
    assert 0.89 <= hits / 200 <= 0.99


def test_scored__refuses_shapes_that_do_not_agree() -> None:
    ones = np.ones((3, 2), dtype=np.int8)
    with pytest.raises(ShapeError):
        Scored(dosage=np.ones((3, 2)), calls=ones, posterior=None, truth=ones, frequency=np.ones(2))
    with pytest.raises(ShapeError):
        Scored(dosage=np.ones((3, 2)), calls=ones, posterior=np.ones((3, 2)), truth=ones, frequency=np.ones(3))
    with pytest.raises(ShapeError):
        Scored(dosage=np.ones((2, 2)), calls=ones, posterior=None, truth=ones, frequency=np.ones(3))
