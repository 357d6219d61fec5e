"""The compact metric against a flattened L·D FAISS index: the same distances, the same neighbours up to ties."""

from __future__ import annotations

import dataclasses

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.model.config import EmbeddingConfig
from vcfrag_core.model.embedding import AlleleEmbedding
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.order import distances
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, U8Array

H, Q, L, D = 50, 6, 40, 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One window: e(0) and e(1) of every site, haplotypes, queries and their mask.

    Attributes:
        table: (L, 2, D) embeddings of the two alleles.
        missing: (L, D) embedding of a missing call.
        weights: (L,) squared distances between the two, not quantised.
        reference: (H, L) alleles.
        queries: (Q, L) alleles, -1 missing.
        observed: (L,) the mask.
    """

    table: F64Array
    missing: F64Array
    weights: F64Array
    reference: U8Array
    queries: I8Array
    observed: BoolArray


def randomised(gated: bool, seed: int) -> AlleleEmbedding:
    """An embedding as training may leave it: every parameter moved at random."""
    torch.manual_seed(seed)
    embedding = AlleleEmbedding(EmbeddingConfig(width=D, gated=gated)).double()
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.add_(torch.randn_like(parameter))
    return embedding


def draw_case(kind: str, seed: int, rate: float, missing_rate: float) -> Case:
    """A case whose embedding is `additive`, `gated`, or `free`: any two vectors at every site."""
    rng = np.random.default_rng(seed)
    frequency = rng.beta(0.5, 1.0, L)
    if kind == "free":
        table = rng.normal(scale=0.7, size=(L, 2, D))
        missing = table.mean(axis=1)
        weights = ((table[:, 1] - table[:, 0]) ** 2).sum(axis=1)
    else:
        embedding = randomised(kind == "gated", seed)
        alleles = torch.tensor([[0] * L, [1] * L, [-1] * L])
        with torch.no_grad():
            ref, alt, missing = embedding(alleles, torch.tensor(frequency)).numpy()
            weights = embedding.weights(torch.tensor(frequency)).numpy()
        table = np.stack([ref, alt], axis=1)
    queries = (rng.random((Q, L)) < frequency).astype(np.int8)
    queries[rng.random((Q, L)) < missing_rate] = -1
    return Case(
        table=table,
        missing=missing,
        weights=weights,
        reference=(rng.random((H, L)) < frequency).astype(np.uint8),
        queries=queries,
        observed=rng.random(L) >= rate,
    )


def flattened(case: Case, alleles: I8Array | U8Array) -> F32Array:
    """(n, L·D) concatenated embeddings, 0 where masked."""
    vectors = case.table[np.arange(L), np.maximum(alleles, 0)]
    vectors = np.where((alleles < 0)[:, :, None], case.missing, vectors) * case.observed[:, None]
    return np.ascontiguousarray(vectors.reshape(len(alleles), -1), dtype=np.float32)


def flat_search(case: Case) -> F64Array:
    """(Q, H) distances of a flattened index, by haplotype, less the shift of the missing calls."""
    index = faiss.IndexFlatL2(L * D)
    index.add(flattened(case, case.reference))
    found, ids = index.search(flattened(case, case.queries), H)
    by_haplotype = np.empty((Q, H))
    np.put_along_axis(by_haplotype, ids, found.astype(np.float64), axis=1)
    shift = ((case.queries < 0) & case.observed) @ (case.weights / 4)
    return np.asarray(by_haplotype - shift[:, None])


def compact_search(case: Case) -> F64Array:
    """(Q, H) distances of the compact metric, as the daemon computes them."""
    steps = site_weights.steps(site_weights.quantise(case.weights))
    found = [distances(query, case.reference, case.observed, steps) for query in case.queries]
    return np.asarray(np.stack(found) / site_weights.STEPS_PER_UNIT)


def tolerance(case: Case) -> float:
    """Half a step for every observed site, and float32 sums of L·D squares."""
    largest = float((case.table**2).sum(axis=-1).max())
    return int(case.observed.sum()) * 0.5 / site_weights.STEPS_PER_UNIT + 1e-5 * L * largest


def same_distances(case: Case) -> bool:
    return bool((np.abs(flat_search(case) - compact_search(case)) <= tolerance(case)).all())


def same_neighbours(case: Case, k: int) -> bool:
    """Whether both find the same k, save those whose distance ties with the k-th within the tolerance."""
    flat, compact = flat_search(case), compact_search(case)
    slack = 2 * tolerance(case)
    for q in range(Q):
        found = np.argsort(flat[q], kind="stable")[:k]
        kth = np.sort(compact[q])[k - 1]
        surely = np.flatnonzero(compact[q] < kth - slack)
        if (compact[q][found] > kth + slack).any() or not set(surely) <= set(found):
            return False
    return True


kinds = st.sampled_from(["additive", "gated", "free"])
seeds = st.integers(0, 10_000)
rates = st.sampled_from([0.0, 0.1, 0.5, 0.9])
missing_rates = st.sampled_from([0.0, 0.05, 0.4])


@given(kind=kinds, seed=seeds, rate=rates, missing_rate=missing_rates)
def test_compact_metric__distances_of_the_flattened_index(
    kind: str, seed: int, rate: float, missing_rate: float
) -> None:
    assert same_distances(draw_case(kind, seed, rate, missing_rate))


@given(kind=kinds, seed=seeds, rate=rates, missing_rate=missing_rates, k=st.sampled_from([1, 5, 16, H]))
def test_compact_metric__neighbours_of_the_flattened_index(
    kind: str, seed: int, rate: float, missing_rate: float, k: int
) -> None:
    assert same_neighbours(draw_case(kind, seed, rate, missing_rate), k)


@pytest.mark.parametrize("kind", ["additive", "gated", "free"])
def test_compact_metric__another_missing_token_breaks_it(kind: str) -> None:
    case = draw_case(kind, 3, 0.5, 0.3)
    token = np.random.default_rng(1).normal(size=D)
    broken = dataclasses.replace(case, missing=case.missing + token)
    assert same_distances(case)
    assert not same_distances(broken)
    assert not same_neighbours(broken, 5)


@pytest.mark.parametrize("kind", ["gated", "free"])
def test_compact_metric__equal_weights_break_it(kind: str) -> None:
    case = draw_case(kind, 4, 0.3, 0.0)
    hamming = dataclasses.replace(case, weights=np.full(L, case.weights.mean()))
    assert not same_distances(hamming)


@given(seed=st.integers(0, 1000))
def test_compact_metric__inner_product_ranks_alike(seed: int) -> None:
    case = draw_case("gated", seed, 0.5, 0.1)
    steps = site_weights.steps(site_weights.quantise(case.weights))
    axis = np.sqrt(steps / site_weights.STEPS_PER_UNIT) * case.observed
    reference = (case.reference - 0.5) * axis
    queries = np.where(case.queries < 0, 0, case.queries - 0.5) * axis
    product = queries @ reference.T
    called = ((case.queries >= 0) & case.observed) @ (axis**2)
    np.testing.assert_allclose(called[:, None] / 2 - 2 * product, compact_search(case), atol=1e-9)
