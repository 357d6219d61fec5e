"""The panel in memory: what it refuses, and selections against plain NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vcfrag_core.errors import RangeError, ShapeError, UnknownSampleError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.types import U8Array

haplotypes = st.tuples(st.integers(1, 6), st.integers(1, 30)).flatmap(
    lambda shape: hnp.arrays(np.uint8, (2 * shape[0], shape[1]), elements=st.integers(0, 1))
)


@given(alleles=haplotypes, seed=st.integers(0, 99))
def test_haplotypes__rows_and_ranges_are_slices(alleles: U8Array, seed: int) -> None:
    panel = Panel.from_haplotypes(alleles)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, panel.n_haplotypes, 4)
    start, stop = sorted(rng.integers(0, panel.n_sites + 1, 2).tolist())
    np.testing.assert_array_equal(panel.haplotypes(), alleles)
    np.testing.assert_array_equal(panel.haplotypes(rows, start, stop), alleles[rows, start:stop])
    np.testing.assert_array_equal(panel.haplotypes(slice(1, 3), start), alleles[1:3, start:])


@given(alleles=haplotypes)
def test_alt_frequency__is_the_mean(alleles: U8Array) -> None:
    panel = Panel.from_haplotypes(alleles)
    np.testing.assert_allclose(panel.alt_frequency(), alleles.mean(axis=0))
    np.testing.assert_allclose(panel.alt_frequency(np.array([1])), alleles[1])


def test_alt_frequency__of_many_haplotypes_and_of_none() -> None:
    alleles = (np.random.default_rng(1).random((1300, 9)) < 0.3).astype(np.uint8)
    panel = Panel.from_haplotypes(alleles)
    np.testing.assert_allclose(panel.alt_frequency(), alleles.mean(axis=0))
    assert bool(np.isnan(panel.alt_frequency(np.array([], dtype=np.int64))).all())


@given(alleles=haplotypes, seed=st.integers(0, 99))
def test_select__samples_and_sites(alleles: U8Array, seed: int) -> None:
    panel = Panel.from_haplotypes(alleles)
    rng = np.random.default_rng(seed)
    order = rng.permutation(panel.n_samples)
    chosen = panel.select_samples([panel.samples[i] for i in order])
    np.testing.assert_array_equal(chosen.haplotypes()[0::2], alleles[0::2][order])
    np.testing.assert_array_equal(chosen.haplotypes()[1::2], alleles[1::2][order])
    sites = np.flatnonzero(rng.random(panel.n_sites) < 0.5)
    fewer = panel.select_sites(sites)
    np.testing.assert_array_equal(fewer.haplotypes(), alleles[:, sites])
    np.testing.assert_array_equal(fewer.positions, panel.positions[sites])


def test_rows_of__in_the_order_given_and_unknown_names_are_refused(panel: Panel) -> None:
    assert panel.rows_of(["S0003", "S0000"]).tolist() == [6, 7, 0, 1]
    with pytest.raises(UnknownSampleError, match="1 samples are not in the panel, the first is 'nobody'"):
        panel.rows_of(["S0001", "nobody"])


def test_site_label__names_the_record(panel: Panel) -> None:
    assert panel.site_label(3) == "1:1300 A>C"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"refs": ("A",)}, ShapeError),
        ({"alts": ("A",) * 201}, ShapeError),
        ({"site_ids": ()}, ShapeError),
        ({"bits": DenseBits(np.zeros((40, 24), dtype=np.uint8), 192)}, ShapeError),
        ({"bits": DenseBits(np.zeros((38, 25), dtype=np.uint8), 200)}, ShapeError),
        ({"samples": ("S0000",) * 20}, ShapeError),
        ({"positions": np.arange(200, 0, -1, dtype=np.int32)}, RangeError),
    ],
)
def test_panel__what_does_not_fit_is_refused(panel: Panel, change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        dataclasses.replace(panel, **change)


def test_from_haplotypes__other_alleles_are_refused() -> None:
    with pytest.raises(RangeError, match="0 or 1"):
        Panel.from_haplotypes(np.array([[0, 1], [2, 0]]))


@pytest.mark.parametrize("positions", [[1.0, 2.5], [1, 2**32 + 2], [0, 2], [-5, 2], [1.0, np.nan]])
def test_from_haplotypes__refuses_positions_that_are_none(positions: list[float]) -> None:
    with pytest.raises(RangeError, match="whole numbers from 1 to 2147483647"):
        Panel.from_haplotypes(np.zeros((2, 2), dtype=np.int8), positions=np.array(positions))
