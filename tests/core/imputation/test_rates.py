"""Rates of copying from targets whose rates are known: mosaics of a panel's haplotypes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from vcfrag_core.copying.hedging import hedging_less
from vcfrag_core.copying.parameters import dense_share, density
from vcfrag_core.errors import ConfigError
from vcfrag_core.imputation.cohort import (
    EstimationConfig,
    drawn_samples,
    estimation_cohort,
    named_in_panel,
    panel_targets,
    select_targets,
)
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.leave_one_out import LeaveOneOut, folds_for
from vcfrag_core.imputation.load import load_model
from vcfrag_core.imputation.model_check import check_model
from vcfrag_core.imputation.rates import (
    estimated,
    hide_some,
    left_out_of,
    panel_samples_left_out,
    with_neighbours,
)
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import I8Array

N_SITES = 600
CM_LONG = 12.0


@pytest.fixture(scope="module")
def panel(make_panel: Callable[..., Panel]) -> Panel:
    return make_panel(n_samples=40, n_sites=N_SITES, seed=6)


def imputer_of(
    panel: Panel, *, threads: int = 1, cm_long: float = CM_LONG, groups: Mapping[str, str] | None = None
) -> Imputer:
    ends = panel.positions[[0, -1]].astype(np.int64)
    genetic_map = GeneticMap(positions=ends, cm=np.array([0.0, cm_long]), contig=panel.contig)
    return Imputer(panel, genetic_map, threads=threads, groups=groups)


def mosaics(panel: Panel, per_cm: float, *, n_samples: int = 12, seed: int = 1, error: float = 0.002) -> Targets:
    """Every second site typed, of samples that copy stretches of panel haplotypes."""
    rng = np.random.default_rng(seed)
    haplotypes = panel.haplotypes().astype(np.int8)
    alleles: I8Array = np.empty((2 * n_samples, N_SITES), dtype=np.int8)
    for row in alleles:
        switched = rng.random(N_SITES) < 1 - np.exp(-per_cm * CM_LONG / N_SITES)
        source = rng.integers(len(haplotypes), size=N_SITES)[np.maximum.accumulate(np.arange(N_SITES) * switched)]
        row[:] = haplotypes[source, np.arange(N_SITES)] ^ (rng.random(N_SITES) < error)
    alleles[:, 1::2] = -1
    return Targets.from_haplotypes(alleles)


def test_estimated__follows_the_rate_of_the_targets(panel: Panel) -> None:
    rates = [estimated(imputer_of(panel), mosaics(panel, per_cm))[1].switch_per_cm for per_cm in (0.2, 2.0, 15.0)]
    assert rates == sorted(rates)
    assert rates[0] < 1
    assert rates[2] > 8


def test_estimated__asks_panel_samples_whether_it_hardly_knows_these_people(panel: Panel) -> None:
    # They switch where no panel sample does, and not for errors.
    imputer = imputer_of(panel)
    targets = mosaics(panel, 80.0, error=0.0)
    found = estimated(imputer, targets)[1]
    assert found.wanted is not None
    assert found.wanted_by_panel is not None
    assert found.wanted.loss == found.loss
    dense = dense_share(density(targets.observed, imputer.cm))
    lowered = hedging_less(found.wanted, found.wanted_by_panel, found.prior, dense)
    assert (found.switch_per_cm, found.mismatch) == (1.25 * lowered[0], lowered[1])
    assert found.is_lowered
    assert found.switch_per_cm < 1.25 * found.wanted.switch_per_cm
    parameters = imputer.parameters(targets.observed)
    assert found.judging(parameters).switch_per_cm == 1.25 * found.wanted.switch_per_cm
    assert found.applied(parameters).switch_per_cm == found.switch_per_cm
    assert "panel_nats_per_allele=" in found.fields()
    known = estimated(imputer_of(panel), mosaics(panel, 2.0))[1]
    assert known.wanted_by_panel is None
    assert not known.is_lowered
    assert known.judging(parameters) == known.applied(parameters)
    assert "panel_nats" not in known.fields()


def test_estimated__is_the_priors_where_too_few_sites_are_typed_to_hide_any(panel: Panel) -> None:
    targets = mosaics(panel, 2.0)
    alleles = targets.alleles.copy()
    alleles[:, 8:] = -1
    found = estimated(imputer_of(panel), Targets.from_haplotypes(alleles))[1]
    assert (found.switch_per_cm, found.mismatch) == (found.prior.switch_per_cm, found.prior.mismatch)
    assert found.n_sites == 0


def test_estimated__is_inverse_to_the_map(panel: Panel) -> None:
    targets = mosaics(panel, 2.0)
    parameters = imputer_of(panel).parameters(targets.observed)
    near, far = (
        estimated(imputer_of(panel, cm_long=cm_long).with_parameters(parameters), targets)[1].switch_per_cm
        for cm_long in (CM_LONG, 5 * CM_LONG)
    )
    assert near / far == pytest.approx(5, rel=0.5)


def test_estimated__is_the_same_for_any_order_and_threads(panel: Panel) -> None:
    targets = mosaics(panel, 2.0, n_samples=24)
    config = EstimationConfig(alleles=2_000)
    first = estimated(imputer_of(panel), targets, config)[1]
    shuffled = select_targets(targets, np.random.default_rng(2).permutation(24))
    second = estimated(imputer_of(panel, threads=3), shuffled, config)[1]
    assert dataclasses.asdict(first) == dataclasses.asdict(second)
    assert len(first.targets) < 24


def test_estimated__sets_the_rates_and_nothing_else(panel: Panel) -> None:
    targets = mosaics(panel, 2.0)
    before = imputer_of(panel)
    after, found = estimated(before, targets)
    changed = dataclasses.replace(
        before.parameters(targets.observed), switch_per_cm=found.switch_per_cm, mismatch=found.mismatch
    )
    assert after.parameters(targets.observed) == changed
    assert before.impute(targets).method == after.impute(targets).method


def test_estimation_cohort__panel_samples_stand_in_for_missing_targets(panel: Panel) -> None:
    targets = mosaics(panel, 2.0, n_samples=2)
    targets = dataclasses.replace(targets, names=(panel.samples[5],) * 2 + (EXTERNAL,) * 2)
    cohort, n_targets = estimation_cohort(panel, targets, EstimationConfig(stand_in_below=6))
    assert n_targets == 2
    assert len(cohort.samples) == 6
    # They copy from nobody of their own group, and nobody stands in who is a target.
    assert set(cohort.names[4:]) == set(cohort.samples[2:]) <= set(panel.samples) - {panel.samples[5]}
    rows = panel.rows_of(cohort.samples[2:])
    observed = targets.observed
    assert np.array_equal(cohort.alleles[4:][:, observed], panel.haplotypes(rows)[:, observed])
    assert (cohort.alleles[4:][:, ~observed] == -1).all()
    assert len(estimated(imputer_of(panel), targets, EstimationConfig(stand_in_below=6))[1].panel_samples) == 4


@pytest.mark.parametrize("stand_in_below", [1, 9])
def test_estimation_cohort__keeps_the_phase_sets_of_those_drawn(panel: Panel, stand_in_below: int) -> None:
    alleles = panel.haplotypes()[:12].astype(np.int8)
    sets = np.arange(6, dtype=np.int32)[:, None] * np.ones(panel.n_sites, dtype=np.int32)
    targets = dataclasses.replace(Targets.from_haplotypes(alleles), phase_sets=sets)
    config = EstimationConfig(min_samples=4, max_samples=4, stand_in_below=stand_in_below)
    cohort, n_targets = estimation_cohort(panel, targets, config)
    assert cohort.phase_sets is not None
    drawn = [targets.samples.index(name) for name in cohort.samples[:n_targets]]
    assert cohort.phase_sets[:n_targets, 0].tolist() == drawn
    assert not cohort.phase_sets[n_targets:].any()
    assert len(cohort.samples) == max(n_targets, stand_in_below)


def test_estimation_cohort__keeps_haploid_samples_whole(panel: Panel) -> None:
    targets = mosaics(panel, 2.0, n_samples=3)
    ploidy = Ploidy.of([1, 2, 1, 2])
    mixed = Targets(
        samples=("a", "b", "c", "d"),
        ploidy=ploidy,
        alleles=targets.alleles,
        observed=targets.observed,
        names=targets.names,
    )
    cohort, n_targets = estimation_cohort(panel, mixed)
    for s, name in enumerate(cohort.samples[:n_targets]):
        rows = cohort.ploidy.span(s)
        was = ploidy.span(mixed.samples.index(name))
        assert np.array_equal(cohort.alleles[rows.start : rows.stop], mixed.alleles[was.start : was.stop])


def test_estimated__asks_more_of_targets_whose_alleles_are_foretold_without_loss(panel: Panel) -> None:
    config = EstimationConfig(sites=40, alleles=400, stand_in_below=2, min_samples=6)
    loud, quiet = (
        estimated(imputer_of(panel, cm_long=60.0), mosaics(panel, per_cm, error=error), config)[1]
        for per_cm, error in ((15.0, 0.02), (0.01, 0.0))
    )
    assert loud.loss * loud.n_alleles > 30
    assert len(quiet.targets) == 6 > len(loud.targets)
    assert 3 * config.sites < quiet.n_sites <= 6 * config.sites
    assert loud.n_sites < 2 * config.sites
    assert quiet.switch_per_cm < loud.switch_per_cm
    # So are panel samples, at sites that nobody typed.
    assert loud.n_imputed == 0
    assert N_SITES // 8 <= quiet.n_imputed < N_SITES // 6
    assert "panel samples" in str(quiet)
    assert f"imputed_sites={quiet.n_imputed}" in quiet.fields()


def test_with_neighbours__are_more_where_a_small_panel_foretells_typed_alleles(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = mosaics(panel, 0.2)
    imputer, found = estimated(imputer_of(panel), targets)
    before = imputer.parameters(targets.observed)
    assert found.loss > 0.005
    assert before.k == 24
    assert with_neighbours(imputer, dataclasses.replace(found, loss=float("nan")), targets.observed) is imputer
    certain = dataclasses.replace(found, loss=0.004)
    more = with_neighbours(imputer, certain, targets.observed)
    assert more.parameters(targets.observed) == dataclasses.replace(before, k=40)
    assert with_neighbours(more, certain, targets.observed) is more
    monkeypatch.setattr("vcfrag_core.imputation.rates._FEW_HAPLOTYPES", panel.n_haplotypes - 1)
    assert with_neighbours(imputer, certain, targets.observed) is imputer


def test_estimated__a_short_region_that_is_foretold_copies_from_everybody_at_half_the_rate(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Forty samples foretell less than a breed of 300.
    monkeypatch.setattr("vcfrag_core.imputation.rates._FORETOLD_IN_SHORT", 0.03)
    short = panel.select_sites(np.arange(100))
    targets = _first(mosaics(panel, 0.01, error=0.0), 100)
    imputer, found = estimated(imputer_of(short, cm_long=CM_LONG / 6), targets)
    assert found.wanted is not None
    assert found.loss < 0.03
    assert found.switch_per_cm == 0.5 * 1.25 * found.wanted.switch_per_cm
    assert imputer.parameters(targets.observed).k == short.n_haplotypes
    # Nothing is left to a model there.
    left_out = left_out_of(targets, imputer.cm)
    assert left_out is not None
    before = imputer_of(short, cm_long=CM_LONG / 6)
    judging = before.with_parameters(found.judging(before.parameters(targets.observed)))
    hide_some(judging, left_out, EstimationConfig())
    check = check_model(judging, left_out, len(targets.samples))
    assert check.certain_below == 0.03
    assert check.certain
    assert not check.used
    foretold_badly = estimated(imputer_of(short, cm_long=CM_LONG / 6), _first(mosaics(panel, 15.0), 100))[1]
    assert foretold_badly.loss > 0.03
    assert not foretold_badly.is_lowered


def _first(targets: Targets, n: int) -> Targets:
    return Targets.from_haplotypes(targets.alleles[:, :n])


def test_imputer__copies_from_more_neighbours_where_typed_alleles_are_foretold(panel: Panel) -> None:
    targets = mosaics(panel, 0.01, error=0.0)
    imputer, found = estimated(imputer_of(panel), targets)
    assert found.loss < 0.005
    assert imputer.parameters(targets.observed).k == 40
    ends = panel.positions[[0, -1]].astype(np.int64)
    genetic_map = GeneticMap(positions=ends, cm=np.array([0.0, CM_LONG]), contig=panel.contig)
    imputed = Imputer(panel, genetic_map, corrector=load_model()).impute(targets)
    assert " k=40 " in imputed.method
    # The model is judged where sites were hidden, before there are more neighbours.
    assert imputed.model_check is not None
    assert imputed.model_check.n_alleles == found.n_alleles


def test_estimated__asks_no_panel_samples_who_are_all_of_one_group(panel: Panel) -> None:
    family = imputer_of(panel, cm_long=60.0, groups=dict.fromkeys(panel.samples, "one family"))
    config = EstimationConfig(sites=40, alleles=400, stand_in_below=2, min_samples=6)
    found = estimated(family, mosaics(panel, 0.01, error=0.0), config)[1]
    assert found.n_imputed == 0
    assert found.n_sites > 3 * config.sites


def test_panel_samples_left_out__copy_from_nobody_of_their_group(panel: Panel) -> None:
    groups = {name: f"G{i // 4}" for i, name in enumerate(panel.samples)}
    imputer, targets = imputer_of(panel, groups=groups), mosaics(panel, 2.0)
    config = EstimationConfig(panel_samples=5, panel_sites=40)
    hidden = panel_samples_left_out(imputer, targets.observed, imputer.windows(targets.observed), config)
    untyped = [one.sites[~targets.observed[one.sites]] for one in hidden]
    assert sum(map(len, untyped)) >= 40 > sum(map(len, untyped[:-1]))
    group_of_row = np.array(panel.ploidy.of_haplotypes(groups[name] for name in panel.samples))
    for one in hidden:
        assert np.array_equal(one.sites, np.arange(one.queries.window.start, one.queries.window.stop))
        own = [groups[str(name)] for name in one.queries.samples]
        assert len(own) == 10
        for group, rows, alleles in zip(own, one.problem.candidates, one.queries.alleles, strict=True):
            assert group not in group_of_row[rows]
            # The truth is there, for the loss alone.
            assert set(np.unique(alleles[one.sites])) <= {0, 1}
        assert (one.problem.queries == one.queries.alleles[:, one.problem.sites.observed]).all()
        assert targets.observed[one.problem.sites.observed].all()


def test_estimated__looks_at_no_target_at_the_sites_to_impute_of_the_panel(panel: Panel) -> None:
    names = panel.samples[:10]
    targets = panel_targets(panel, names, mosaics(panel, 2.0).observed)
    imputer = imputer_of(panel)
    windows = imputer.windows(targets.observed)
    config = EstimationConfig(panel_samples=40)
    for named, n_asked in ((), 40), (named_in_panel(targets.names), 30), (panel.samples, 0):
        hidden = panel_samples_left_out(imputer, targets.observed, windows, config, named)
        asked = {name for one in hidden for name in one.queries.samples}
        assert len(asked) == n_asked
        assert asked.isdisjoint(named)


def test_estimated__is_the_prior_where_no_site_can_be_hidden(panel: Panel) -> None:
    alleles = np.full((2, N_SITES), -1, dtype=np.int8)
    alleles[:, 7] = 1
    found = estimated(imputer_of(panel), Targets.from_haplotypes(alleles))[1]
    assert (found.switch_per_cm, found.n_sites) == (found.prior.switch_per_cm, 0)
    assert "size of the panel" in str(found)


def test_left_out__kept_retrievals_give_the_same_dosages(panel: Panel) -> None:
    targets, imputer = mosaics(panel, 2.0, n_samples=3), imputer_of(panel)
    kept, fresh = LeaveOneOut(targets, folds=4), LeaveOneOut(targets, folds=4)
    kept.keep(imputer, kept.places(imputer)[1:3])
    assert np.array_equal(kept.dosages(imputer), fresh.dosages(imputer))
    parameters = imputer.parameters(targets.observed)
    other = imputer.with_parameters(dataclasses.replace(parameters, switch_per_cm=9.0, mismatch=0.01))
    assert np.array_equal(kept.dosages(other), fresh.dosages(other))
    assert not np.array_equal(kept.dosages(other), fresh.dosages(imputer))


def test_drawn_samples__depend_on_names_alone() -> None:
    names = [f"N{i}" for i in range(50)]
    chosen = {names[i] for i in drawn_samples(names, 12, 3)}
    again = list(reversed(names))
    assert len(chosen) == 12
    assert {again[i] for i in drawn_samples(again, 12, 3)} == chosen
    assert {names[i] for i in drawn_samples(names, 12, 4)} != chosen
    assert len(drawn_samples(names, 80, 3)) == 50


def test_folds_for__fewer_where_typed_sites_are_dense() -> None:
    observed = np.ones(600, dtype=np.bool_)
    assert folds_for(observed, np.linspace(0, 12, 600)) == 5
    assert folds_for(observed, np.linspace(0, 1, 600)) == 2
    assert folds_for(np.arange(600) < 1, np.linspace(0, 12, 600)) == 1


@pytest.mark.parametrize("wrong", [{"sites": 0}, {"min_samples": 0}, {"max_samples": 3}, {"stand_in_below": 0}])
def test_estimation_config__refuses(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        EstimationConfig(**wrong)
