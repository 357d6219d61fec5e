"""From a search to the model's input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.copying.problem import PanelColumns
from vcfrag_core.evidence.evidence import CERTAIN_WHERE_SPARSE
from vcfrag_core.evidence.group_excluded import ShownReference
from vcfrag_core.evidence.inputs import N_CANDIDATE_INPUTS, inputs_by_site
from vcfrag_core.model.network import ModelInput
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import BoolArray, I8Array, I32Array
from vcfrag_train.fit.data.batches import (
    Ground,
    copying_problem,
    model_input,
    query_block,
    random_candidates,
    thin,
)

WINDOW = Window(2, 40, 90, 25, 110)
STRANGERS = (None,) * 4
PARAMETERS = CopyingParameters(scales=(8,), k=4, flank_cm=0.5, switch_per_cm=5.0)


@pytest.fixture(scope="module")
def ground(make_panel: Callable[..., Panel]) -> Ground:
    panel = make_panel(n_samples=20, n_sites=150, seed=2)
    return Ground(
        panel=panel,
        cm=np.linspace(0, 3, 150),
        reference=ShownReference(panel, np.arange(4, 40), [f"g{row // 2}" for row in range(4, 40)]),
        n_candidates=4,
    )


@pytest.fixture(scope="module")
def observed() -> BoolArray:
    return np.random.default_rng(1).random(150) < 0.5


@pytest.fixture(scope="module")
def alleles(ground: Ground) -> I8Array:
    return ground.panel.haplotypes()[:4].astype(np.int8)


@pytest.fixture(scope="module")
def candidates() -> list[I32Array]:
    return [np.arange(4 + q, 40, 2, dtype=np.int32) for q in range(4)]


def test_query_block__holds_the_observed_alleles_of_the_context(alleles: I8Array, observed: BoolArray) -> None:
    block = query_block(WINDOW, alleles, observed, ["A", "A", "B", "B"])
    assert (block.start, block.stop) == (25, 110)
    assert block.samples == ("A", "A", "B", "B")
    np.testing.assert_array_equal(block.observed, observed[25:110])
    np.testing.assert_array_equal(block.alleles[:, block.observed], alleles[:, 25:110][:, observed[25:110]])
    assert bool((block.alleles[:, ~block.observed] == -1).all())


def test_copying_problem__copies_from_the_context_for_the_window(
    ground: Ground, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    problem = copying_problem(ground, WINDOW, alleles, observed, candidates)
    context = [i for i in range(25, 110) if observed[i]]
    assert problem.sites.observed.tolist() == context
    assert problem.sites.sites.tolist() == list(range(40, 90))
    np.testing.assert_array_equal(problem.queries, alleles[:, context])
    weights, switch = np.full(len(context), 5.0), np.full(len(context), 0.1)
    haplotypes = ground.panel.haplotypes()
    for q, dosage in enumerate(problem.dosage(weights, switch)):
        states = haplotypes[candidates[q]].astype(np.int8)
        posterior = copying.posterior_reference(states[:, context].T, alleles[q, context], weights, switch)
        sites = problem.sites
        expected = copying.dosage_reference(posterior, sites.left, sites.fraction, states[:, 40:90].T)
        np.testing.assert_allclose(dosage, expected, atol=1e-9)


def test_model_input__describes_the_window(
    ground: Ground, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.linspace(3, 7, 150).astype(np.float32)
    given, evidence = model_input(
        ground, WINDOW, alleles, observed, weights, PARAMETERS, candidates, [candidates] * 2, STRANGERS
    )
    hidden = ~observed[40:90]
    np.testing.assert_array_equal(given.truth.numpy(), alleles[:, 40:90])
    assert given.truth.dtype == torch.uint8
    np.testing.assert_array_equal(given.hidden.numpy(), hidden)
    np.testing.assert_allclose(given.frequency.numpy(), np.tile(ground.reference.frequency[40:90], (4, 1)), rtol=1e-6)
    in_context = 25 + np.flatnonzero(observed[25:110])
    np.testing.assert_allclose(given.observed_frequency.numpy(), ground.reference.frequency[in_context], rtol=1e-6)
    np.testing.assert_allclose(given.gaps_cm.numpy(), np.diff(ground.cm[in_context], prepend=ground.cm[in_context[0]]))
    assert given.switch_per_cm == PARAMETERS.switch_per_cm
    problem = copying_problem(ground, WINDOW, alleles, observed, candidates)
    switch = copying.switch_probabilities(problem.sites.gaps_cm, PARAMETERS.switch_per_cm).astype(np.float32)
    np.testing.assert_allclose(given.copying.numpy(), problem.dosage(weights[in_context], switch), atol=1e-6)
    dosage = given.copying.numpy()
    certain = CERTAIN_WHERE_SPARSE
    uncertain = hidden & (dosage >= certain) & (dosage <= np.float32(1 - certain))
    assert given.candidates.shape == (int(uncertain.sum()), 4, N_CANDIDATE_INPUTS)
    by_candidate, by_site = inputs_by_site(evidence)
    np.testing.assert_array_equal(given.candidates, by_candidate)
    np.testing.assert_array_equal(given.sites, by_site)
    np.testing.assert_array_equal(np.stack([given.query, given.site]), np.stack(np.nonzero(uncertain)))
    assert given.problem is not None
    assert evidence.best_mass > 0


def test_model_input__hidden_alleles_are_truth_and_nothing_else(
    ground: Ground, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.full(150, 6.9, dtype=np.float32)
    flipped = np.where(observed, alleles, 1 - alleles).astype(np.int8)
    one, _ = model_input(
        ground, WINDOW, alleles, observed, weights, PARAMETERS, candidates, [candidates] * 2, STRANGERS
    )
    two, _ = model_input(
        ground, WINDOW, flipped, observed, weights, PARAMETERS, candidates, [candidates] * 2, STRANGERS
    )
    for name in ("copying", "query", "site", "candidates", "sites"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.truth, two.truth)


def test_model_input__unknown_truth_becomes_zero(
    ground: Ground, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    gappy = alleles.copy()
    gappy[0, 40:60] = -1
    given, _ = model_input(
        ground, WINDOW, gappy, observed, np.full(150, 6.9, np.float32), PARAMETERS, candidates, [candidates] * 2,
        STRANGERS,
    )  # fmt: skip
    assert not given.truth[0, :20].any()


def test_random_candidates__as_many_as_retrieved_from_the_allowed_rows() -> None:
    retrieved = [np.array([1, 5, 9], np.int32), np.arange(30, dtype=np.int32)]
    allowed = [np.arange(50, 90, dtype=np.int32), np.arange(10, 20, dtype=np.int32)]
    drawn = random_candidates(retrieved, allowed, np.random.default_rng(3))
    assert [len(rows) for rows in drawn] == [3, 10]
    for rows, may in zip(drawn, allowed, strict=True):
        assert rows.dtype == np.int32
        assert rows.tolist() == sorted(set(rows.tolist()))
        assert set(rows.tolist()) <= set(may.tolist())


def test_recent_columns__are_those_of_the_window_and_the_mask(ground: Ground, alleles: I8Array) -> None:
    rng, windows = np.random.default_rng(8), [WINDOW, Window(0, 0, 40, 0, 60), Window(1, 20, 60, 0, 90)]
    candidates = [np.arange(4, 40, dtype=np.int32)] * 4
    masks = [rng.random(150) < share for share in (0.5, 0.5, 0.2)]
    for number in rng.integers(0, 9, 60).tolist():
        window, observed = windows[number % 3], masks[number // 3]
        problem = copying_problem(ground, window, alleles, observed, candidates)
        expected = PanelColumns.of(ground.panel.packed, problem.sites)
        for name in ("words", "alleles", "observed"):
            np.testing.assert_array_equal(getattr(problem, name), getattr(expected, name))


def test_model_input__tells_a_query_nothing_that_its_group_alone_knows(ground: Ground, observed: BoolArray) -> None:
    haplotypes, groups = ground.panel.haplotypes(), [f"g{row // 4}" for row in range(40)]
    query, weights = haplotypes[8:10].astype(np.int8), np.full(150, 6.9, dtype=np.float32)
    candidates = [np.r_[0:8, 12:40].astype(np.int32)] * 2
    changed = haplotypes.copy()
    changed[8:12, ~observed] ^= 1

    def told(panel: Panel) -> ModelInput:
        mine = dataclasses.replace(ground, panel=panel, reference=ShownReference(panel, np.arange(40), groups))
        args = (WINDOW, query, observed, weights, PARAMETERS, candidates, [candidates] * 2, ["g2"] * 2)
        return model_input(mine, *args)[0]

    one, two = told(ground.panel), told(Panel.from_haplotypes(changed))
    for name in ("copying", "query", "site", "candidates", "sites"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    torch.testing.assert_close(one.frequency, two.frequency)


def test_thin__keeps_evenly_spaced_sites_of_every_query(
    ground: Ground, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.full(150, 5, dtype=np.float32)
    _, whole = model_input(
        ground, WINDOW, alleles, observed, weights, PARAMETERS, candidates, [candidates] * 2, STRANGERS
    )
    thinned = thin(whole, 3)
    counts = np.bincount(whole.query, minlength=4)
    np.testing.assert_array_equal(np.bincount(thinned.query, minlength=4), np.minimum(counts, 3))
    pairs = {(int(q), int(s)): i for i, (q, s) in enumerate(zip(whole.query, whole.site, strict=True))}
    chosen = [pairs[int(q), int(s)] for q, s in zip(thinned.query, thinned.site, strict=True)]
    np.testing.assert_array_equal(thinned.candidates, whole.candidates[chosen])
    np.testing.assert_array_equal(thinned.sites, whole.sites[chosen])
    np.testing.assert_array_equal(thinned.dosage, whole.dosage)
