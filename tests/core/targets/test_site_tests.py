"""Tests of the typed sites, missing calls, thin stretches, and people who are in the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ShapeError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.people import find_panel_samples, genotype_concordance, groups_of_matches
from vcfrag_core.targets.site_tests import (
    SiteEvidence,
    ambiguous_sites,
    missing_rates,
    site_evidence,
    thin_stretches,
)

MakePanel = Callable[..., Panel]


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
    plain = evidence_for(np.array([0, 1]), np.array([0.5, 0.012]))
    ambiguous = evidence_for(np.array([0, 1]), np.array([0.5, 0.012]), ambiguous=True)
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
        garbage=np.array([0.0, 11.0, 50.0, 12.0, 0.0, 0.0, 10.5]),
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


def test_ambiguous_sites() -> None:
    panel = Panel.from_haplotypes(np.zeros((2, 4), np.uint8), refs=["A", "C", "A", "G"], alts=["T", "G", "G", "C"])
    assert ambiguous_sites(panel, np.arange(4)).tolist() == [True, True, False, True]
    assert ambiguous_sites(panel, np.array([2, 3])).tolist() == [False, True]


def test_missing_rates() -> None:
    alleles = np.array([[0, -1, 1], [0, 1, 1], [-1, -1, 0], [-1, -1, 0]], dtype=np.int8)
    observed = np.array([True, True, False])
    assert missing_rates(alleles, observed).tolist() == [0.25, 1.0]


@given(
    cm=st.lists(st.floats(0, 20), min_size=1, max_size=60).map(sorted),
    seed=st.integers(0, 2**16),
    flank=st.floats(0, 5),
    least=st.integers(1, 6),
)
def test_thin_stretches__agree_with_counting(cm: list[float], seed: int, flank: float, least: int) -> None:
    where = np.array(cm)
    observed = np.random.default_rng(seed).random(len(cm)) < 0.4
    thin = np.zeros(len(cm), dtype=np.bool_)
    for start, stop in thin_stretches(where, observed, flank_cm=flank, least=least):
        assert start < stop
        assert not thin[start:stop].any()
        assert start == 0 or not thin[start - 1]
        thin[start:stop] = True
    for i, here in enumerate(where):
        near = observed & (where >= here - flank) & (where <= here + flank)
        assert thin[i] == (near.sum() < least)


def target_of(panel: Panel, rows: list[int], names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """A target of panel samples under other names."""
    haplotypes = [row for s in rows for row in (2 * s, 2 * s + 1)]
    return tuple(names), panel.haplotypes(np.array(haplotypes)).astype(np.int8)


def test_find_panel_people__by_genotype_by_name_and_by_both(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=40, n_sites=400, seed=3)
    others = panel.select_samples(panel.samples[:30])
    samples, alleles = target_of(panel, [5, 31, 7, 32], ["renamed", "stranger", others.samples[7], others.samples[9]])
    observed = np.arange(400) % 2 == 0
    alleles[:, ~observed] = -1
    people = {p.sample: p for p in find_panel_samples(samples, alleles, observed, others)}
    assert set(people) == {"renamed", others.samples[7], others.samples[9]}
    renamed, both, namesake = people["renamed"], people[others.samples[7]], people[others.samples[9]]
    assert renamed.panel_samples == (others.samples[5],)
    assert (renamed.by_name, renamed.by_genotype, renamed.concordance) == (False, True, 1.0)
    assert (both.by_name, both.by_genotype) == (True, True)
    assert (namesake.by_name, namesake.by_genotype) == (True, False)
    assert namesake.concordance < 0.98
    assert str(renamed) == f"renamed = {renamed.panel_samples[0]} (by genotype)"


def test_find_panel_people__neither_phase_nor_a_few_errors_hide_a_person(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=30, n_sites=600, seed=4)
    samples, alleles = target_of(panel, [5], ["x"])
    alleles = alleles[::-1].copy()
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, 3, replace=False)
    alleles[0, wrong] = 1 - alleles[0, wrong]
    alleles[:, rng.choice(600, 60, replace=False)] = -1
    (person,) = find_panel_samples(samples, alleles, np.ones(600, np.bool_), panel)
    assert person.panel_samples == (panel.samples[5],)


def test_find_panel_people__a_person_twice_in_the_panel_is_left_out_twice(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=20, n_sites=400, seed=5)
    haplotypes = panel.haplotypes()
    twice = Panel.from_haplotypes(np.concatenate([haplotypes, haplotypes[10:12]]))
    samples, alleles = target_of(panel, [5], ["x"])
    people = find_panel_samples(samples, alleles, np.ones(400, np.bool_), twice)
    assert people[0].panel_samples == (twice.samples[5], twice.samples[20])
    assert groups_of_matches(people) == {twice.samples[5]: twice.samples[5], twice.samples[20]: twice.samples[5]}


def test_find_panel_people__too_few_sites_tell_by_name_only(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=10, n_sites=30, seed=6)
    samples, alleles = target_of(panel, [1, 2], ["x", panel.samples[2]])
    (person,) = find_panel_samples(samples, alleles, np.ones(30, np.bool_), panel)
    assert person.by_name
    assert not person.by_genotype
    assert np.isnan(person.concordance)


def test_genotype_concordance__agrees_with_counting(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=12, n_sites=50, seed=7)
    rng = np.random.default_rng(8)
    alleles = rng.integers(-1, 2, (6, 20)).astype(np.int8)
    sites = np.sort(rng.choice(50, 20, replace=False))
    found = genotype_concordance(alleles, panel, sites)
    reference = panel.haplotypes()[:, sites].reshape(12, 2, 20).sum(axis=1)
    for s in range(3):
        pair = alleles[2 * s : 2 * s + 2]
        known = (pair >= 0).all(axis=0)
        equal = (pair.sum(axis=0) == reference)[:, known].mean(axis=1)
        np.testing.assert_allclose(found[s], equal, rtol=1e-6)


def test_find_panel_people__real_unrelated_people_are_told_apart(data_dir: Path) -> None:
    panel = load_panel(data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf")
    names = (data_dir / "task_targets.txt").read_text().split()
    rest = panel.select_samples([s for s in panel.samples if s not in set(names)])
    target = panel.select_samples(names)
    array = {tuple(line.split()[1:4]) for line in (data_dir / "chr20_array_sites.tsv").read_text().splitlines()}
    sites = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
    observed = np.array([(str(position), ref, alt) in array for position, ref, alt in sites])
    alleles = target.haplotypes().astype(np.int8)
    anonymous = tuple(f"T{i}" for i in range(len(names)))
    assert find_panel_samples(anonymous, alleles, observed, rest) == []
    found = find_panel_samples(anonymous, alleles, observed, panel)
    assert [person.panel_samples[0] for person in found] == names
