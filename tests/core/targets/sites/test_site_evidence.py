"""What speaks for the coding of typed sites, and which of them are damaged."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.errors import ShapeError
from vcfrag_core.targets.sites.site_evidence import SiteEvidence, site_evidence


def evidence_for(
    alleles: np.ndarray, loo: np.ndarray | None, frequency: float = 0.5, *, ambiguous: bool = False
) -> SiteEvidence:
    """Evidence at one site; its neighbours far away."""
    return site_evidence(
        alleles.reshape(-1, 1).astype(np.int8),
        np.array([frequency]),
        1000,
        np.array([ambiguous]),
        loo=None if loo is None else loo.reshape(-1, 1).astype(np.float32),
    )


def cohort(seed: int, n: int, frequency: float, trust: float) -> tuple[np.ndarray, np.ndarray]:
    """Alleles, and dosages that foresee each of them with probability `trust`."""
    rng = np.random.default_rng(seed)
    alleles = (rng.random(n) < frequency).astype(np.int8)
    foreseen = np.where(rng.random(n) < trust, alleles, 1 - alleles)
    return alleles, np.where(foreseen == 1, trust, 1 - trust)


@pytest.mark.parametrize("n", [2, 8, 32, 200])
@pytest.mark.parametrize("frequency", [0.05, 0.5])
def test_site_evidence__sound_and_inverted_coding_are_told_apart(n: int, frequency: float) -> None:
    trust = 0.999
    alleles, loo = cohort(n, n, frequency, trust)
    assert not evidence_for(alleles, loo, frequency).inverted.any()
    inverted = evidence_for(1 - alleles, loo, frequency)
    assert inverted.inverted.all()


def test_site_evidence__dosages_that_know_nothing_decide_nothing_at_half() -> None:
    alleles, _ = cohort(1, 100, 0.5, 0.9)
    for coded in (alleles, 1 - alleles):
        evidence = evidence_for(coded, np.full(100, 0.5), 0.5)
        assert not evidence.inverted.any()
        assert not evidence.contradicted.any()


def test_site_evidence__frequency_alone_finds_an_inverted_rare_site() -> None:
    alleles = np.zeros(100, dtype=np.int8)
    alleles[:3] = 1
    assert not evidence_for(alleles, None, 0.03).inverted.any()
    assert evidence_for(1 - alleles, None, 0.03).inverted.all()


def test_site_evidence__another_population_is_no_inversion() -> None:
    """0.35 in the cohort and 0.6 in the panel is what drift does."""
    alleles = (np.arange(200) < 70).astype(np.int8)
    assert not evidence_for(alleles, None, 0.6).inverted.any()


def test_site_evidence__less_is_asked_of_ambiguous_alleles() -> None:
    plain = evidence_for(np.array([0, 1]), np.array([0.5, 0.01]))
    ambiguous = evidence_for(np.array([0, 1]), np.array([0.5, 0.01]), ambiguous=True)
    assert not plain.inverted.any()
    assert ambiguous.inverted.all()


def test_site_evidence__shuffled_alleles_are_contradicted() -> None:
    alleles, loo = cohort(4, 64, 0.4, 0.98)
    shuffled = np.random.default_rng(5).permutation(alleles)
    assert not evidence_for(alleles, loo, 0.4).contradicted.any()
    evidence = evidence_for(shuffled, loo, 0.4)
    assert evidence.contradicted.all()
    assert not evidence.inverted.any()


def test_site_evidence__only_the_worst_of_a_neighbourhood_is_named() -> None:
    evidence = SiteEvidence(
        neighbours=np.array([5.0, -20.0, -40.0, -10.0, 5.0, 5.0, -9.0]),
        frequency=np.zeros(7),
        other_fits=np.ones(7),
        garbage=np.array([0.0, 11.0, 50.0, 12.0, 0.0, 0.0, 10.5]),
        excess=np.full(7, 6.0),
        prior=np.full(7, -7.0),
    )
    assert np.flatnonzero(evidence.inverted).tolist() == [2, 6]
    assert np.flatnonzero(evidence.contradicted).tolist() == [2, 6]


def test_site_evidence__missing_alleles_and_dosages_say_nothing() -> None:
    alleles, loo = cohort(6, 40, 0.5, 0.99)
    with_gaps = np.concatenate([alleles, [-1, -1, 1]]).astype(np.int8)
    dosage = np.concatenate([loo, [0.0, 1.0, np.nan]])
    np.testing.assert_allclose(evidence_for(with_gaps, dosage).neighbours, evidence_for(alleles, loo).neighbours)


def test_site_evidence__some_haplotypes_tested() -> None:
    alleles, loo = cohort(7, 40, 0.5, 0.99)
    tested = np.arange(0, 40, 3)
    some = site_evidence(
        alleles[:, None],
        np.array([0.5]),
        100,
        np.array([False]),
        loo=loo[tested, None].astype(np.float32),
        tested=tested,
    )
    np.testing.assert_allclose(some.neighbours, evidence_for(alleles[tested], loo[tested]).neighbours)


def test_site_evidence__refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        site_evidence(np.zeros((2, 3), np.int8), np.zeros(2), 4, np.zeros(3, np.bool_))
    with pytest.raises(ShapeError):
        evidence_for(np.zeros(4), np.zeros(3))


def badly_represented(seed: int, n_sites: int = 300, n: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sound alleles of samples whom the panel foretells at 7 of 10 sites only, their dosages, and their frequencies.

    Where it does not, confident dosages have nothing to do with the alleles, as where an ancestor is not in the panel.
    """
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.1, 0.9, n_sites)
    alleles = (rng.random((n, n_sites)) < frequency).astype(np.int8)
    others = rng.random((n, n_sites)) < frequency
    foreseen = np.where(rng.random((n, n_sites)) < 0.7, alleles == 1, others)
    return alleles, np.where(foreseen, 0.995, 0.005).astype(np.float32), frequency


def verdicts(alleles: np.ndarray, loo: np.ndarray, frequency: np.ndarray) -> SiteEvidence:
    return site_evidence(alleles, frequency, 1000, np.zeros(len(frequency), np.bool_), loo=loo)


@pytest.mark.parametrize("seed", range(4))
def test_site_evidence__sound_sites_of_badly_represented_samples_are_believed(seed: int) -> None:
    evidence = verdicts(*badly_represented(seed))
    assert not evidence.inverted.any()
    assert not evidence.contradicted.any()


@pytest.mark.parametrize("seed", range(4))
def test_site_evidence__inverted_sites_of_badly_represented_samples_are_found(seed: int) -> None:
    alleles, loo, frequency = badly_represented(seed)
    inverted = np.arange(10, 290, 31)
    alleles[:, inverted] = 1 - alleles[:, inverted]
    found = np.flatnonzero(verdicts(alleles, loo, frequency).inverted)
    assert set(found) <= set(inverted)
    assert len(found) >= 0.7 * len(inverted)


def test_site_evidence__shuffled_sites_stand_out_among_well_foretold_ones() -> None:
    rng = np.random.default_rng(3)
    frequency = rng.uniform(0.3, 0.7, 200)
    alleles = (rng.random((32, 200)) < frequency).astype(np.int8)
    loo = np.where((alleles == 1) != (rng.random(alleles.shape) < 0.02), 0.98, 0.02).astype(np.float32)
    shuffled = np.arange(5, 200, 20)
    alleles[:, shuffled] = rng.permuted(alleles[:, shuffled], axis=0)
    assert np.flatnonzero(verdicts(alleles, loo, frequency).contradicted).tolist() == shuffled.tolist()


def test_site_evidence__a_site_that_neither_coding_explains_is_not_inverted() -> None:
    """The neighbours say 0.9 of 1s, the site has half of each: the other coding is better at best, never right."""
    rng = np.random.default_rng(8)
    alleles = np.zeros((64, 1), np.int8)
    alleles[:32] = 1
    loo = np.where(rng.random((64, 1)) < 0.35, alleles == 1, alleles == 0) * 0.98 + 0.01
    evidence = site_evidence(
        np.tile(alleles, 300), np.full(300, 0.5), 1000, np.ones(300, np.bool_), loo=np.tile(loo, 300).astype(np.float32)
    )
    assert not evidence.inverted.any()


@pytest.mark.parametrize(("drift", "found"), [(0.0, True), (0.3, False)])
def test_site_evidence__frequencies_that_all_drifted_contradict_no_coding(drift: float, found: bool) -> None:
    """One site at 0.9 in the cohort and 0.15 in the panel, among sites that did, or did not, drift."""
    rng = np.random.default_rng(2)
    panel = rng.uniform(0.1, 0.9, 400)
    scale = (1 - drift) / drift if drift else 1e6
    cohort_frequency = rng.beta(panel * scale, (1 - panel) * scale)
    panel[7], cohort_frequency[7] = 0.15, 0.9
    alleles = (rng.random((100, 400)) < cohort_frequency).astype(np.int8)
    evidence = site_evidence(alleles, panel, 1000, np.zeros(400, np.bool_))
    assert evidence.inverted[7] == found
    assert evidence.inverted.sum() == found
