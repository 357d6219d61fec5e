"""R2 is the mean r² over what the dosages leave open."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ShapeError
from vcfrag_core.output.cohort_sums import estimated_r2
from vcfrag_core.output.info_r2 import (
    FEWEST_SAMPLES,
    PSEUDO_COUNT,
    allele_probabilities,
    expected_r2,
    explained_share,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.scoring import accuracy

seeds = st.integers(0, 2**32 - 1)


def cohort(seed: int, n_samples: int = 40, n_sites: int = 30) -> np.ndarray:
    """(Q, L) dosages of sites rare and common, sharp and blurred; the first two dosages of a site are never equal."""
    rng = np.random.default_rng(seed)
    shape = 10.0 ** rng.uniform(-2.5, 0.5, (2, n_sites))
    dosage = rng.beta(shape[0], shape[1], (2 * n_samples, n_sites))
    dosage[0], dosage[1] = 0.02, 0.9
    return dosage


def plain_r2(dosage: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(L,) mean over every outcome with minor alleles of cov² / (var(d) w K), w K having the mean of var(g)."""
    n = len(dosage) // 2
    d = dosage[0::2] + dosage[1::2]
    if probability.mean() > 0.5:
        d, probability = 2 - d, 1 - probability
    variance_sum = minor_sum = ratio_sum = varying = 0.0
    for outcome in itertools.product((0, 1), repeat=2 * n):
        y = np.array(outcome)
        chance = np.where(y[:, None] == 1, probability, 1 - probability).prod()
        g = y[0::2] + y[1::2]
        variance_sum += chance * g.var()
        minor_sum += chance * y.sum()
        if y.any():
            varying += chance
            ratio_sum += chance * ((d[:, 0] - d.mean()) * g).mean() ** 2 / y.sum()
    return np.array([ratio_sum / varying * minor_sum / variance_sum / d.var()])


def plain_r2_of_mixed(dosage: np.ndarray, probability: np.ndarray, ploidy: Ploidy) -> float:
    """`plain_r2` in which a lone allele counts twice in its sample's genotype."""
    weight = (2 / ploidy.counts)[ploidy.sample_of]
    d = np.array([(weight * dosage[:, 0])[list(ploidy.span(s))].sum() for s in range(ploidy.n_samples)])
    if probability.mean() > 0.5:
        d, probability = 2 - d, 1 - probability
    variance_sum = minor_sum = ratio_sum = varying = 0.0
    for outcome in itertools.product((0, 1), repeat=len(dosage)):
        y = np.array(outcome)
        chance = np.where(y == 1, probability[:, 0], 1 - probability[:, 0]).prod()
        g = np.array([(weight * y)[list(ploidy.span(s))].sum() for s in range(ploidy.n_samples)])
        variance_sum += chance * g.var()
        minor_sum += chance * (weight**2 * y).sum()
        if y.any():
            varying += chance
            ratio_sum += chance * ((d - d.mean()) * g).mean() ** 2 / (weight**2 * y).sum()
    return ratio_sum / varying * minor_sum / variance_sum / d.var()


@pytest.mark.parametrize("seed", range(8))
def test_expected_r2__counts_lone_haplotypes_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ploidy = Ploidy.of(rng.permutation([1, 1, 1, 2, 2, 2]))
    dosage = rng.beta(*10.0 ** rng.uniform(-2, 0.5, 2), (9, 1))
    probability = allele_probabilities(dosage, np.zeros((9, 1), np.bool_), 500)
    expected = min(1.0, plain_r2_of_mixed(dosage, probability, ploidy))
    np.testing.assert_allclose(expected_r2(dosage, probability, ploidy), [expected], rtol=1e-5, atol=1e-9)


def test_expected_r2__known_alleles_explain_everything_whatever_the_ploidy() -> None:
    alleles = (cohort(3) > 0.5).astype(float)
    probability = allele_probabilities(alleles, np.ones(alleles.shape, np.bool_), 500)
    varies = np.ptp(alleles, axis=0) > 0
    for ploidy in (Ploidy.haploid(80), Ploidy.of([1, 1, 2] * 20)):
        np.testing.assert_allclose(expected_r2(alleles, probability, ploidy), varies, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_expected_r2__is_the_mean_over_all_outcomes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dosage = rng.beta(*10.0 ** rng.uniform(-2, 0.5, 2), (10, 1))
    probability = allele_probabilities(dosage, np.zeros((10, 1), np.bool_), 500)
    np.testing.assert_allclose(
        expected_r2(dosage, probability), np.minimum(plain_r2(dosage, probability), 1), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("expected_alleles", [0.1, 0.5, 2, 8, 15, 25, 60])
def test_expected_r2__is_what_draws_from_the_dosages_show(expected_alleles: float) -> None:
    """Genotypes drawn from the probabilities, scored as an evaluation does it: sites that do not vary count nowhere."""
    rng = np.random.default_rng(7)
    sites, draws = 25, 400
    dosage = rng.beta(0.05, 0.5, (200, sites))
    dosage = np.clip(dosage * expected_alleles / dosage.sum(axis=0), 0, 0.999)
    probability = allele_probabilities(dosage, np.zeros(dosage.shape, np.bool_), 4000)
    foretold = expected_r2(dosage, probability)
    copies = (dosage[0::2] + dosage[1::2]).T
    seen: list[float] = []
    weighed: list[float] = []
    for _ in range(draws):
        y = (rng.random(dosage.shape) < probability).astype(np.int8)
        r2 = accuracy.site_r2(copies, (y[0::2] + y[1::2]).T)
        seen += r2[np.isfinite(r2)].tolist()
        weighed += foretold[np.isfinite(r2)].tolist()
    assert np.mean(weighed) == pytest.approx(np.mean(seen), abs=0.015)


def test_expected_r2__known_alleles_have_one_and_constants_zero() -> None:
    alleles = np.zeros((2 * FEWEST_SAMPLES, 4))
    alleles[:2, 1] = alleles[1:, 2] = alleles[:, 3] = 1
    probability = allele_probabilities(alleles, np.ones(alleles.shape, np.bool_), 100)
    np.testing.assert_allclose(expected_r2(alleles, probability), [0, 1, 1, 0], atol=1e-12)
    blurred = np.full((40, 2), [0.3, 1e-9])
    assert expected_r2(blurred, allele_probabilities(blurred, np.zeros((40, 2), np.bool_), 100)).tolist() == [0, 0]


@given(seed=seeds)
def test_expected_r2__lies_in_the_unit_interval_whatever_the_order_and_coding(seed: int) -> None:
    dosage = cohort(seed)
    unknown = np.zeros(dosage.shape, np.bool_)

    def of(values: np.ndarray) -> np.ndarray:
        return expected_r2(values, allele_probabilities(values, unknown, 2000))

    r2 = of(dosage)
    assert ((r2 >= 0) & (r2 <= 1)).all()
    pairs = dosage.reshape(-1, 2, dosage.shape[1])
    shuffled = pairs[np.random.default_rng(seed).permutation(len(pairs)), ::-1]
    np.testing.assert_allclose(of(shuffled.reshape(dosage.shape)), r2, atol=1e-9)
    np.testing.assert_allclose(of(1 - dosage), r2, atol=1e-9)


@given(seed=seeds)
def test_expected_r2__grows_as_dosages_leave_their_mean(seed: int) -> None:
    dosage = cohort(seed)
    mean = dosage.mean(axis=0)
    unknown = np.zeros(dosage.shape, np.bool_)
    steps = [mean + share * (dosage - mean) for share in np.linspace(0.05, 1, 8)]
    r2 = np.array([expected_r2(step, allele_probabilities(step, unknown, 2000)) for step in steps])
    assert (np.diff(r2, axis=0) > -1e-9).all()


def test_expected_r2__one_uncertain_carrier() -> None:
    """If the genotypes vary, the carrier is likely the one whose dosage says so: not .05, as the variances' ratio."""
    dosage = np.zeros((200, 1))
    dosage[0] = 0.05
    unknown = np.zeros(dosage.shape, np.bool_)
    none_else = 0.05 / (0.05 + 199 * PSEUDO_COUNT / 4000)
    r2 = expected_r2(dosage, allele_probabilities(dosage, unknown, 4000))
    assert r2 == pytest.approx(none_else, abs=0.02)
    assert expected_r2(dosage, allele_probabilities(dosage, unknown, 200)) < r2 / 2


def test_allele_probabilities__count_more_alleles_where_they_are_not_known() -> None:
    dosage = np.array([[0, 1, 0.5], [0, 1, 1.00001]])
    known = np.array([[True, True, False], [False, False, False]])
    got = allele_probabilities(dosage, known, 4)
    np.testing.assert_allclose(got, [[0, 1, 0.5], [0.1, 0.9, 0.9]])
    with pytest.raises(ShapeError):
        allele_probabilities(dosage[:0], known[:0], 4)
    with pytest.raises(ShapeError):
        expected_r2(dosage[:1], got[:1])
    with pytest.raises(ShapeError):
        allele_probabilities(dosage, known[:, :2], 4)


def test_explained_share__against_the_reference_frequency() -> None:
    probability = np.array([[0.0, 0.2, 1.0, 0.0], [0.0, 0.2, 0.6, 0.0]])
    got = explained_share(probability, np.array([0.2, 0.2, 0.5, 0.0]))
    np.testing.assert_allclose(got, [1, 0, 0.26 / (0.26 + 0.24), 0], atol=1e-12)


@pytest.mark.parametrize("n_samples", [1, 2, FEWEST_SAMPLES - 1, FEWEST_SAMPLES])
def test_estimated_r2__few_samples_are_measured_against_the_reference(n_samples: int) -> None:
    rng = np.random.default_rng(n_samples)
    panel = Panel.from_haplotypes(rng.integers(0, 2, (12, 40)))
    sites = np.arange(5, 35)
    dosage = rng.random((2 * n_samples, 30)).astype(np.float32)
    known = rng.random(dosage.shape) < 0.1
    got = estimated_r2(panel, sites, dosage, known)
    probability = allele_probabilities(dosage, known, 12)
    if n_samples < FEWEST_SAMPLES:
        expected = explained_share(probability, panel.alt_frequency()[sites])
    else:
        expected = expected_r2(dosage, probability)
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert ((got >= 0) & (got <= 1)).all()
