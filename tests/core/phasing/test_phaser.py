"""Phasing from end to end: what is kept, what it follows from, and that it finds the phase where haplotypes tell it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.conftest import mosaic_panel
from tests.core.phasing.cohorts import PARAMETERS, phaser, same_draws, switches, without_phase
from vcfrag_core.errors import RangeError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.phasing.parameters import phasing_parameters_for
from vcfrag_core.phasing.samples import PhasingSample
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import I8Array

N_SITES = 240
N_TARGETS = 5


@pytest.fixture(scope="module")
def everybody() -> Panel:
    return mosaic_panel(n_samples=45, n_sites=N_SITES, seed=4)


@pytest.fixture(scope="module")
def panel(everybody: Panel) -> Panel:
    return everybody.select_samples(everybody.samples[N_TARGETS:])


@pytest.fixture(scope="module")
def truth(everybody: Panel) -> I8Array:
    return everybody.haplotypes(slice(0, 2 * N_TARGETS)).astype(np.int8)


def unphased(truth: I8Array) -> Targets:
    """Targets without their phase; every third site is not typed, one call is missing."""
    alleles = truth.copy()
    alleles[:, ::3] = -1
    alleles[2:4, 40] = -1
    return without_phase(alleles)


def are_among(some: I8Array, draws: I8Array) -> bool:
    """Whether each of some draws is one of the others."""
    return {one.tobytes() for one in some} <= {one.tobytes() for one in draws}


def test_phaser__finds_the_phase_that_haplotypes_tell(panel: Panel, truth: I8Array) -> None:
    phased = phaser(panel).phase(unphased(truth), draws=8)
    wrong, pairs = switches(phased, truth)
    # By chance half of them would be.
    assert pairs > 100
    assert wrong < 0.15 * pairs


def test_phaser__keeps_every_genotype_in_consensus_and_draws(panel: Panel, truth: I8Array) -> None:
    targets = unphased(truth)
    phased = phaser(panel).phase(targets, draws=8)
    assert phased.targets.phase_sets is None
    for s in range(N_TARGETS):
        given = targets.alleles[2 * s : 2 * s + 2][:, phased.sites]
        assert (np.sort(phased.consensus_of(s), axis=0) == np.sort(given, axis=0)).all()
        draws = phased.draws_of(s)
        assert draws.shape == (8, 2, len(phased.sites))
        assert (np.sort(draws, axis=1) == np.sort(given, axis=0)).all()


def test_phaser__probability_goes_with_the_share_of_draws_that_agree(panel: Panel, truth: I8Array) -> None:
    many = dataclasses.replace(PARAMETERS, draws=200, agreeing=200)
    phased = phaser(panel, parameters=many).phase(unphased(truth), draws=200)
    for s in range(N_TARGETS):
        agreed = phased.consensus_of(s)
        hets = np.flatnonzero((agreed[0] != agreed[1]) & (agreed[0] >= 0))
        draws = phased.draws_of(s)[:, 0, hets]
        as_agreed = (draws[:, 1:] != draws[:, :-1]) == (agreed[0, hets][1:] != agreed[0, hets][:-1])
        probability = phased.probability[s, hets][1:]
        assert (probability >= 0.5).all()
        # The mean of conditional probabilities, and of what was drawn from them.
        assert probability == pytest.approx(as_agreed.mean(axis=0), abs=5 * np.sqrt(0.25 / 200))
        assert np.isnan(phased.probability[s, np.setdiff1d(np.arange(len(phased.sites)), hets[1:])]).all()


def test_phaser__threads_company_order_and_number_of_draws_change_nothing(panel: Panel, truth: I8Array) -> None:
    targets = unphased(truth)
    assert targets.phase_sets is not None
    whole = phaser(panel).phase(targets, draws=4)
    assert same_draws(whole, phaser(panel, threads=3).phase(targets, draws=4))
    made = phaser(panel).phase(targets, draws=PARAMETERS.draws)
    order = [3, 1, 4]
    rows = targets.ploidy.rows(order)
    some = Targets(
        samples=tuple(targets.samples[s] for s in order),
        ploidy=targets.ploidy.select(order),
        alleles=targets.alleles[rows],
        observed=targets.observed,
        names=tuple(targets.names[q] for q in rows),
        phase_sets=targets.phase_sets[order],
    )
    alone = phaser(panel).phase(some, draws=4)
    for place, s in enumerate(order):
        assert np.array_equal(alone.draws_of(place), whole.draws_of(s))
        assert are_among(alone.draws_of(place), made.draws_of(s))
        assert np.array_equal(alone.consensus_of(place), whole.consensus_of(s))


def test_phaser__more_draws_than_make_the_consensus_change_nothing(panel: Panel, truth: I8Array) -> None:
    few, targets = dataclasses.replace(PARAMETERS, agreeing=3), unphased(truth)
    asked, more = (phaser(panel, parameters=few).phase(targets, draws=draws) for draws in (2, 12))
    assert np.array_equal(asked.targets.alleles, more.targets.alleles)
    assert np.array_equal(asked.probability, more.probability, equal_nan=True)
    assert all(are_among(asked.draws_of(s), more.draws_of(s)) for s in range(N_TARGETS))


def test_phaser__draws_that_are_swept_apart_are_the_same(
    panel: Panel, truth: I8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = dataclasses.replace(PARAMETERS, agreeing=5)
    together = phaser(panel, parameters=many).phase(unphased(truth), draws=8)
    monkeypatch.setattr("vcfrag_core.phasing.refinement.ENDS_BYTES", 3 * 8 * 80)
    apart = phaser(panel, parameters=many).phase(unphased(truth), draws=8)
    assert same_draws(together, apart)
    np.testing.assert_array_equal(together.targets.alleles, apart.targets.alleles)
    np.testing.assert_array_equal(together.probability, apart.probability)


def test_targets__other_types_are_refused(truth: I8Array) -> None:
    """Fractions would be cut, an unsigned -1 is 255."""
    for alleles in (truth.astype(np.float64), truth.astype(np.uint8)):
        with pytest.raises(RangeError, match="signed integers"):
            Targets.from_haplotypes(alleles)
        with pytest.raises(RangeError, match="signed integers"):
            dataclasses.replace(Targets.from_haplotypes(truth), alleles=alleles)
    with pytest.raises(RangeError, match="booleans, got list"):
        dataclasses.replace(Targets.from_haplotypes(truth), observed=[True] * N_SITES)


def test_phaser__known_phase_stays(panel: Panel, truth: I8Array) -> None:
    targets = Targets.from_haplotypes(truth)
    phased = phaser(panel).phase(targets)
    assert not phased.is_drawn
    assert np.array_equal(phased.targets.alleles, targets.alleles)
    one_open = np.zeros((N_TARGETS, N_SITES), dtype=np.int32)
    het = np.flatnonzero(truth[4] != truth[5])[7]
    one_open[2, het] = UNPHASED
    mixed = phaser(panel).phase(dataclasses.replace(targets, phase_sets=one_open))
    assert [drawn is not None for drawn in mixed.drawn] == [False, False, True, False, False]
    others = [q for q in range(2 * N_TARGETS) if q not in (4, 5)]
    assert np.array_equal(mixed.targets.alleles[others], truth[others])


def test_phaser__phase_sets_are_kept_within_and_joined_between(panel: Panel, truth: I8Array) -> None:
    targets = Targets.from_haplotypes(truth)
    alleles = targets.alleles.copy()
    sets = np.zeros((N_TARGETS, N_SITES), dtype=np.int32)
    sets[:, N_SITES // 2 :] = 1
    # The second set calls the haplotypes the other way round.
    alleles[:, N_SITES // 2 :] = alleles.reshape(N_TARGETS, 2, -1)[:, ::-1].reshape(alleles.shape)[:, N_SITES // 2 :]
    phased = phaser(panel).phase(dataclasses.replace(targets, alleles=alleles, phase_sets=sets), draws=8)
    for s in range(N_TARGETS):
        for half in (slice(0, N_SITES // 2), slice(N_SITES // 2, N_SITES)):
            true = truth[2 * s : 2 * s + 2, half]
            for draw in phased.draws_of(s)[:, :, half]:
                assert np.array_equal(draw, true) or np.array_equal(draw, true[::-1])
    assert switches(phased, truth)[0] <= 1


def test_phaser__phase_sets_are_kept_where_others_stand_between(panel: Panel) -> None:
    rng = np.random.default_rng(2)
    # Nothing of the panel: what is drawn of those between hardly agrees.
    alleles = rng.integers(0, 2, (2 * N_TARGETS, N_SITES)).astype(np.int8)
    places = np.arange(N_SITES) // 80
    sets = np.where(rng.random((N_TARGETS, N_SITES)) < 0.3, places, UNPHASED).astype(np.int32)
    targets = dataclasses.replace(Targets.from_haplotypes(alleles), phase_sets=sets)
    phased = phaser(panel).phase(targets, draws=12)
    n_between = 0
    for s in range(N_TARGETS):
        het = alleles[2 * s] != alleles[2 * s + 1]
        for place in range(3):
            mine = np.flatnonzero(het & (sets[s] == place))
            turned = phased.consensus_of(s)[0, mine] != alleles[2 * s, mine]
            assert len(set(turned.tolist())) == 1
            n_between += int((np.diff(np.cumsum(het)[mine]) > 1).sum())
    assert n_between > 50


def test_phaser__lone_haplotypes_are_left_as_they_are(panel: Panel, truth: I8Array) -> None:
    ploidy = Ploidy.of([2, 1])
    sets = np.full((2, N_SITES), UNPHASED, dtype=np.int32)
    targets = dataclasses.replace(Targets.from_haplotypes(truth[:3], ploidy=ploidy), phase_sets=sets)
    phased = phaser(panel).phase(targets, draws=2)
    assert phased.drawn[1] is None
    assert np.array_equal(phased.targets.alleles[2], truth[2])


def test_phaser__a_sample_of_the_panel_does_not_copy_itself(everybody: Panel, truth: I8Array) -> None:
    targets = unphased(truth)
    names = targets.ploidy.of_haplotypes(everybody.samples[:N_TARGETS])
    held = phaser(everybody).phase(dataclasses.replace(targets, names=names), draws=4)
    without = phaser(everybody).phase(targets, draws=4)
    # Who may copy from itself finds its own phase.
    assert switches(without, truth)[0] < switches(held, truth)[0]


def test_phaser__refuses_a_sample_with_nobody_beside_it(everybody: Panel, truth: I8Array) -> None:
    alone = everybody.select_samples(everybody.samples[:1])
    targets = unphased(truth[:4])
    names = (alone.samples[0],) * 2 + targets.names[2:]
    with pytest.raises(RangeError, match=f"group of {alone.samples[0]}: there is nobody"):
        phaser(alone).phase(dataclasses.replace(targets, names=names))


def test_phaser__asks_once_for_what_every_round_asks(
    panel: Panel, truth: I8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = unphased(truth)
    once = phaser(panel).phase(targets, draws=8)
    answered, asked = PhasingSample.answered, []

    def and_forget(sample: PhasingSample, found: SearchResult) -> SearchResult:
        found = answered(sample, found)
        asked.append(found.ids.shape[1])
        sample.homozygous = None
        return found

    monkeypatch.setattr(PhasingSample, "answered", and_forget)
    again = phaser(panel).phase(targets, draws=8)
    assert asked == [1] * N_TARGETS + [2 * PARAMETERS.queries + 1] * 2 * N_TARGETS
    assert same_draws(once, again)
    assert np.array_equal(once.probability, again.probability, equal_nan=True)


def test_phaser__refuses_more_draws_than_it_makes(panel: Panel, truth: I8Array) -> None:
    with pytest.raises(RangeError, match="1 to 12 draws"):
        phaser(panel).phase(unphased(truth), draws=13)


def test_phasing_parameters__move_with_the_density() -> None:
    sparse, dense = phasing_parameters_for(30.0), phasing_parameters_for(2000.0)
    assert sparse.states > dense.states
    assert sparse.block_sites < dense.block_sites
    assert (sparse.scales, dense.scales) == ((16, 64, 256), (64, 256, 1024))
    assert [sparse.states_of(number) for number in range(sparse.rounds)] == [96, 96, 96, sparse.states]
    assert dense.states_of(0) == dense.states
    assert (sparse.rounds, sparse.queries) == (4, 4)
    assert (dense.rounds, dense.queries) == (3, 2)
    assert (sparse.copy_neighbours, dense.copy_neighbours) == (False, True)
