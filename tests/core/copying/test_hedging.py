"""What follows from what targets and panel samples want; figures of 466 Europeans on an array where no others stand."""

from __future__ import annotations

import dataclasses

import pytest

from vcfrag_core.copying.estimation import RatePrior
from vcfrag_core.copying.hedging import Wanted, are_strangers, hedging_less, is_suspicious

PRIOR = RatePrior.of_panel(932)
EUROPEANS = Wanted(switch_per_cm=2.24, mismatch=1.4e-3, loss=0.083)
EAST_ASIANS = Wanted(switch_per_cm=11.56, mismatch=1.6e-3, loss=0.189)
AFRICANS = Wanted(switch_per_cm=36.8, mismatch=2e-2, loss=0.438)
# Tuscans of whose genotypes three in a hundred are wrong.
IN_ERROR = Wanted(switch_per_cm=9.76, mismatch=2e-2, loss=0.304)


@pytest.mark.parametrize("targets", [EAST_ASIANS, AFRICANS])
def test_hedging_less__lowers_the_rates_of_strangers(targets: Wanted) -> None:
    assert is_suspicious(targets, PRIOR)
    assert are_strangers(targets, EUROPEANS)
    switch, mismatch = hedging_less(targets, EUROPEANS, PRIOR, 0.0)
    assert PRIOR.switch_per_cm < switch < 0.7 * targets.switch_per_cm
    assert mismatch <= min(targets.mismatch, PRIOR.mismatch)


def test_hedging_less__lowers_the_mismatch_on_arrays_unless_many_are_wanted() -> None:
    on = {share: hedging_less(EAST_ASIANS, EUROPEANS, PRIOR, share) for share in (0.0, 0.5, 1.0)}
    assert len({switch for switch, _ in on.values()}) == 1
    assert on[0.0][1] == pytest.approx(PRIOR.mismatch / 4)
    assert on[0.0][1] < on[0.5][1] < on[1.0][1] == EAST_ASIANS.mismatch
    assert hedging_less(AFRICANS, EUROPEANS, PRIOR, 0.0)[1] == PRIOR.mismatch


def test_hedging_less__goes_no_further_than_to_the_median_of_the_prior_or_a_share_of_what_is_wanted() -> None:
    near = dataclasses.replace(EAST_ASIANS, switch_per_cm=6.5)
    assert hedging_less(near, EUROPEANS, PRIOR, 0.0)[0] == PRIOR.switch_per_cm
    far = dataclasses.replace(AFRICANS, switch_per_cm=100.0, loss=2.0)
    assert hedging_less(far, EUROPEANS, PRIOR, 0.0)[0] == pytest.approx(35.0)
    little_more = dataclasses.replace(EAST_ASIANS, loss=0.11)
    assert hedging_less(little_more, EUROPEANS, PRIOR, 0.0) == little_more.pair


@pytest.mark.parametrize("targets", [IN_ERROR, dataclasses.replace(EAST_ASIANS, switch_per_cm=3.3)])
def test_hedging_less__leaves_those_who_are_no_strangers_what_they_want(targets: Wanted) -> None:
    assert not are_strangers(targets, EUROPEANS)
    assert hedging_less(targets, EUROPEANS, PRIOR, 0.0) == targets.pair


def test_hedging_less__is_the_same_for_everybody_whose_panel_the_map_suits_as_little() -> None:
    # The map times 0.2.
    panel = Wanted(switch_per_cm=26.5, mismatch=1.7e-3, loss=0.217)
    known = Wanted(switch_per_cm=25.5, mismatch=2e-3, loss=0.25)
    assert is_suspicious(known, PRIOR)
    assert hedging_less(known, panel, PRIOR, 0.0) == known.pair
    strangers = dataclasses.replace(known, switch_per_cm=80.0)
    assert hedging_less(strangers, panel, PRIOR, 0.0) == hedging_less(strangers, None, PRIOR, 0.0)


def test_hedging_less__asks_the_loss_alone_where_there_is_nobody_to_compare_with() -> None:
    assert hedging_less(EAST_ASIANS, None, PRIOR, 0.0) == EAST_ASIANS.pair
    switch, mismatch = hedging_less(AFRICANS, None, PRIOR, 0.0)
    assert switch == pytest.approx(36.8 * 0.2 / 0.438)
    assert mismatch == PRIOR.mismatch
    below = dataclasses.replace(AFRICANS, switch_per_cm=0.9 * PRIOR.switch_per_cm)
    assert hedging_less(below, None, PRIOR, 0.0) == below.pair
    assert not is_suspicious(below, PRIOR)
    assert not is_suspicious(EUROPEANS, PRIOR)
