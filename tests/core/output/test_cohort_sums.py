"""Sums of whole numbers give the AF and R2 that the definitions give, whatever the batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ShapeError
from vcfrag_core.output.cohort_sums import CohortSums, cohort_sums
from vcfrag_core.output.grid import FINE
from vcfrag_core.output.info_r2 import allele_probabilities, expected_r2, explained_share
from vcfrag_core.output.kernels import logs
from vcfrag_core.panel.ploidy import Ploidy

N_REFERENCE = 500


def batch(seed: int, n_samples: int, *, ploidies: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, Ploidy]:
    """Dosages, which are known, frequencies and ploidy: sites rare, common and nearly fixed, some constant."""
    rng = np.random.default_rng(seed)
    counts = {"two": [2] * n_samples, "one": [1] * n_samples, "mixed": rng.permutation([1, 2] * n_samples)[:n_samples]}
    ploidy = Ploidy.of(counts[ploidies])
    n_sites = 24
    shape = 10.0 ** rng.uniform(-3, 0.5, (2, n_sites))
    dosage = rng.beta(shape[0], shape[1], (ploidy.n_haplotypes, n_sites)).astype(np.float32)
    dosage[rng.random(dosage.shape) < rng.choice([0.0, 0.5, 0.95], n_sites)] = 0
    dosage[:, :3] = np.array([0.0, 0.3, 1.0])
    known = rng.random(dosage.shape) < 0.2
    known[:, 1:3] = False
    dosage = np.where(known, np.rint(dosage), dosage)
    return dosage, known, rng.random(n_sites), ploidy


@given(st.integers(0, 2**32 - 1), st.sampled_from(["two", "one", "mixed"]), st.sampled_from([3, 25, 80]))
def test_cohort_sums__give_what_the_definitions_give(seed: int, ploidies: str, n_samples: int) -> None:
    dosage, known, frequency, ploidy = batch(seed, n_samples, ploidies=ploidies)
    sums = cohort_sums(dosage, known, frequency, N_REFERENCE, ploidy)
    p = allele_probabilities(dosage, known, N_REFERENCE)
    wanted = explained_share(p, frequency) if n_samples < 20 else expected_r2(dosage, p, ploidy)
    # Where all dosages are the same but for less than is written of them, their r² is that of the grid.
    varied = len(dosage) * dosage.var(axis=0, dtype=np.float64) > 1e-3
    assert varied.any()
    np.testing.assert_allclose(sums.r2()[varied], wanted[varied], atol=2e-5)
    np.testing.assert_allclose(sums.af(), dosage.mean(axis=0, dtype=np.float64), atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["two", "mixed"]), st.data())
def test_cohort_sums__of_batches_add_up_bit_for_bit(seed: int, ploidies: str, data: st.DataObject) -> None:
    dosage, known, frequency, ploidy = batch(seed, 30, ploidies=ploidies)
    mixed = not ploidy.is_diploid
    whole = cohort_sums(dosage, known, frequency, N_REFERENCE, ploidy)
    cuts = sorted(data.draw(st.sets(st.integers(1, 29), max_size=4)))
    order = data.draw(st.permutations(range(30)))
    parts = []
    for samples in np.split(np.array(order), cuts):
        rows = ploidy.rows(samples)
        # Sites, too, may be taken one at a time.
        for site in (slice(0, 1), slice(1, None)):
            some = cohort_sums(
                dosage[rows, site], known[rows, site], frequency[site], N_REFERENCE, ploidy.select(samples), mixed=mixed
            )
            parts.append((site, some))
    for site in (slice(0, 1), slice(1, None)):
        first, *others = [sums for where, sums in parts if where == site]
        total = sum(others, start=first)
        np.testing.assert_array_equal(total.base, whole.base[site])
        assert total.af().tobytes() == whole.af()[site].tobytes()
        assert total.r2().tobytes() == whole.r2()[site].tobytes()


def test_cohort_sums__constant_dosages_explain_nothing_however_many_samples() -> None:
    ploidy = Ploidy.diploid(2000)
    dosage = np.full((4000, 1), 0.3, dtype=np.float32)
    sums = cohort_sums(dosage, np.zeros(dosage.shape, dtype=bool), np.array([0.3]), N_REFERENCE, ploidy)
    assert sums.r2().tolist() == [0.0]


def test_cohort_sums__refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        CohortSums(
            n_samples=1, n_haplotypes=2, weight2=2, base=np.zeros((3, 2), np.int64), few=np.zeros((3, 2, 49), np.int64)
        )


@given(st.lists(st.floats(1e-18, 2.0), max_size=40))
def test_logs__are_those_of_the_library(values: list[float]) -> None:
    found = logs(np.array(values), len(values))
    # Of two that differ in the last bit, one may be rounded up and the other down.
    assert abs(found - sum(math.floor(math.log(value) * FINE + 0.5) for value in values)) <= len(values)
