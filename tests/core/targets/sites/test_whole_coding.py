"""Files of which most genotypes are coded the other way round, and those that only look so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import mosaic_panel
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.sites.whole_coding import is_coded_inversely
from vcfrag_core.types import I8Array


def told(panel: Panel, alleles: I8Array, ploidy: Ploidy | None = None) -> bool:
    sites = np.arange(panel.n_sites)
    ploidy = ploidy or Ploidy.diploid(len(alleles) // 2)
    return is_coded_inversely(alleles, ploidy, panel, sites, panel.alt_frequency())


@pytest.mark.parametrize("n_targets", [1, 4, 40])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_is_coded_inversely__tells_most_sites_from_none(n_targets: int, seed: int) -> None:
    everyone = mosaic_panel(n_samples=80 + n_targets, n_sites=300, seed=seed)
    panel = everyone.select_samples(everyone.samples[n_targets:])
    alleles = everyone.haplotypes(slice(0, 2 * n_targets)).astype(np.int8)
    assert not told(panel, alleles)
    assert told(panel, 1 - alleles)
    haploid = Ploidy.haploid(n_targets)
    assert not told(panel, alleles[::2], haploid)
    assert told(panel, 1 - alleles[::2], haploid)
    alleles[:, ::7] = -1
    assert told(panel, np.where(alleles < 0, alleles, 1 - alleles).astype(np.int8))
    assert not told(panel, np.full_like(alleles, -1))


def test_is_coded_inversely__nobody_who_is_homozygous_for_a_rare_haplotype() -> None:
    rng = np.random.default_rng(4)
    haplotypes = np.zeros((180, 60), dtype=np.int8)
    haplotypes[:20] = 1
    haplotypes ^= (rng.random(haplotypes.shape) < 0.02).astype(np.int8)
    panel = Panel.from_haplotypes(haplotypes[2:])
    # By frequency alone this is far likelier the other way round.
    assert not told(panel, haplotypes[:2])
