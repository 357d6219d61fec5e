"""Allele changes along the sorted haplotypes, against a sort of strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel import bits, pbwt
from vcfrag_core.panel.pbwt import MIN_MAF, SITES_TO_SETTLE, count_changes, pbwt_changes
from vcfrag_core.panel.storage import DenseBits
from vcfrag_core.types import F32Array, I64Array, U8Array


def changes_by_sorting(haplotypes: U8Array, sites: I64Array) -> list[int]:
    """Changes at each site among haplotypes sorted by the alleles before it, the nearest first; ties by number."""
    found = []
    for number, site in enumerate(sites):
        before = sites[:number][::-1]
        order = sorted(range(len(haplotypes)), key=lambda h: (haplotypes[h, before].tolist(), h))
        found.append(int((np.diff(haplotypes[order, site].astype(int)) != 0).sum()))
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    n_haplotypes=st.integers(1, 30),
    n_sites=st.integers(1, 60),
    share=st.floats(0.05, 1),
)
def test_count_changes__equals_sorting(seed: int, n_haplotypes: int, n_sites: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    founders = rng.integers(0, 2, (4, n_sites))
    mutated = rng.random((n_haplotypes, n_sites)) < 0.1
    haplotypes = (founders[rng.integers(0, 4, n_haplotypes)] ^ mutated).astype(np.uint8)
    sites = np.flatnonzero(rng.random(n_sites) < share)
    for way in (sites, np.ascontiguousarray(sites[::-1])):
        found = count_changes(dense(haplotypes), np.arange(n_haplotypes), way)
        assert found.tolist() == changes_by_sorting(haplotypes, way)


def mosaic(seed: int = 4, n_haplotypes: int = 400, n_sites: int = 120) -> U8Array:
    """Long mosaics of eight founders, but for site 60, which is a coin's."""
    rng = np.random.default_rng(seed)
    founders = rng.integers(0, 2, (8, n_sites))
    pieces = rng.integers(0, 8, (n_haplotypes, n_sites // 30)).repeat(30, axis=1)
    haplotypes = founders[pieces, np.arange(n_sites)]
    haplotypes[:, 60] = rng.integers(0, 2, n_haplotypes)
    haplotypes[:, 7] = np.arange(n_haplotypes) < n_haplotypes * MIN_MAF / 2
    return haplotypes.astype(np.uint8)


def dense(haplotypes: U8Array) -> DenseBits:
    return DenseBits(bits.pack(haplotypes), haplotypes.shape[1])


def whole(haplotypes: U8Array) -> F32Array:
    return pbwt_changes(dense(haplotypes), np.arange(len(haplotypes)), haplotypes.mean(axis=0))


def test_allele_changes__of_some_haplotypes_are_those_of_a_panel_of_them() -> None:
    haplotypes = mosaic()
    rows = np.flatnonzero(np.arange(len(haplotypes)) % 3 > 0)
    found = pbwt_changes(dense(haplotypes), rows, haplotypes[rows].mean(axis=0))
    np.testing.assert_array_equal(found, whole(haplotypes[rows]))


def test_allele_changes__without_a_common_site_are_nothing() -> None:
    haplotypes = np.zeros((50, 9), dtype=np.uint8)
    assert whole(haplotypes).tolist() == [[0.0] * 9] * 2


def test_allele_changes__tell_a_site_that_haplotypes_do_not_foretell() -> None:
    haplotypes = mosaic(n_sites=1200)
    haplotypes[:, 600] = np.random.default_rng(3).integers(0, 2, len(haplotypes))
    found = whole(haplotypes)
    assert found.shape == (2, 1200)
    # Pieces of 30 sites begin at 600 and at 570: the order from the left is settled when 585 is reached.
    inside = np.arange(585, 600)
    varied = inside[haplotypes[:, inside].any(axis=0) & ~haplotypes[:, inside].all(axis=0)]
    assert float(np.abs(found[:, 600]).max()) < 0.3
    assert float(found[0, varied].max()) < -1.5
    # Rare sites say nothing.
    assert not found[:, 7].any()


def test_allele_changes__near_an_end_are_those_from_the_other_side() -> None:
    haplotypes = mosaic(n_sites=1200)
    found, frequency = whole(haplotypes), haplotypes.mean(axis=0)
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)
    way = np.ascontiguousarray(common[::-1])
    expected = 2 * len(haplotypes) * frequency[way] * (1 - frequency[way])
    from_right = np.log((count_changes(dense(haplotypes), np.arange(400), way) + 1) / (expected + 1))[::-1]
    np.testing.assert_allclose(found[1, common[:-SITES_TO_SETTLE]], from_right[:-SITES_TO_SETTLE], rtol=1e-6)
    np.testing.assert_array_equal(found[0, common[:SITES_TO_SETTLE]], found[1, common[:SITES_TO_SETTLE]])
    np.testing.assert_array_equal(found[1, common[-SITES_TO_SETTLE:]], found[0, common[-SITES_TO_SETTLE:]])
    assert not np.array_equal(found[0], found[1])


def test_allele_changes__do_not_depend_on_the_order_of_the_haplotypes() -> None:
    haplotypes = mosaic(n_sites=1200)
    noisy = (haplotypes ^ (np.random.default_rng(1).random(haplotypes.shape) < 0.02)).astype(np.uint8)
    shuffled = noisy[np.random.default_rng(2).permutation(len(noisy))]
    np.testing.assert_allclose(whole(noisy), whole(shuffled), atol=1e-6)


def test_allele_changes__of_a_mirrored_panel_are_mirrored() -> None:
    haplotypes = mosaic()
    mirrored = haplotypes[:, ::-1]
    found = whole(haplotypes)
    other = whole(mirrored)
    np.testing.assert_array_equal(found, other[::-1, ::-1])


def test_pbwt_changes__the_same_where_columns_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    haplotypes = mosaic(n_sites=1200)
    kept = whole(haplotypes)
    monkeypatch.setattr(pbwt, "_MAX_KEPT_BYTES", 0)
    np.testing.assert_array_equal(kept, whole(haplotypes))
