"""The compiled copying layer against the float64 reference, and its gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.copying_cases import random_case
from vcfrag_core.copying import kernels as copying_kernels
from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.layer import copy_dosage
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.reference import CopyingSites
from vcfrag_core.errors import RangeError
from vcfrag_core.panel import kernels as panel_kernels
from vcfrag_core.panel.bits import pack_words
from vcfrag_core.panel.panel import Panel


@given(
    seed=st.integers(0, 2**32 - 1),
    n_observed=st.integers(1, 100),
    n_candidates=st.integers(1, 40),
    extra=st.integers(1, 150),
)
def test_dosage__kernel_equals_reference(seed: int, n_observed: int, n_candidates: int, extra: int) -> None:
    case = random_case(seed, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + extra)
    double = case.problem.dosage(case.weights, case.switch)
    np.testing.assert_allclose(double, case.reference(), atol=1e-9)
    single = case.problem.dosage(case.weights.astype(np.float32), case.switch.astype(np.float32))
    np.testing.assert_allclose(single, case.reference(), atol=2e-4)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_observed=st.integers(1, 150),
    n_candidates=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.01, 0.05, 0.5]),
)
def test_ways__asked_for_few_sites_are_to_the_bit_what_each_is_alone(
    seed: int, n_observed: int, n_candidates: int, share: float
) -> None:
    case = random_case(seed, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + 200)
    problem, sites = case.problem, case.problem.sites
    wanted = np.random.default_rng(seed).random(len(sites.sites)) < share
    mismatch = np.exp(-np.stack([case.weights, 0.3 * case.weights])).astype(np.float32)
    switch = np.stack([0.4 * case.switch, case.switch]).astype(np.float32)
    some = np.empty((2, len(wanted)), dtype=np.float32)
    candidates, query = problem.candidates[0], problem.queries[0]
    begun = copying_kernels.begin(problem.observed, candidates, query, mismatch, switch)
    copying_kernels.copy_ways(
        *begun, problem.words, candidates, query, mismatch, switch, sites.left, sites.fraction, pack_words(wanted), some
    )
    for way, found in enumerate(some):
        every = np.empty((1, len(wanted)), dtype=np.float32)
        copying_kernels.copy_dosage(
            problem.observed, problem.words, candidates, query, mismatch[way : way + 1], switch[way : way + 1],
            sites.left, sites.fraction, pack_words(np.ones_like(wanted)), every,
        )  # fmt: skip
        np.testing.assert_array_equal(found, np.where(wanted, every[0], 0))


def test_dosages__at_several_rates_are_to_the_bit_what_each_is_alone() -> None:
    case = random_case(11, n_observed=70, n_candidates=20, n_sites=200)
    weights = np.stack([case.weights, 0.3 * case.weights, case.weights]).astype(np.float32)
    switch = np.stack([case.switch, case.switch, 0.4 * case.switch]).astype(np.float32)
    wanted = np.random.default_rng(3).random(len(case.problem.sites.sites)) < 0.2
    for called_too in (True, False):
        every = case.problem.dosages(weights, switch, called_too=called_too)
        some = case.problem.dosages(weights, switch, called_too=called_too, wanted=wanted)
        for way in range(3):
            alone = case.problem.dosage(weights[way], switch[way], called_too=called_too)
            np.testing.assert_array_equal(every[:, way], alone)
            np.testing.assert_array_equal(some[:, way, wanted], alone[:, wanted])


@pytest.mark.parametrize("called_too", [True, False])
def test_dosage__is_that_of_the_query_which_stands_there(called_too: bool) -> None:
    problem = (case := random_case(8, n_observed=60, n_candidates=9, n_sites=130, n_queries=4)).problem
    each = problem.dosage(case.weights, case.switch)
    own = np.arange(4)[:, None]
    others = np.array([[0], [0], [0], [2]])
    problem.alike = np.where(np.random.default_rng(1).random((4, 60)) < 0.5, own, others)
    problem.alike[3] = np.where(problem.alike[2] == 2, 2, 3)
    if not called_too:
        for q, dosage in enumerate(each):
            problem.put_calls(q, dosage)
    expected = np.take_along_axis(each, problem.alike[:, problem.sites.left], axis=0)
    np.testing.assert_array_equal(problem.dosage(case.weights, case.switch, called_too=called_too), expected)
    # Of some alone, beside those that are there.
    some, out = np.array([1, 3]), expected.copy()
    out[some] = np.nan
    problem.fill_dosages(out[:, None], some, case.weights[None], case.switch[None], called_too=called_too)
    np.testing.assert_array_equal(out, expected)
    part = problem.part(2, 4)
    assert part.alike is not None
    np.testing.assert_array_equal(part.alike, problem.alike[2:] - 2)


def test_dosage__of_queries_that_are_the_same_is_that_of_each() -> None:
    problem = (case := random_case(7, n_observed=60, n_candidates=9, n_sites=130)).problem
    n = len(problem.queries)
    alone = problem.dosage(case.weights, case.switch)
    problem.queries = np.concatenate([problem.queries, problem.queries[::-1], problem.queries[:1]])
    problem.candidates = [*problem.candidates, *problem.candidates[::-1], problem.candidates[0][:5]]
    together = problem.dosage(case.weights, case.switch)
    np.testing.assert_array_equal(together[: 2 * n], np.concatenate([alone, alone[::-1]]))
    # The same calls, but not the same candidates.
    assert (together[2 * n] != alone[0]).any()


@given(
    seed=st.integers(0, 2**32 - 1),
    n_observed=st.integers(1, 100),
    n_candidates=st.integers(1, 40),
    extra=st.integers(1, 1500),
)
def test_gradient__kernel_equals_reference(seed: int, n_observed: int, n_candidates: int, extra: int) -> None:
    case = random_case(seed, n_observed=n_observed, n_candidates=n_candidates, n_sites=n_observed + extra)
    rng = np.random.default_rng(seed)
    gradient = rng.normal(rng.choice([0, 1]), 1, (2, len(case.problem.sites.sites)))
    gradient[:, rng.random(gradient.shape[1]) < 0.3] = 0
    expected = case.reference_gradients(gradient)
    double = case.problem.gradients(case.weights, case.switch, gradient)
    single = case.problem.gradients(*(x.astype(np.float32) for x in (case.weights, case.switch, gradient)))
    for wanted, exact, rounded in zip(expected, double, single, strict=True):
        scale = 1 + np.abs(wanted).max()
        np.testing.assert_allclose(exact / scale, wanted / scale, atol=1e-9)
        np.testing.assert_allclose(rounded / scale, wanted / scale, atol=1e-4)


def test_gradient__where_a_switch_is_certain() -> None:
    case = random_case(11, n_observed=70, n_candidates=12, n_sites=160)
    case.switch[[5, 32, 33, 50]] = 1
    gradient = np.random.default_rng(3).normal(size=(2, len(case.problem.sites.sites)))
    for wanted, got in zip(
        case.reference_gradients(gradient), case.problem.gradients(case.weights, case.switch, gradient), strict=True
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_gradient__equals_finite_differences(seed: int) -> None:
    case = random_case(seed, n_observed=70, n_candidates=12, n_sites=160)
    weights = torch.tensor(case.weights / 3, requires_grad=True)
    switch = torch.tensor(np.clip(case.switch, 0.01, 0.9), requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, s: copy_dosage(w, s, case.problem), (weights, switch))


def test_dosage__finite_where_no_candidate_matches() -> None:
    haplotypes = np.zeros((6, 400), dtype=np.int8)
    panel = Panel.from_haplotypes(haplotypes)
    observed = np.arange(0, 400, 2)
    sites = copying.copying_sites(observed, np.zeros(400), panel.positions, np.arange(400))
    problem = CopyingProblem(
        sites, PanelColumns.of(panel.bits, sites), np.ones((1, 200), dtype=np.int8), [np.arange(6, dtype=np.int32)]
    )
    weights = np.full(200, 14, dtype=np.float32)
    dosage = problem.dosage(weights, np.zeros(200, dtype=np.float32))
    np.testing.assert_array_equal(dosage, np.zeros((1, 400)))
    by_weight, by_switch = problem.gradients(weights, np.zeros(200, np.float32), np.ones((1, 400), np.float32))
    assert np.isfinite(by_weight).all()
    assert np.isfinite(by_switch).all()


def test_dosage__finite_where_each_side_of_a_flat_stretch_rules_the_other_out() -> None:
    haplotypes = np.zeros((2, 400), dtype=np.int8)
    haplotypes[0, 200:] = haplotypes[1, :200] = 1
    panel = Panel.from_haplotypes(haplotypes)
    sites = copying.copying_sites(np.arange(400), np.zeros(400), panel.positions, np.arange(400))
    query = np.zeros((1, 400), dtype=np.int8)
    problem = CopyingProblem(sites, PanelColumns.of(panel.bits, sites), query, [np.arange(2, dtype=np.int32)])
    switch = copying.switch_probabilities(sites.gaps_cm, 3.0).astype(np.float32)
    dosage = problem.dosage(np.full(400, 7, dtype=np.float32), switch)
    np.testing.assert_allclose(dosage, np.zeros((1, 400)), atol=1e-3)


def test_dosage__an_exact_copy_is_found() -> None:
    rng = np.random.default_rng(5)
    haplotypes = (rng.random((40, 300)) < 0.3).astype(np.int8)
    panel = Panel.from_haplotypes(haplotypes)
    observed = np.arange(0, 300, 3)
    sites = copying.copying_sites(observed, np.linspace(0, 1, 300), panel.positions, np.arange(300))
    problem = CopyingProblem(
        sites,
        PanelColumns.of(panel.bits, sites),
        haplotypes[[7]][:, observed].copy(),
        [np.arange(40, dtype=np.int32)],
    )
    switch = copying.switch_probabilities(sites.gaps_cm, 3.0)
    dosage = problem.dosage(np.full(100, 6.9), switch)
    assert np.abs(dosage[0] - haplotypes[7]).max() < 0.05


@given(seed=st.integers(0, 2**32 - 1), n_sites=st.integers(1, 300))
def test_site_words__hold_the_bits_asked_for(seed: int, n_sites: int) -> None:
    rng = np.random.default_rng(seed)
    haplotypes = rng.integers(0, 2, (4, n_sites))
    packed = Panel.from_haplotypes(haplotypes).packed
    start, stop = sorted(rng.choice(n_sites + 1, 2, replace=False))
    scattered = np.sort(rng.choice(n_sites, rng.integers(1, n_sites + 1), replace=False))
    in_long_runs = np.flatnonzero(rng.random(n_sites) < 0.97)
    for sites in (np.arange(start, stop), scattered, in_long_runs):
        words = panel_kernels.site_words(packed, sites)
        got = np.array([[int(row[i >> 6]) >> (i & 63) & 1 for i in range(len(sites))] for row in words])
        np.testing.assert_array_equal(got, haplotypes[:, sites])
        used = len(sites) & 63
        assert not used or not np.any(words[:, -1] >> np.uint64(used))


def test_copying_sites__interpolates_in_cm_then_in_base_pairs() -> None:
    cm = np.array([0.0, 0.0, 0.2, 1.0, 1.0, 1.0, 1.0])
    positions = np.array([10, 20, 30, 40, 50, 80, 90])
    sites = copying.copying_sites(np.array([1, 3, 5]), cm, positions, np.arange(7))
    assert isinstance(sites, CopyingSites)
    np.testing.assert_array_equal(sites.left, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(sites.fraction, [0, 0, 0.2, 0, 0.25, 0, 0])
    np.testing.assert_allclose(sites.gaps_cm, [0, 1, 0])


def test_copying_sites__refuses_a_context_without_observed_sites() -> None:
    with pytest.raises(RangeError, match="no observed site"):
        copying.copying_sites(np.array([], dtype=int), np.zeros(3), np.arange(3), np.arange(3))
