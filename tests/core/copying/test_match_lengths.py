"""Odds of rare alleles by the lengths of matches, beside a walk over every candidate."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.copying_cases import Case, random_case
from vcfrag_core.copying.match_lengths import favour_longer_matches, match_power
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.targets import Targets


def case_of(seed: int) -> Case:
    return random_case(seed, n_observed=70, n_candidates=12, n_sites=160)


def cm_of(case: Case) -> np.ndarray:
    return np.cumsum(case.problem.sites.gaps_cm) + np.linspace(0, 1, len(case.problem.sites.observed))


def longest_by_allele(case: Case, q: int, site: int) -> list[float]:
    """Longest match of the candidates with REF and of those with ALT."""
    sites, query, cm = case.problem.sites, case.problem.queries[q], cm_of(case)
    longest, left = [0.0, 0.0], int(sites.left[site])
    for candidate in case.problem.candidates[q]:
        haplotype = case.haplotypes[candidate]
        wrong = np.flatnonzero((query >= 0) & (haplotype[sites.observed] != query))
        begin = max(wrong[wrong <= left], default=0)
        end = min(wrong[wrong > left], default=len(query) - 1)
        allele = int(haplotype[sites.sites[site]])
        longest[allele] = max(longest[allele], cm[end] - cm[begin])
    return longest


@pytest.mark.parametrize("seed", range(4))
def test_favour_longer_matches__equals_a_walk_over_the_candidates(seed: int) -> None:
    case = case_of(seed)
    n = len(case.problem.sites.sites)
    before = np.random.default_rng(seed).random((len(case.problem.queries), n)).astype(np.float32)
    before[:, ::7], before[:, 1::7] = 0, 1
    chosen = np.arange(0, n, 3)
    after = before.copy()
    with ThreadPoolExecutor(2) as pool:
        favour_longer_matches(case.problem, after, cm_of(case), chosen, 1.5, pool=pool)
    expected = before.astype(np.float64)
    for q, site in np.ndindex(len(before), n):
        if site % 3 == 0 and 0.02 <= before[q, site] <= 0.98:
            ref, alt = longest_by_allele(case, q, site)
            odds = expected[q, site] / (1 - expected[q, site]) * ((alt + 0.01) / (ref + 0.01)) ** 1.5
            expected[q, site] = odds / (1 + odds)
    np.testing.assert_allclose(after, expected, rtol=1e-5)
    assert (after != before).any()


def test_match_power__large_panels_typed_densely_alone() -> None:
    assert match_power(19_999, 300.0) == match_power(25_000, 50.0) == 0
    assert 0 < match_power(20_000, 100.0) < match_power(20_000, 205.0)
    assert match_power(20_000, 200.0) == pytest.approx(1.5, rel=0.1)
    assert match_power(200_000, 2_000.0) == 1.5


def test_imputer__lets_matches_count_at_rare_sites_of_large_panels_alone(
    make_panel: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = make_panel(n_samples=40, n_sites=300, seed=6)
    ends = panel.positions[[0, -1]].astype(np.int64)
    imputer = Imputer(panel, GeneticMap(positions=ends, cm=np.array([0.0, 1.5]), contig=panel.contig))
    alleles = panel.haplotypes()[:6].astype(np.int8)
    alleles[:, 1::2] = -1
    targets = Targets.from_haplotypes(alleles)
    imputer = imputer.with_parameters(imputer.parameters(targets.observed))
    before = imputer.impute(targets).probabilities
    monkeypatch.setattr("vcfrag_core.imputation.window_dosages.RARE", 0.2)
    np.testing.assert_array_equal(imputer.impute(targets).probabilities, before)
    monkeypatch.setattr("vcfrag_core.copying.match_lengths.LARGE_PANEL", 80)
    changed = (imputer.impute(targets).probabilities != before).any(axis=0)
    frequency = panel.alt_frequency()
    assert changed.any()
    assert not changed[np.minimum(frequency, 1 - frequency) > 0.2].any()
