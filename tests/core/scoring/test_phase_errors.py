"""Switch, flip and blockwise errors beside counting by hand, and what does not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ShapeError
from vcfrag_core.scoring.phase import (
    FLIPS,
    HETS,
    LONE_SWITCHES,
    ON_WRONG,
    PAIRS,
    SWITCHES,
    UNPHASED_HETS,
    error_rates,
    phase_errors,
)
from vcfrag_core.targets.calls import UNPHASED


def one_sample(turned: str) -> np.ndarray:
    """(V, 1, 2) heterozygotes of which those at a 1 lie the other way round."""
    pairs = [[1, 0] if c == "1" else [0, 1] for c in turned]
    return np.array(pairs, dtype=np.int8)[:, None]


def counts_of(turned: str) -> list[int]:
    phased = one_sample(turned)
    truth = one_sample("0" * len(turned))
    one_set = np.zeros(phased.shape[:2], dtype=np.int32)
    counts = phase_errors(phased, one_set, truth, one_set).counts[0]
    return [int(counts[i]) for i in (PAIRS, SWITCHES, FLIPS, LONE_SWITCHES, HETS, ON_WRONG)]


@pytest.mark.parametrize(
    ("turned", "switches", "flips", "alone", "on_wrong"),
    [
        ("00000000", 0, 0, 0, 0),
        ("11111111", 0, 0, 0, 0),
        ("00001111", 1, 0, 1, 4),
        ("00000111", 1, 0, 1, 3),
        ("00100000", 2, 1, 0, 1),
        ("00101000", 4, 2, 0, 2),
        ("01011111", 3, 1, 1, 2),
        ("10000000", 1, 0, 1, 1),
    ],
)
def test_phase_errors__by_hand(turned: str, switches: int, flips: int, alone: int, on_wrong: int) -> None:
    assert counts_of(turned) == [7, switches, flips, alone, 8, on_wrong]


@given(st.integers(0, 10_000))
def test_phase_errors__order_of_a_samples_haplotypes_means_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (30, 3, 2)).astype(np.int8)
    turned = rng.random((30, 3)) < 0.3
    phased = np.where(turned[:, :, None], truth[:, :, ::-1], truth)
    one_set = np.zeros((30, 3), dtype=np.int32)
    counts = phase_errors(phased, one_set, truth, one_set).counts
    assert (phase_errors(phased[:, :, ::-1], one_set, truth, one_set).counts == counts).all()
    assert (phase_errors(phased, one_set, truth[:, :, ::-1], one_set).counts == counts).all()
    assert (counts[:, LONE_SWITCHES] + 2 * counts[:, FLIPS] == counts[:, SWITCHES]).all()
    assert (2 * counts[:, ON_WRONG] <= counts[:, HETS]).all()


def test_phase_errors__what_cannot_be_compared_is_left_out() -> None:
    truth, phased = one_sample("00000000"), one_sample("00100000")
    sets = np.zeros((8, 1), dtype=np.int32)
    sets[2] = UNPHASED
    phased[5] = [1, 1]
    truth[6] = [-1, 1]
    counts = phase_errors(phased, sets, truth, np.zeros((8, 1), dtype=np.int32))
    assert counts.counts[0, [PAIRS, SWITCHES, HETS, UNPHASED_HETS]].tolist() == [4, 0, 5, 1]
    assert counts.pair_sites.tolist() == [0, 1, 0, 1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("sets", "true_sets", "pairs", "switches", "hets", "on_wrong"),
    [
        ("00001111", "00000000", 6, 0, 8, 0),
        ("00000000", "77779999", 6, 0, 8, 0),
        ("01010101", "00000000", 6, 2, 8, 4),
        ("00112233", "00000000", 4, 0, 8, 0),
        ("00112233", "01111112", 2, 0, 4, 0),
        ("00000000", "00000000", 7, 1, 8, 4),
    ],
)
def test_phase_errors__phase_is_compared_within_sets(
    sets: str, true_sets: str, pairs: int, switches: int, hets: int, on_wrong: int
) -> None:
    numbers = [np.array([[int(c)] for c in text], dtype=np.int32) for text in (sets, true_sets)]
    errors = phase_errors(one_sample("00001111"), numbers[0], one_sample("00000000"), numbers[1])
    assert errors.counts[0, [PAIRS, SWITCHES, HETS, ON_WRONG]].tolist() == [pairs, switches, hets, on_wrong]
    assert errors.pair_sites.sum() == pairs
    assert errors.switch_sites.sum() == switches


def test_phase_errors__a_switch_stands_at_the_heterozygote_after_it() -> None:
    one_set = np.zeros((8, 1), dtype=np.int32)
    errors = phase_errors(one_sample("00001111"), one_set, one_sample("00000000"), one_set)
    assert errors.switch_sites.tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_error_rates__of_weighted_samples() -> None:
    counts = np.array([[10, 1, 0, 1, 11, 2, 0], [30, 6, 1, 4, 31, 3, 0]])
    rates = error_rates(counts, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    assert rates["switch_error"][:2] == pytest.approx([7 / 40, 0.1])
    assert rates["blockwise_error"][:2] == pytest.approx([5 / 42, 2 / 11])
    assert np.isnan(rates["switch_error"][2])


def test_phase_errors__shapes_must_fit() -> None:
    one_set = np.zeros((8, 1), dtype=np.int32)
    with pytest.raises(ShapeError):
        phase_errors(one_sample("0000"), one_set, one_sample("00000000"), one_set)
