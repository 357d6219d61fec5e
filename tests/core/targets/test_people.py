"""Target samples that are in the panel by name, and those that are like one of its samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.likeness import Relation
from vcfrag_core.targets.people import (
    ambiguous_names,
    genotype_concordance,
    groups_of_matches,
    likest_samples,
    match_samples,
)

MakePanel = Callable[..., Panel]


def target_of(panel: Panel, rows: list[int]) -> np.ndarray:
    """Haplotypes of panel samples."""
    return panel.haplotypes(np.array([row for s in rows for row in (2 * s, 2 * s + 1)])).astype(np.int8)


def test_match_samples__by_name_by_genotype_and_by_both(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=10, n_sites=20, seed=3)
    first, second, third = panel.samples[:3]
    found = match_samples(["stranger", first, "renamed", second], panel, {"renamed": [third], second: [first, second]})
    assert [str(match) for match in found] == [
        f"{first} (by name)",
        f"renamed = {third} (by genotype)",
        f"{second} = {first} (by name and by genotype)",
    ]
    assert [match.panel_samples for match in found] == [(first,), (third,), (second, first)]
    assert groups_of_matches(found) == {
        first: min(first, second),
        second: min(first, second),
        third: third,
    }


def test_match_samples__plinks_family_and_individual_is_the_individual(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=4, n_sites=20, seed=3)
    first, second = panel.samples[:2]
    names = [f"{first}_{first}", f"0_{second}", f"a_b_{first}", f"{first}_", f"{first}_b"]
    found = match_samples(names, panel, {f"0_{second}": [second]})
    assert [str(match) for match in found] == [
        f"{first}_{first} = {first} (by name)",
        f"0_{second} = {second} (by name)",
        f"a_b_{first} = {first} (by name)",
    ]


def test_match_samples__of_a_panel_that_plink_wrote(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=4, n_sites=20, seed=3)
    panel = dataclasses.replace(panel, samples=("A_A", "0_B", "f_C", "A"))
    found = match_samples(["A", "B", "C", "0_B", "x_C", "f_C", "AA", ""], panel, {})
    assert [str(match) for match in found] == [
        "A = A_A (by name)",
        "B = 0_B (by name)",
        "C = f_C (by name)",
        "0_B (by name)",
        "f_C (by name)",
    ]
    assert found[0].panel_samples == ("A", "A_A")


def test_match_samples__a_panels_family_and_individual_is_the_individual_where_one_alone_is(
    make_panel: MakePanel,
) -> None:
    panel = make_panel(n_samples=5, n_sites=20, seed=3)
    panel = dataclasses.replace(panel, samples=("F1_A", "F1_B", "F2_B", "G_1_C", "C_"))
    found = match_samples(["A", "0_A", "A_A", "F2_A", "B", "F2_B", "C", "1_C", "G", ""], panel, {})
    assert [str(match) for match in found] == [
        "A = F1_A (by name)",
        "0_A = F1_A (by name)",
        "A_A = F1_A (by name)",
        "F2_B (by name)",
        "C = G_1_C (by name)",
        "1_C = G_1_C (by name)",
    ]
    assert ambiguous_names(["A", "B", "0_B", "F2_B", "C", "D"], panel) == {
        "B": ["F1_B", "F2_B"],
        "0_B": ["F1_B", "F2_B"],
    }


def test_match_samples__of_another_panel_are_none_of_this(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=4, n_sites=20, seed=3)
    assert match_samples(["x"], panel, {"x": ["nobody here"]}) == []


def test_likest_samples__neither_phase_nor_a_few_errors_hide_a_person(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=30, n_sites=600, seed=4)
    cm = np.linspace(0, 300, 600)
    rng = np.random.default_rng(1)
    alleles = target_of(panel, [5])[::-1].copy()
    wrong = rng.choice(600, 3, replace=False)
    alleles[0, wrong] = 1 - alleles[0, wrong]
    alleles[:, rng.choice(600, 60, replace=False)] = -1
    (pair,) = likest_samples(["x"], alleles, np.ones(600, np.bool_), panel, cm, Ploidy.of([2]))
    assert pair.panel_sample == panel.samples[5]
    assert pair.relation is Relation.SAME
    assert pair.n_equal >= pair.n_sites - 3


@pytest.mark.parametrize("family", ["", "F1_", "0_"])
def test_likest_samples__never_the_one_of_the_same_name(make_panel: MakePanel, family: str) -> None:
    panel = make_panel(n_samples=30, n_sites=400, seed=4)
    name = panel.samples[5]
    pairs = likest_samples(
        [family + name], target_of(panel, [5]), np.ones(400, np.bool_), panel, np.linspace(0, 200, 400), Ploidy.of([2])
    )
    assert len(pairs) == 1
    assert pairs[0].panel_sample != name


def test_likest_samples__a_person_twice_in_the_panel_is_found_twice(make_panel: MakePanel) -> None:
    haplotypes = make_panel(n_samples=20, n_sites=400, seed=5).haplotypes()
    twice = Panel.from_haplotypes(np.concatenate([haplotypes, haplotypes[10:12]]))
    pairs = likest_samples(
        ["x"], target_of(twice, [5]), np.ones(400, np.bool_), twice, np.linspace(0, 200, 400), Ploidy.of([2])
    )
    assert {pair.panel_sample for pair in pairs} == {twice.samples[5], twice.samples[20]}
    assert {pair.relation for pair in pairs} == {Relation.SAME}


def test_likest_samples__of_many_nearly_equal_ones_takes_the_nearest_then_the_first(make_panel: MakePanel) -> None:
    haplotypes = make_panel(n_samples=20, n_sites=400, seed=5).haplotypes()
    copies = np.tile(haplotypes[10:12], (6, 1))
    copies[0, :4] ^= 1
    panel = Panel.from_haplotypes(np.concatenate([haplotypes, copies]))
    pairs = likest_samples(
        ["x"], target_of(panel, [5]), np.ones(400, np.bool_), panel, np.linspace(0, 200, 400), Ploidy.of([2])
    )
    assert [pair.panel_sample for pair in pairs] == [panel.samples[i] for i in (5, 21, 22, 23)]


def test_likest_samples__says_nothing_where_someone_has_one_haplotype(make_panel: MakePanel) -> None:
    panel = make_panel(n_samples=10, n_sites=100, seed=6)
    everything = np.ones(100, np.bool_)
    assert likest_samples(["x"], target_of(panel, [1])[:1], everything, panel, np.arange(100.0), Ploidy.of([1])) == []
    assert likest_samples(["x"], target_of(panel, [1]), ~everything, panel, np.arange(100.0), Ploidy.of([2])) == []


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


def test_likest_samples__two_megabases_of_an_array_tell_nobody(data_dir: Path) -> None:
    """Neither the person from a sibling, nor, among 2,304 others, anyone to be the same person."""
    panel = load_panel(data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf")
    names = (data_dir / "task_targets.txt").read_text().split()[:30]
    rest = panel.select_samples([s for s in panel.samples if s not in set(names)])
    target = panel.select_samples(names)
    array = {tuple(line.split()[1:4]) for line in (data_dir / "chr20_array_sites.tsv").read_text().splitlines()}
    sites = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
    observed = np.array([(str(position), ref, alt) in array for position, ref, alt in sites])
    alleles = target.haplotypes().astype(np.int8)
    anonymous = [f"T{i}" for i in range(len(names))]
    cm = panel.positions * 1e-6
    alleles = alleles[:, observed]
    there = likest_samples(anonymous, alleles, observed, panel, cm, target.ploidy)
    first = {pair.sample: pair for pair in reversed(there)}
    assert [first[name].panel_sample for name in anonymous] == names
    assert {pair.relation for pair in there} == {Relation.UNDECIDED}
    elsewhere = likest_samples(anonymous, alleles, observed, rest, cm, target.ploidy)
    assert Relation.SAME not in {pair.relation for pair in elsewhere}
    assert max(pair.concordance for pair in elsewhere) < 0.98
