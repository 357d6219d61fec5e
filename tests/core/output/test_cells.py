"""Cells of haplotypes by the compiled loop, beside the same in single steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import NotFiniteError, RangeError
from vcfrag_core.output.genotypes import NONE, ONE, thousandths
from vcfrag_core.output.records import cells_of, independent_dosage
from vcfrag_core.panel.ploidy import Ploidy

N_SITES = 12


@given(seed=st.integers(0, 2**32 - 1), counts=st.lists(st.integers(1, 2), min_size=1, max_size=6))
def test_cells_of__are_those_made_step_by_step(seed: int, counts: list[int]) -> None:
    rng, ploidy = np.random.default_rng(seed), Ploidy.of(np.array(counts))
    shape = ploidy.n_haplotypes, N_SITES
    # Halves of thousandths, and what rounding leaves beyond 0 and 1.
    dosage = (rng.integers(0, 2 * ONE + 1, shape) / (2 * ONE) + rng.choice([0, 0, 5e-5, -5e-5], shape)).astype(
        np.float32
    )
    alleles, typed = rng.integers(-1, 2, shape).astype(np.int8), rng.random(N_SITES) < 0.5
    found = cells_of(dosage, alleles, typed, ploidy)
    known = (alleles >= 0) & typed
    rounded = np.where(known, ONE * alleles.astype(np.int16), thousandths(dosage))
    assert np.array_equal(found.known, known)
    assert np.array_equal(found.believed, np.where(known, alleles.astype(np.float32), dosage))
    assert np.array_equal(found.dosage, ploidy.pairs(rounded, NONE).transpose(2, 0, 1))


@given(seed=st.integers(0, 2**32 - 1))
def test_independent_dosage__keeps_the_sum_of_a_samples_two_haplotypes(seed: int) -> None:
    rng, ploidy = np.random.default_rng(seed), Ploidy.of(np.array([2, 2, 1]))
    dosage, both = rng.random((5, N_SITES)).astype(np.float32), rng.random((3, N_SITES)).astype(np.float32)
    both[2], both[rng.random(both.shape) < 0.2] = np.nan, np.nan
    made = independent_dosage(dosage, rng.random(dosage.shape) < 0.2, both, ploidy)
    assert made.min() >= 0
    assert made.max() <= 1
    np.testing.assert_allclose(ploidy.sums(made), ploidy.sums(dosage), atol=1e-6)


@pytest.mark.parametrize(("value", "error"), [(np.nan, NotFiniteError), (1.01, RangeError), (-0.01, RangeError)])
def test_cells_of__refuses_what_is_no_dosage(value: float, error: type[Exception]) -> None:
    dosage = np.full((2, 3), 0.5, dtype=np.float32)
    dosage[1, 2] = value
    with pytest.raises(error):
        cells_of(dosage, np.full((2, 3), -1, dtype=np.int8), np.zeros(3, dtype=np.bool_), Ploidy.of(np.array([2])))
