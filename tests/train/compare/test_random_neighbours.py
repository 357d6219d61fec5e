"""Retrieval switched off: as many candidates, none of them meant."""

from __future__ import annotations

import numpy as np
import pytest

from tests.imputed_text import World, small_world
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import F32Array, I8Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.retriever import Retriever
from vcfrag_train.compare.random_neighbours import impute_unretrieved


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_reference=1_600, n_targets=8, n_sites=400)


def genetic_map(world: World) -> GeneticMap:
    positions = world.reference.positions
    return GeneticMap(positions=np.array([positions[0], positions[-1] + 1]), cm=np.array([0.0, 3.0]), contig="20")


def typed_alleles(world: World) -> I8Array:
    alleles = world.targets.haplotypes().T.reshape(world.targets.n_sites, -1, 2).astype(np.int8)
    alleles[world.hidden] = -1
    return alleles


def retrieved_dosage(world: World, alleles: I8Array, retriever: Retriever) -> F32Array:
    """(V, S) dosages of copying."""
    imputer = Imputer(world.reference, genetic_map(world), retriever=retriever)
    queries = alleles.reshape(len(alleles), -1).T
    pieces = [p.T for _, p in imputer.impute_windows(queries, ~world.hidden, [EXTERNAL] * len(queries))]
    return np.concatenate(pieces).reshape(len(alleles), -1, 2).sum(axis=2)


def test_impute_unretrieved__is_worse_than_with_neighbours(world: World) -> None:
    alleles, wanted = typed_alleles(world), np.flatnonzero(world.hidden)
    found = retrieved_dosage(world, alleles, LocalRetriever(world.reference))[wanted]
    drawn = impute_unretrieved(world.reference, genetic_map(world), alleles, wanted)
    again = impute_unretrieved(world.reference, genetic_map(world), alleles, wanted)
    np.testing.assert_array_equal(drawn.dosage, again.dosage)
    frequency, truth = world.reference.alt_frequency()[wanted], world.copies[wanted]
    with_neighbours = accuracy.aggregate_r2(found, truth, frequency)
    without = accuracy.aggregate_r2(drawn.dosage, truth, frequency)
    assert without < with_neighbours - 0.02
