"""Carriers among the candidates, and sums over them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.copying.carriers import fill_dosage, padded, scratch, turn
from vcfrag_core.panel.bits import pack_words, unpack
from vcfrag_core.types import U64Array

N_ROWS, N_WORDS = 150, 3
seeds = st.integers(0, 2**32 - 1)


def sparse_words(rng: np.random.Generator) -> U64Array:
    """(N_ROWS, N_WORDS) bits, none at some sites."""
    words = rng.integers(0, 2**64, (N_ROWS, N_WORDS), dtype=np.uint64)
    return words & rng.integers(0, 2**64, N_WORDS, dtype=np.uint64)


@given(seed=seeds, n_candidates=st.integers(1, N_ROWS), word=st.integers(0, N_WORDS - 1))
def test_turn__gives_the_carriers_of_each_site(seed: int, n_candidates: int, word: int) -> None:
    rng = np.random.default_rng(seed)
    words, candidates = sparse_words(rng), rng.integers(0, N_ROWS, n_candidates).astype(np.int32)
    bits = scratch(words, n_candidates, np.empty(0, np.float32))[0]
    carried = turn(words, candidates, word, bits)
    alleles = unpack(words.view(np.uint8)[candidates], 64 * word, 64 * word + 64)
    found = unpack(np.ascontiguousarray(bits.T).view(np.uint8), 0, 64 * len(bits))
    np.testing.assert_array_equal(found[:, :n_candidates], alleles.T)
    assert not found[:, n_candidates:].any()
    assert int(carried) == sum(1 << s for s in range(64) if alleles[:, s].any())


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(seed=seeds, n_candidates=st.integers(1, N_ROWS), share=st.sampled_from([0.02, 0.3, 1.0]))
def test_dosage__is_between_the_sums_of_both_rows(
    kind: type[np.float32] | type[np.float64], seed: int, n_candidates: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    words, candidates = sparse_words(rng), rng.integers(0, N_ROWS, n_candidates).astype(np.int32)
    n_sites = int(rng.integers(1, 64 * N_WORDS + 1))
    begin, end = np.sort(rng.integers(0, n_sites + 1, 2)).tolist()
    wanted, fraction = rng.random(n_sites) < share, rng.random(n_sites).astype(kind)
    # What lies beyond the candidates may be anything.
    posteriors = np.full((3, padded(n_candidates)), np.nan, dtype=kind)
    posteriors[:, :n_candidates] = rng.dirichlet(np.ones(n_candidates), 3)
    bits, turned, sites, sums = scratch(words, n_candidates, fraction)
    dosage = np.full(n_sites, -1, dtype=kind)
    fill_dosage(
        words, candidates, pack_words(wanted), turned, bits, begin, end, fraction, posteriors, 2, kind(1), 0,
        kind(0.5), sites, sums, dosage,
    )  # fmt: skip
    alleles = unpack(words.view(np.uint8)[candidates], 0, n_sites).astype(np.float64)
    low, high = posteriors[2, :n_candidates] @ alleles, 0.5 * posteriors[0, :n_candidates] @ alleles
    expected = np.minimum(low + fraction * (high - low), 1)
    filled = wanted & alleles.any(axis=0) & (np.arange(n_sites) >= begin) & (np.arange(n_sites) < end)
    np.testing.assert_allclose(dosage[filled], expected[filled], atol=1e-6)
    assert (dosage[~filled] == -1).all()
