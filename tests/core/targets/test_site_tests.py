"""Ambiguous alleles, missing calls, thin stretches, and people who are in the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.people import find_panel_samples, genotype_concordance, groups_of_matches
from vcfrag_core.targets.site_tests import (
    ambiguous_sites,
    missing_rates,
    thin_stretches,
)

MakePanel = Callable[..., Panel]


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
