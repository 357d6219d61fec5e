"""The ablations against counting mismatches site by site."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imputed_text import World, small_world
from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import I8Array
from vcfrag_train.compare import baselines
from vcfrag_train.compare.baselines import BASELINES, Baseline


def typed_alleles(world: World) -> I8Array:
    """(V, S, 2) the targets' alleles at the typed sites, -1 elsewhere."""
    alleles = world.targets.haplotypes().T.reshape(world.targets.n_sites, -1, 2).astype(np.int8)
    alleles[world.hidden] = -1
    return alleles


@given(st.integers(0, 2**32 - 1))
def test_mismatches__counts_called_sites_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.integers(-1, 2, size=(5, 40)).astype(np.int8)
    references = rng.integers(0, 2, size=(9, 40)).astype(np.uint8)
    slow = [[sum(q >= 0 and q != r for q, r in zip(x, y, strict=True)) for y in references] for x in queries]
    assert baselines.mismatch_counts(queries, references).tolist() == slow


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_nearest__equals_sorting_by_distance_then_rank(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.integers(-1, 2, size=(4, 6)).astype(np.int8)
    references = rng.integers(0, 2, size=(10, 6)).astype(np.uint8)
    rank = rng.permutation(10)
    distances = baselines.mismatch_counts(queries, references)
    slow = [sorted(range(10), key=lambda h, d=row: (d[h], rank[h]))[:k] for row in distances]
    assert baselines.nearest_references(queries, references, rank, k).tolist() == slow


def test_constant__is_twice_the_reference_frequency() -> None:
    world = small_world()
    alleles = np.full((world.targets.n_sites, 3, 2), -1, dtype=np.int8)
    wanted = np.flatnonzero(world.hidden)
    got = baselines.impute_baseline(Baseline(name="constant", k=0), world.reference, alleles, wanted)
    np.testing.assert_allclose(got.dosage, 2 * world.reference.alt_frequency()[wanted][:, None] * np.ones(3), rtol=1e-6)


def test_one_neighbour__copies_the_nearest_haplotype_of_each_window() -> None:
    world = small_world()
    alleles = typed_alleles(world)
    wanted = np.flatnonzero(world.hidden)
    got = baselines.impute_baseline(Baseline(name="1", k=1, sites_per_window=60), world.reference, alleles, wanted)
    reference = world.reference.haplotypes()
    keys = haplotype_keys(world.reference)
    expected = np.zeros((world.targets.n_sites, alleles.shape[1]))
    for start in range(0, world.targets.n_sites, 60):
        window = slice(start, min(start + 60, world.targets.n_sites))
        for s in range(alleles.shape[1]):
            for h in range(2):
                query = alleles[window, s, h]
                distance = [int(((query >= 0) & (query != row[window])).sum()) for row in reference]
                best = min(range(len(reference)), key=lambda r, d=distance: (d[r], keys[r]))
                expected[window, s] += reference[best, window]
    np.testing.assert_array_equal(got.dosage, expected[wanted])


def test_neighbours__do_not_depend_on_the_order_of_the_panels_samples() -> None:
    world = small_world()
    alleles = typed_alleles(world)
    wanted = np.flatnonzero(world.hidden)
    shuffled = world.reference.select_samples(sorted(world.reference.samples, key=lambda name: name[::-1]))
    for baseline in BASELINES[:3]:
        first, second = (baselines.impute_baseline(baseline, p, alleles, wanted) for p in (world.reference, shuffled))
        np.testing.assert_allclose(first.dosage, second.dosage, atol=1e-6)


def test_baselines__rank_as_they_should() -> None:
    world = small_world(n_reference=60, n_sites=400)
    alleles = typed_alleles(world)
    wanted = np.flatnonzero(world.hidden)
    frequency, truth = world.reference.alt_frequency()[wanted], world.copies[wanted]
    r2 = {}
    for baseline in BASELINES:
        small = Baseline(name=baseline.name, k=baseline.k, random=baseline.random, sites_per_window=40)
        imputed = baselines.impute_baseline(small, world.reference, alleles, wanted)
        r2[baseline.name] = accuracy.aggregate_r2(imputed.dosage, truth, frequency)
    assert r2["constant"] == 0
    assert r2["16 random"] < 0.05
    assert r2["whole-window 1-NN"] > 0.1


def test_random__is_the_same_for_the_same_seed() -> None:
    world = small_world()
    alleles = np.full((world.targets.n_sites, 2, 2), -1, dtype=np.int8)
    wanted = np.flatnonzero(world.hidden)
    first, again, other = (
        baselines.impute_baseline(BASELINES[3], world.reference, alleles, wanted, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.dosage, again.dosage)
    assert not np.array_equal(first.dosage, other.dosage)


def test_impute_baseline__refuses_alleles_of_other_sites() -> None:
    world = small_world()
    with pytest.raises(ShapeError):
        baselines.impute_baseline(BASELINES[0], world.reference, np.zeros((3, 2, 2), dtype=np.int8), np.arange(3))


@pytest.mark.parametrize(("k", "sites"), [(-1, 10), (1, 0)])
def test_baseline__refuses_senseless_numbers(k: int, sites: int) -> None:
    with pytest.raises(ConfigError):
        Baseline(name="x", k=k, sites_per_window=sites)
