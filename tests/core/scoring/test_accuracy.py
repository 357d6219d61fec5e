"""The metrics against hand counts, scipy and their definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.scoring import accuracy


def test_maf_bin__edges_belong_to_the_lower_bin() -> None:
    frequency = np.array([0.0, 1.0, 1e-4, 0.001, 0.0011, 0.005, 0.01, 0.0100001, 0.05, 0.5, 0.75, 0.999, 0.9999])
    assert accuracy.maf_bin(frequency).tolist() == [-1, -1, 0, 0, 1, 1, 2, 3, 3, 4, 4, 0, 0]


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_maf_bin__refuses_what_is_no_frequency(bad: float) -> None:
    with pytest.raises(RangeError):
        accuracy.maf_bin(np.array([0.5, bad]))


def test_dosage_r2__golden_value() -> None:
    # scipy 1.17: scipy.stats.pearsonr(dosage, truth).statistic ** 2
    dosage = np.array([[0.1, 0.9, 1.8, 0.0, 1.2, 0.4]])
    truth = np.array([[0, 1, 2, 0, 2, 0]])
    assert accuracy.dosage_r2(dosage, truth)[0] == pytest.approx(0.8888993859234768, abs=1e-12)


def test_dosage_r2__missing_calls_count_nowhere() -> None:
    dosage = np.array([[0.1, 0.9, 1.8, 0.0, 1.2, 0.4, 2.0]])
    truth = np.array([[0, 1, 2, 0, 2, 0, -1]])
    assert accuracy.dosage_r2(dosage, truth)[0] == accuracy.dosage_r2(dosage[:, :-1], truth[:, :-1])[0]


def test_dosage_r2__nan_where_undefined() -> None:
    dosage = np.array([[0.0, 1.0, 2.0], [0.7, 0.7, 0.7], [0.0, 1.0, 2.0]])
    truth = np.array([[1, 1, 1], [0, 1, 2], [0, -1, -1]])
    assert np.isnan(accuracy.dosage_r2(dosage, truth)).all()


def test_dosage_r2__refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        accuracy.dosage_r2(np.zeros((2, 3)), np.zeros((3, 2), dtype=np.int8))


def test_aggregate_r2__golden_value() -> None:
    # scipy 1.17: pearsonr of (dosage - 2 f) and (truth - 2 f), flattened, squared.
    dosage = np.array([[0.2, 1.1, 0.0], [1.5, 2.0, 0.9], [0.05, 0.0, 0.6]])
    truth = np.array([[0, 1, 0], [2, 2, 1], [0, 0, 1]])
    frequency = np.array([0.2, 0.8, 0.05])
    assert accuracy.aggregate_r2(dosage, truth, frequency) == pytest.approx(0.801422607825096, abs=1e-12)


def test_aggregate_r2__of_a_dosage_that_is_no_number_is_none() -> None:
    truth, frequency = np.array([[0, 2, 1]]), np.array([0.5])
    for bad in (np.nan, np.inf):
        assert np.isnan(accuracy.aggregate_r2(np.array([[0.1, bad, 1.0]]), truth, frequency))
    assert accuracy.aggregate_r2(np.array([[0.1, np.nan, 1.0]]), np.array([[0, -1, 1]]), frequency) == 1


def test_aggregate_r2__the_expected_dosage_alone_is_worth_nothing() -> None:
    frequency = np.array([0.01, 0.3, 0.9])
    truth = np.random.default_rng(1).binomial(2, frequency[:, None], size=(3, 500)).astype(np.int8)
    constant = np.repeat(2 * frequency[:, None], 500, axis=1)
    assert accuracy.aggregate_r2(constant, truth, frequency) == 0
    assert accuracy.aggregate_r2(constant.astype(np.float32), truth, frequency) == 0
    assert np.isnan(accuracy.aggregate_r2(constant, np.zeros_like(truth), np.zeros(3)))
    pooled = np.corrcoef(constant.reshape(-1), truth.reshape(-1))[0, 1] ** 2
    assert pooled > 0.5  # what the centring takes away


def test_iqs__by_hand_from_a_table() -> None:
    # Hard calls of 10 samples: 6 of 0/0 right, 2 of 0/1 right, one 0/1 called 0/0, one 0/0 called 0/1.
    truth = np.array([[0] * 6 + [1, 1] + [1] + [0]])
    calls = np.array([[0] * 6 + [1, 1] + [0] + [1]])
    posterior = (calls[:, :, None] == np.arange(3)).astype(float)
    observed, chance = 0.8, 0.7 * 0.7 + 0.3 * 0.3
    assert accuracy.iqs(posterior, truth)[0] == pytest.approx((observed - chance) / (1 - chance))


def test_iqs__population_frequencies_for_everyone_score_zero() -> None:
    truth = np.array([[0, 0, 0, 1, 1, 2, 0, -1]])
    shares = np.array([4, 2, 1]) / 7
    posterior = np.tile(shares, (1, 8, 1))
    assert accuracy.iqs(posterior, truth)[0] == pytest.approx(0, abs=1e-12)


def test_iqs__nan_where_chance_is_certain() -> None:
    posterior = np.tile(np.array([1.0, 0, 0]), (2, 3, 1))
    assert np.isnan(accuracy.iqs(posterior, np.array([[0, 0, 0], [-1, -1, -1]]))).all()


def test_best_guess__ties_go_to_fewer_copies() -> None:
    assert accuracy.best_guess(np.array([[0.5, 1.5, 0.51, 1.49, 2.0, 0.0, -1e-9]])).tolist() == [[0, 1, 1, 1, 2, 0, 0]]
    posterior = np.array([[[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]])
    assert accuracy.best_guess(np.zeros((1, 2)), posterior).tolist() == [[0, 2]]


def test_concordance__counts() -> None:
    truth = np.array([[0, 0, 0, 1, 2, 1, -1]])
    calls = np.array([[0, 0, 1, 1, 1, 0, 2]])
    assert accuracy.concordance(calls, truth) == pytest.approx(3 / 6)
    # Either side carries ALT in four pairs, of which one is equal.
    assert accuracy.non_reference_concordance(calls, truth) == pytest.approx(1 / 4)


def test_alt_scores__counts_allele_copies() -> None:
    truth = np.array([[2, 1, 0, 1, -1]])
    calls = np.array([[1, 1, 1, 0, 2]])
    scores = accuracy.alt_scores(calls, truth)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((2 / 3, 2 / 4, 4 / 7))


def test_shares__nan_without_anything_to_count() -> None:
    nothing = np.array([[-1, -1]])
    zeros = np.array([[0, 0]])
    assert np.isnan(accuracy.concordance(zeros, nothing))
    assert np.isnan(accuracy.non_reference_concordance(zeros, zeros))
    assert np.isnan(accuracy.alt_scores(zeros, zeros).f1)


def test_genotypes__are_unordered() -> None:
    """0|1 and 1|0 are one genotype: swapping a sample's haplotypes changes its copy numbers not at all."""
    haplotypes = np.random.default_rng(3).integers(0, 2, size=(20, 8, 2))
    swapped = haplotypes[:, :, ::-1]
    assert accuracy.concordance(swapped.sum(2), haplotypes.sum(2)) == 1.0
    dosages = np.random.default_rng(4).random((20, 8, 2))
    np.testing.assert_allclose(
        accuracy.posterior_of_haplotypes(dosages), accuracy.posterior_of_haplotypes(dosages[:, :, ::-1])
    )


@given(st.floats(0, 1), st.floats(0, 1))
def test_posterior_of_haplotypes__is_a_distribution_with_the_dosage_as_mean(p: float, q: float) -> None:
    posterior = accuracy.posterior_of_haplotypes(np.array([p, q]))
    assert posterior.sum() == pytest.approx(1)
    assert posterior @ np.arange(3) == pytest.approx(p + q)


def test_groups__cover_every_bin_once_each_way() -> None:
    single = [group.bins for group in accuracy.GROUPS if len(group.bins) == 1]
    assert sorted(b for bins in single for b in bins) == list(range(accuracy.N_BINS))
    by_label = {group.label: group.bins for group in accuracy.GROUPS}
    assert sorted(by_label["rare (≤ 1 %)"] + by_label["common (> 1 %)"]) == list(by_label["all"])
