"""Samples grouped by what they were typed at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.typed_groups import typed_groups

V = 400


@given(seed=st.integers(0, 99), missing=st.floats(0, 0.15))
def test_typed_groups__chips_are_told_apart_whatever_calls_are_missing(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    chips = np.zeros((3, V), dtype=np.bool_)
    chips[0, :200], chips[1, 100:200], chips[2, 200:] = True, True, True
    chip = rng.permutation(np.arange(12) % 3)
    ploidy = Ploidy.of(rng.integers(1, 3, 12))
    alleles = rng.integers(0, 2, (ploidy.n_haplotypes, V)).astype(np.int8)
    alleles[~chips[chip][ploidy.sample_of]] = -1
    gone = rng.random((12, V)) < missing
    alleles[gone[ploidy.sample_of]] = -1
    observed = (alleles >= 0).any(axis=0)
    groups = typed_groups(alleles[:, observed], observed, ploidy)
    assert sorted(group.samples.tolist() for group in groups) == sorted(
        np.flatnonzero(chip == number).tolist() for number in range(3)
    )
    for group in groups:
        wanted = chips[chip[group.samples[0]]]
        assert (group.observed ^ wanted).mean() < 0.05
    sizes = [int(group.observed.sum()) for group in groups]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_typed_groups__one_chip_is_one_group(missing: float) -> None:
    rng = np.random.default_rng(1)
    alleles = rng.integers(0, 2, (40, V)).astype(np.int8)
    alleles[np.repeat(rng.random((20, V)) < missing, 2, axis=0)] = -1
    observed = np.ones(V, dtype=np.bool_)
    (group,) = typed_groups(alleles, observed, Ploidy.diploid(20))
    assert group.samples.tolist() == list(range(20))
    assert group.observed.all()
