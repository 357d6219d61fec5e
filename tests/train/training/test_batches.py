"""From a search to the model's input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.evidence.evidence import CERTAIN_WHERE_SPARSE, FIRST_VARIANT
from vcfrag_core.evidence.group_excluded import GroupExcludedReference
from vcfrag_core.evidence.inputs import N_CANDIDATE_INPUTS, N_TOGETHER, inputs_by_site
from vcfrag_core.model.other_ways import copied_otherwise
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.window import Candidates, MaskedWindow, copying_problem
from vcfrag_train.training.data.batches import BatchContext, model_input, subsample

WINDOW = Window(2, 40, 90, 25, 110)
STRANGERS = (None,) * 4
PARAMETERS = CopyingParameters(scales=(8,), k=4, flank_cm=0.5, switch_per_cm=5.0)


@pytest.fixture(scope="module")
def context(make_panel: Callable[..., Panel]) -> BatchContext:
    panel = make_panel(n_samples=20, n_sites=150, seed=2)
    return BatchContext(
        panel_context=PanelContext(panel=panel, cm=np.linspace(0, 3, 150)),
        reference=GroupExcludedReference(panel, np.arange(4, 40), [f"g{row // 2}" for row in range(4, 40)]),
        n_candidates=4,
    )


@pytest.fixture(scope="module")
def observed() -> BoolArray:
    return np.random.default_rng(1).random(150) < 0.5


@pytest.fixture(scope="module")
def alleles(context: BatchContext) -> I8Array:
    return context.panel_context.panel.haplotypes()[:4].astype(np.int8)


@pytest.fixture(scope="module")
def candidates() -> list[I32Array]:
    return [np.arange(4 + q, 40, 2, dtype=np.int32) for q in range(4)]


def queries(alleles: I8Array, observed: BoolArray, weights: F32Array) -> MaskedWindow:
    return MaskedWindow(
        window=WINDOW,
        observed=observed,
        weights=weights,
        parameters=PARAMETERS,
        alleles=alleles,
        samples=(EXTERNAL,) * len(alleles),
        ploidy=Ploidy.diploid(len(alleles) // 2),
    )


def found(candidates: list[I32Array]) -> Candidates:
    return Candidates(all_scales=candidates, longer_scales=[candidates] * 2)


def test_model_input__describes_the_window(
    context: BatchContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.linspace(3, 7, 150).astype(np.float32)
    given, evidence = model_input(context, queries(alleles, observed, weights), found(candidates), STRANGERS)
    hidden = ~observed[40:90]
    np.testing.assert_array_equal(given.truth.numpy(), alleles[:, 40:90])
    assert given.truth.dtype == torch.uint8
    np.testing.assert_array_equal(given.hidden.numpy(), hidden)
    np.testing.assert_allclose(given.frequency.numpy(), np.tile(context.reference.frequency[40:90], (4, 1)), rtol=1e-6)
    in_context = 25 + np.flatnonzero(observed[25:110])
    np.testing.assert_allclose(given.observed_frequency.numpy(), context.reference.frequency[in_context], rtol=1e-6)
    np.testing.assert_allclose(
        given.gaps_cm.numpy(),
        np.diff(context.panel_context.cm[in_context], prepend=context.panel_context.cm[in_context[0]]),
    )
    assert given.switch_per_cm == PARAMETERS.switch_per_cm
    problem = copying_problem(queries(alleles, observed, weights), context.panel_context, found(candidates))
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
    context: BatchContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.full(150, 6.9, dtype=np.float32)
    flipped = np.where(observed, alleles, 1 - alleles).astype(np.int8)
    one, _ = model_input(context, queries(alleles, observed, weights), found(candidates), STRANGERS)
    two, _ = model_input(context, queries(flipped, observed, weights), found(candidates), STRANGERS)
    for name in ("copying", "query", "site", "candidates", "sites"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.truth, two.truth)


def test_model_input__what_is_copied_where_the_model_is_is_what_the_host_copies(
    context: BatchContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.linspace(3, 7, 150).astype(np.float32)
    scales = Candidates(all_scales=candidates, longer_scales=[[row[::2] for row in candidates], candidates[::-1]])
    asked = queries(alleles, observed, weights), scales, STRANGERS
    by_host, _ = model_input(context, *asked, max_uncertain=7)
    without, evidence = model_input(dataclasses.replace(context, copy_otherwise=False), *asked, max_uncertain=7)
    assert np.isnan(evidence.sites[:, FIRST_VARIANT:]).all()
    assert without.sites.isnan().any(dim=0).sum() == 2 * len(without.ways)
    by_model = copied_otherwise(without)
    torch.testing.assert_close(by_model.sites, by_host.sites, rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in by_model.sites[:, N_TOGETHER:].T.tolist()}) == 2 * len(without.ways)
    assert copied_otherwise(by_model) is by_model
    assert torch.equal(without.candidates, by_host.candidates)


def test_model_input__unknown_truth_becomes_zero(
    context: BatchContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    gappy = alleles.copy()
    gappy[0, 40:60] = -1
    given, _ = model_input(
        context, queries(gappy, observed, np.full(150, 6.9, np.float32)), found(candidates), STRANGERS
    )
    assert not given.truth[0, :20].any()


def test_model_input__tells_a_query_nothing_that_its_group_alone_knows(
    context: BatchContext, observed: BoolArray
) -> None:
    haplotypes, groups = context.panel_context.panel.haplotypes(), [f"g{row // 4}" for row in range(40)]
    query, weights = haplotypes[8:10].astype(np.int8), np.full(150, 6.9, dtype=np.float32)
    candidates = [np.r_[0:8, 12:40].astype(np.int32)] * 2
    changed = haplotypes.copy()
    changed[8:12, ~observed] ^= 1

    def told(panel: Panel) -> ModelInput:
        mine = dataclasses.replace(
            context,
            panel_context=dataclasses.replace(context.panel_context, panel=panel),
            reference=GroupExcludedReference(panel, np.arange(40), groups),
        )
        return model_input(mine, queries(query, observed, weights), found(candidates), ["g2"] * 2)[0]

    one, two = told(context.panel_context.panel), told(Panel.from_haplotypes(changed))
    for name in ("copying", "query", "site", "candidates", "sites"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    torch.testing.assert_close(one.frequency, two.frequency)


def test_subsample__keeps_evenly_spaced_sites_of_every_query(
    context: BatchContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    weights = np.full(150, 5, dtype=np.float32)
    _, whole = model_input(context, queries(alleles, observed, weights), found(candidates), STRANGERS)
    kept = subsample(whole, 3)
    counts = np.bincount(whole.query, minlength=4)
    np.testing.assert_array_equal(np.bincount(kept.query, minlength=4), np.minimum(counts, 3))
    pairs = {(int(q), int(s)): i for i, (q, s) in enumerate(zip(whole.query, whole.site, strict=True))}
    chosen = [pairs[int(q), int(s)] for q, s in zip(kept.query, kept.site, strict=True)]
    np.testing.assert_array_equal(kept.candidates, whole.candidates[chosen])
    np.testing.assert_array_equal(kept.sites, whole.sites[chosen])
    np.testing.assert_array_equal(kept.dosage, whole.dosage)
