"""The model: what it starts as, what it can see, and what its loss reaches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.errors import ConfigError
from vcfrag_core.evidence.evidence import gather_evidence
from vcfrag_core.evidence.inputs import ALLELE_INPUT, LENGTH_INPUT, inputs_by_site
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.losses import cross_entropy
from vcfrag_core.model.network import Block, ImputationModel
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import I64Array

SMALL = ModelConfig(width=16, heads=2, layers=2, candidates=6)
SWITCH_PER_CM = 5.0
N_SITES = 160


def panel_of(seed: int, order: I64Array | None = None) -> Panel:
    """Mosaics of few founders; `order` permutes the haplotypes."""
    rng = np.random.default_rng(seed)
    founders = (rng.random((6, N_SITES)) < 0.35).astype(np.int8)
    pieces = rng.integers(0, 6, (40, N_SITES // 16)).repeat(16, axis=1)
    haplotypes = founders[pieces, np.arange(N_SITES)] ^ (rng.random((40, N_SITES)) < 0.02)
    return Panel.from_haplotypes(haplotypes if order is None else haplotypes[order])


def model_input(seed: int = 1, *, n_candidates: int = 6, order: I64Array | None = None) -> ModelInput:
    """Two samples' haplotypes against the 36 others, half of the sites observed."""
    panel = panel_of(seed, order)
    haplotypes = panel.haplotypes()
    back = np.arange(40) if order is None else np.argsort(order)
    rows = back[:4]
    observed = np.random.default_rng(seed).random(N_SITES) < 0.5
    cm = np.linspace(0, 2, N_SITES)
    sites = copying.copying_sites(np.flatnonzero(observed), cm, panel.positions, np.arange(N_SITES))
    queries = np.ascontiguousarray(haplotypes[rows][:, sites.observed].astype(np.int8))
    others = np.sort(back[4:]).astype(np.int32)
    problem = CopyingProblem(sites, PanelColumns.of(panel.bits, sites), queries, [others] * 4, [[others] * 4] * 2)
    frequency = haplotypes[others].mean(axis=0)
    evidence = gather_evidence(
        problem,
        Ploidy.diploid(2),
        np.full(len(sites.observed), 6.9, dtype=np.float32),
        copying.switch_probabilities(sites.gaps_cm, SWITCH_PER_CM).astype(np.float32),
        cm=cm,
        frequency=frequency,
        wanted=~observed,
        changes=np.random.default_rng(seed).normal(-3, 1, (2, N_SITES)).astype(np.float32),
        n_candidates=n_candidates,
    )
    candidates, site_features = inputs_by_site(evidence)
    return ModelInput(
        truth=torch.from_numpy(haplotypes[rows]),
        hidden=torch.from_numpy(~observed),
        copying=torch.from_numpy(evidence.dosage),
        frequency=torch.from_numpy(frequency.astype(np.float32)),
        query=torch.from_numpy(evidence.query),
        site=torch.from_numpy(evidence.site),
        candidates=torch.from_numpy(candidates),
        sites=torch.from_numpy(site_features),
        observed_frequency=torch.from_numpy(frequency[sites.observed].astype(np.float32)),
        gaps_cm=torch.from_numpy(sites.gaps_cm.astype(np.float32)),
        switch_per_cm=SWITCH_PER_CM,
        problem=problem,
    )


def awake(config: ModelConfig = SMALL, seed: int = 0) -> ImputationModel:
    """A model whose head is no longer zero."""
    torch.manual_seed(seed)
    model = ImputationModel(config).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture(scope="module")
def batch() -> ModelInput:
    made = model_input()
    assert len(made.query) > 50
    return made


def logits_of(model: ImputationModel, given: ModelInput) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(given).logits
    return logits


def test_untrained_model__imputes_like_copying(batch: ModelInput) -> None:
    torch.manual_seed(1)
    output = ImputationModel(SMALL).eval()(batch)
    assert output.logits.shape == output.copying.shape == batch.copying.shape
    assert bool(torch.isfinite(output.logits).all())
    eta = 1e-4
    expected = (1 - eta) * batch.copying + eta * batch.frequency
    torch.testing.assert_close(output.logits.sigmoid(), expected.clamp(1e-7, 1 - 1e-7), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(output.copying, batch.copying)


def test_model__equal_dosages_and_other_candidates_give_other_logits(batch: ModelInput) -> None:
    model = awake()
    candidates = batch.candidates.clone()
    candidates[:, 0, LENGTH_INPUT] += 0.5
    other = dataclasses.replace(batch, candidates=candidates)
    assert torch.equal(other.copying, batch.copying)
    here, there = logits_of(model, batch), logits_of(model, other)
    moved = (here != there)[batch.query, batch.site]
    assert float(moved.float().mean()) > 0.95
    certain = torch.ones_like(here, dtype=torch.bool)
    certain[batch.query, batch.site] = False
    assert torch.equal(here[certain], there[certain])


def test_model__alleles_of_the_candidates_matter(batch: ModelInput) -> None:
    model = awake()
    candidates = batch.candidates.clone()
    candidates[:, :, [ALLELE_INPUT, ALLELE_INPUT + 1]] *= -1
    other = dataclasses.replace(batch, candidates=candidates)
    assert not torch.allclose(logits_of(model, batch), logits_of(model, other), atol=1e-3)


def test_model__the_panels_order_does_not_matter_beyond_rank() -> None:
    order = np.random.default_rng(7).permutation(40)
    model = awake(ModelConfig(width=16, heads=2, layers=2, candidates=36))
    # Equal posteriors are ranked by row, so rank is taken out; then all 36 candidates are a set.
    torch.nn.init.zeros_(model.rank_KD)
    here, there = model_input(n_candidates=36), model_input(n_candidates=36, order=order)
    assert torch.equal(here.truth, there.truth)
    assert not torch.equal(here.candidates, there.candidates)
    torch.testing.assert_close(here.copying, there.copying, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits_of(model, here), logits_of(model, there), atol=5e-3, rtol=5e-3)


def test_model__rank_is_all_that_the_order_of_candidates_says(batch: ModelInput) -> None:
    model = awake()
    torch.nn.init.zeros_(model.rank_KD)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = dataclasses.replace(batch, candidates=batch.candidates[:, order])
    torch.testing.assert_close(logits_of(model, batch), logits_of(model, shuffled), atol=1e-4, rtol=1e-4)


def test_model__absent_candidates_are_not_attended(batch: ModelInput) -> None:
    model = awake()
    absent = batch.candidates.clone()
    absent[:, 4:] = 0
    poisoned = absent.clone()
    poisoned[:, 4:, LENGTH_INPUT] = 50
    shown = logits_of(model, dataclasses.replace(batch, candidates=absent))
    assert torch.equal(shown, logits_of(model, dataclasses.replace(batch, candidates=poisoned)))
    assert bool(torch.isfinite(shown).all())


def test_model__a_site_without_any_candidate_stays_finite(batch: ModelInput) -> None:
    nothing = dataclasses.replace(batch, candidates=torch.zeros_like(batch.candidates))
    assert bool(torch.isfinite(logits_of(awake(), nothing)).all())


def test_model__without_uncertain_sites_is_the_prior(batch: ModelInput) -> None:
    model = awake()
    empty = dataclasses.replace(
        batch,
        query=batch.query[:0],
        site=batch.site[:0],
        candidates=batch.candidates[:0],
        sites=batch.sites[:0],
    )
    torch.testing.assert_close(logits_of(model, empty), model.prior(batch.copying, batch.frequency).detach())


def test_model__every_site_is_corrected_on_its_own(batch: ModelInput) -> None:
    model = awake()
    with torch.no_grad():
        whole = model.correction(batch.candidates, batch.sites)
        half = model.correction(batch.candidates[10:30], batch.sites[10:30])
    assert whole.shape == (len(batch.query),)
    torch.testing.assert_close(whole[10:30], half, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("candidates", [1, 6])
def test_model__any_depth_and_number_of_candidates(layers: int, candidates: int) -> None:
    given = model_input(n_candidates=candidates)
    model = awake(ModelConfig(width=8, heads=4, layers=layers, candidates=candidates))
    logits = logits_of(model, given)
    assert logits.shape == given.copying.shape
    assert bool(torch.isfinite(logits).all())


def test_block__the_first_token_alone_is_what_it_is_among_all() -> None:
    torch.manual_seed(2)
    block = Block(SMALL).eval()
    tokens = torch.randn(20, 7, SMALL.width)
    bias = torch.where(torch.rand(20, 1, 1, 7) < 0.3, -torch.inf, 0.0)
    bias[..., 0] = 0
    torch.testing.assert_close(block(tokens, bias, 1), block(tokens, bias, 7)[:, :1], atol=1e-5, rtol=1e-5)


def test_inputs__are_finite_and_about_unit_size(batch: ModelInput) -> None:
    for inputs in (batch.candidates, batch.sites):
        assert bool(torch.isfinite(inputs).all())
        assert float(inputs.abs().max()) < 10


def test_loss__reaches_what_it_should(batch: ModelInput) -> None:
    model = awake()
    cross_entropy(model(batch).logits, batch.truth, batch.hidden).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert {"head.weight", "embed_candidate.weight", "embed_site.weight", "rank_KD", "eta_logit"} <= reached
    assert not any(name.startswith("embedding.") or name == "log_switch_factor" for name in reached)


def test_learn_copying__gradients_reach_weights_gate_and_switch_rate(batch: ModelInput) -> None:
    torch.manual_seed(3)
    model = ImputationModel(dataclasses.replace(SMALL, learn_copying=True))
    assert model.embedding.gate is not None
    cross_entropy(model(batch).logits, batch.truth, batch.hidden).backward()
    last = model.embedding.gate[-1]
    for parameter in (model.embedding.level, model.log_switch_factor, last.weight):
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
        assert bool((parameter.grad != 0).any())


def test_learn_copying__gradient_of_the_switch_rate_is_the_slope_of_the_loss(batch: ModelInput) -> None:
    torch.manual_seed(3)
    model = ImputationModel(dataclasses.replace(SMALL, learn_copying=True)).double()
    exact = dataclasses.replace(
        batch,
        observed_frequency=batch.observed_frequency.double(),
        gaps_cm=batch.gaps_cm.double(),
        frequency=batch.frequency.double(),
        candidates=batch.candidates.double(),
        sites=batch.sites.double(),
    )
    step = 1e-4

    def loss_at(factor: float) -> float:
        with torch.no_grad():
            model.log_switch_factor.fill_(factor)
            return float(cross_entropy(model(exact).logits, exact.truth, exact.hidden))

    slope = (loss_at(0.3 + step) - loss_at(0.3 - step)) / (2 * step)
    model.log_switch_factor.data.fill_(0.3)
    cross_entropy(model(exact).logits, exact.truth, exact.hidden).backward()
    assert model.log_switch_factor.grad is not None
    assert float(model.log_switch_factor.grad) == pytest.approx(slope, rel=0.1)


def test_learn_copying__starts_at_the_rules_copying(batch: ModelInput) -> None:
    torch.manual_seed(3)
    model = ImputationModel(dataclasses.replace(SMALL, learn_copying=True))
    with torch.no_grad():
        output = model(batch)
    torch.testing.assert_close(output.copying, batch.copying, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "change",
    [{"width": 10, "heads": 4}, {"heads": 0}, {"layers": -1}, {"candidates": 0}, {"expansion": 0}, {"dropout": 1.0}],
)
def test_model_config__refuses_what_makes_no_sense(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ModelConfig(**change)  # type: ignore[arg-type]


def test_correction__in_parts_is_that_of_all_sites_together() -> None:
    batch = model_input()
    results = []
    for sites_at_once in (None, 1, 7, 10_000):
        torch.manual_seed(3)
        model = ImputationModel(SMALL)
        with torch.no_grad():
            model.head.weight.normal_()
        model.sites_at_once = sites_at_once
        loss = cross_entropy(model(batch).logits, batch.truth, batch.hidden)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            results.append((loss.detach(), *gradients, model(batch).logits))
    for result in results[1:]:
        for ours, wanted in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, wanted)
