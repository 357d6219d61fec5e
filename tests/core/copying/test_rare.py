"""Rare alleles as lists of carriers: the same sites, carriers and dosages as from bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying import rare
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.rare import rare_carriers, site_alleles
from vcfrag_core.copying.reference import copying_sites
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import FloatArray, I8Array

seeds = st.integers(0, 2**32 - 1)


def drawn(rng: np.random.Generator, n_haplotypes: int, n_sites: int) -> I8Array:
    """(H, V) alleles of which most are rare, some common, and some of no or every haplotype."""
    frequency = rng.choice([0, 0.01, 0.02, 0.04, 0.3, 1], n_sites)
    return (rng.random((n_haplotypes, n_sites)) < frequency).astype(np.int8)


@given(seed=seeds, n_samples=st.integers(1, 200), n_sites=st.integers(1, 200))
def test_site_alleles__are_the_panels_alleles_each_kept_once(seed: int, n_samples: int, n_sites: int) -> None:
    n_haplotypes = 2 * n_samples
    haplotypes = drawn(np.random.default_rng(seed), n_haplotypes, n_sites)
    made = site_alleles(Panel.from_haplotypes(haplotypes).bits.words(np.arange(n_sites)), n_sites)
    np.testing.assert_array_equal(made.common, np.flatnonzero(haplotypes.sum(axis=0) > n_haplotypes * rare.RARE_SHARE))
    got = np.zeros_like(haplotypes)
    got[:, made.common] = np.unpackbits(made.bits, axis=1, bitorder="little")[:, : len(made.common)]
    for h in range(n_haplotypes):
        mine = made.rare[made.starts[h] : made.starts[h + 1]]
        assert not np.isin(mine, made.common).any()
        got[h, mine] = 1
    np.testing.assert_array_equal(got, haplotypes)


@given(seed=seeds, n_sites=st.integers(1, 200))
def test_rare_carriers__are_the_candidates_that_carry_a_wanted_rare_site(seed: int, n_sites: int) -> None:
    rng = np.random.default_rng(seed)
    haplotypes, wanted = drawn(rng, 200, n_sites), rng.random(n_sites) < 0.7
    alleles = site_alleles(Panel.from_haplotypes(haplotypes).bits.words(np.arange(n_sites)), n_sites)
    candidates = np.sort(rng.choice(200, 60, replace=False)).astype(np.int32)
    first, carriers = rare_carriers(alleles, candidates, np.packbits(wanted, bitorder="little"), n_sites)
    for site in range(n_sites):
        asked = wanted[site] and site not in alleles.common
        expected = np.flatnonzero(haplotypes[candidates, site] * asked)
        np.testing.assert_array_equal(carriers[first[site] : first[site + 1]], expected)


@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_dosage__the_same_from_carriers_as_from_bits(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    haplotypes = drawn(rng, 150, 120)
    panel, observed = Panel.from_haplotypes(haplotypes), np.sort(rng.choice(120, 20, replace=False))
    sites = copying_sites(observed, np.cumsum(rng.random(120) * 0.05), panel.positions, np.arange(120))
    queries = rng.choice(np.array([-1, 0, 1], np.int8), (3, 20))
    candidates = [np.sort(rng.choice(150, 70, replace=False)).astype(np.int32) for _ in queries]
    weights: FloatArray = np.full(20, 4, dtype)
    switch: FloatArray = rng.uniform(0, 0.3, 20).astype(dtype)

    def dosage(share: float) -> FloatArray:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rare, "RARE_SHARE", share)
            problem = CopyingProblem(sites, PanelColumns.of(panel.bits, sites), queries, candidates)
            return problem.dosage(weights, switch)

    bits, both, lists = (dosage(share) for share in (-1, 1 / 32, 1))
    # Half of the last digit that is written is 5e-4; only the order of a sum differs.
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(both, bits, atol=tolerance)
    np.testing.assert_allclose(lists, bits, atol=tolerance)
