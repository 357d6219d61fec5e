"""Samples of which a file holds variants only are told from samples who are merely missing calls."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.errors import TargetError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.sites.reference_calls import refuse_variants_only, without_reference_calls

N_SAMPLES = 6
PLOIDY = Ploidy.of(np.full(N_SAMPLES, 2))


def drawn(seed: int, n_sites: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(Q, M) alleles by the panel's frequencies, and these."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.02, 0.6, n_sites)
    return (rng.random((2 * N_SAMPLES, n_sites)) < frequency).astype(np.int8), frequency


def without_homozygotes(alleles: np.ndarray, allele: int, samples: slice) -> np.ndarray:
    pairs = alleles.reshape(-1, 2, alleles.shape[1]).copy()
    same = (pairs == allele).all(axis=1)
    same[[i for i in range(len(same)) if i not in range(*samples.indices(len(same)))]] = False
    pairs[np.repeat(same[:, None], 2, axis=1)] = -1
    return pairs.reshape(alleles.shape)


@pytest.mark.parametrize("seed", range(3))
def test_without_reference_calls__those_who_have_variants_only(seed: int) -> None:
    alleles, frequency = drawn(seed)
    some = without_homozygotes(alleles, 0, slice(2, 4))
    assert without_reference_calls(some, frequency, PLOIDY).tolist() == [False, False, True, True, False, False]
    with pytest.raises(TargetError, match="sample C: 2 of 6 samples have hardly any homozygous reference call"):
        refuse_variants_only(some, frequency, PLOIDY, tuple("ABCDEF"), contig="20", source="a.vcf")


@pytest.mark.parametrize("seed", range(3))
def test_without_reference_calls__nobody_else(seed: int) -> None:
    alleles, frequency = drawn(seed)
    missing = np.where(np.random.default_rng(seed).random(alleles.shape) < 0.6, -1, alleles).astype(np.int8)
    few = without_homozygotes(alleles, 0, slice(None))[:, :20]
    exchanged = 1 - alleles
    lone = Ploidy.of(np.ones(2 * N_SAMPLES, dtype=np.int64))
    for calls, own in ((alleles, PLOIDY), (missing, PLOIDY), (few, PLOIDY), (exchanged, PLOIDY), (alleles, lone)):
        assert not without_reference_calls(calls, frequency[: calls.shape[1]], own).any()
    refuse_variants_only(alleles, frequency, PLOIDY, tuple("ABCDEF"), contig="20", source="a.vcf")
