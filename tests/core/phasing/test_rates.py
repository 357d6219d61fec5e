"""Rates of a sample from the paths that its draws copy, beside plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.phasing.test_diploid import model_of
from vcfrag_core.phasing.parameters import PhasingParameters
from vcfrag_core.phasing.rates import PRIOR_ALLELES, PRIOR_CM, prior_rates, rates_of_paths

PARAMETERS = PhasingParameters(scales=(8,), k=4, states=4, switch_per_cm=3.0, mismatch=0.01)


@given(st.integers(0, 10_000))
def test_rates_of_paths__are_counts_with_a_prior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, m, n_draws = int(rng.integers(2, 6)), int(rng.integers(2, 9)), int(rng.integers(1, 4))
    haplotypes = rng.integers(0, 2, (h, m)).astype(np.uint8)
    genotypes = rng.integers(-1, 3, m).astype(np.int8)
    model = model_of(haplotypes, genotypes, np.full(m, 0.1))
    phases = np.where(genotypes == 1, rng.integers(0, 2, (n_draws, m)), genotypes == 2).astype(np.int8)
    copied = rng.integers(0, h, (n_draws, m, 2)).astype(np.int32)
    steps_cm = np.append(0.0, rng.uniform(0, 1, m - 1))
    switches = wrong = alleles = 0
    for d in range(n_draws):
        for site in range(m):
            for one in range(2):
                switches += site > 0 and copied[d, site, one] != copied[d, site - 1, one]
                if genotypes[site] >= 0:
                    allele = phases[d, site] if one == 0 else genotypes[site] - phases[d, site]
                    wrong += allele != haplotypes[copied[d, site, one], site]
                    alleles += 1
    rates = rates_of_paths(model, steps_cm, phases, copied, PARAMETERS)
    assert rates.switch_per_cm == pytest.approx((PRIOR_CM * 3 + switches / n_draws) / (PRIOR_CM + 2 * steps_cm.sum()))
    expected = (PRIOR_ALLELES * 0.01 + wrong / n_draws) / (PRIOR_ALLELES + alleles / n_draws)
    assert rates.mismatch == pytest.approx(expected)


def test_rates_of_paths__where_nothing_was_seen_are_those_of_the_rule() -> None:
    model = model_of(np.zeros((2, 1), dtype=np.uint8), np.array([-1], dtype=np.int8), np.full(1, 0.1))
    phases, copied = np.zeros((2, 1), dtype=np.int8), np.zeros((2, 1, 2), dtype=np.int32)
    assert rates_of_paths(model, np.zeros(1), phases, copied, PARAMETERS) == prior_rates(PARAMETERS)
