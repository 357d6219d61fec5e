"""Ambiguous alleles, missing calls and thin stretches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.sites.site_tests import (
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
    assert missing_rates(alleles[:, observed]).tolist() == [0.25, 1.0]


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
