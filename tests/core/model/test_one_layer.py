"""The model of one layer without torch, against the model itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vcfrag_core.errors import ShapeError
from vcfrag_core.evidence.inputs import ALLELE_INPUT, N_CANDIDATE_INPUTS, N_SITE_INPUTS
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.one_layer import OneLayer
from vcfrag_core.types import F32Array

SMALL = ModelConfig(width=24, heads=3, layers=1, candidates=7)


def awake(config: ModelConfig, seed: int = 1) -> ImputationModel:
    """A model all of whose parameters are far from where training begins."""
    torch.manual_seed(seed)
    model = ImputationModel(config).eval()
    for name, parameter in model.named_parameters():
        if not name.startswith("embedding."):
            torch.nn.init.normal_(parameter, std=0.4)
    return model


def inputs(config: ModelConfig, n: int, seed: int = 2) -> tuple[F32Array, F32Array]:
    """Inputs of n sites; every third has two candidates less."""
    rng = np.random.default_rng(seed)
    candidates = rng.normal(0, 1, (N_CANDIDATE_INPUTS, config.candidates, n)).astype(np.float32)
    candidates[ALLELE_INPUT] = rng.choice([-1, 1], candidates.shape[1:])
    candidates[:, max(1, config.candidates - 2) :, ::3] = 0
    return candidates, rng.normal(0, 1, (N_SITE_INPUTS, n)).astype(np.float32)


def tensors_of(model: ImputationModel) -> dict[str, F32Array]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def expected(model: ImputationModel, candidates: F32Array, sites: F32Array) -> F32Array:
    """The model's own answer, in float64."""
    exact = ImputationModel(model.config).double().eval()
    exact.load_state_dict(model.state_dict())
    by_site = (torch.from_numpy(candidates.transpose(2, 1, 0).copy()), torch.from_numpy(sites.T.copy()))
    with torch.inference_mode():
        answer: F32Array = exact.correction(*(x.double() for x in by_site)).numpy()
    return answer


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    heads=st.integers(1, 4),
    width_of_head=st.integers(2, 12),
    expansion=st.integers(1, 3),
    n_candidates=st.integers(1, 18),
    n=st.integers(1, 70),
)
def test_correction__equals_the_model(
    seed: int, heads: int, width_of_head: int, expansion: int, n_candidates: int, n: int
) -> None:
    config = ModelConfig(width=heads * width_of_head, heads=heads, expansion=expansion, candidates=n_candidates)
    model = awake(config, seed)
    candidates, sites = inputs(config, n, seed)
    wanted = expected(model, candidates, sites)
    found = OneLayer(config, tensors_of(model)).correction(candidates, sites)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-4, rtol=2e-4)


def test_correction__of_an_untrained_model_is_nothing() -> None:
    torch.manual_seed(0)
    model = ImputationModel(SMALL)
    assert not OneLayer(SMALL, tensors_of(model)).correction(*inputs(SMALL, 30)).any()


def test_correction__absent_candidates_do_not_count() -> None:
    tool = OneLayer(SMALL, tensors_of(awake(SMALL)))
    candidates, sites = inputs(SMALL, 30)
    poisoned = candidates.copy()
    absent = np.broadcast_to(candidates[ALLELE_INPUT] == 0, candidates.shape).copy()
    absent[ALLELE_INPUT] = False
    poisoned[absent] = 9
    np.testing.assert_array_equal(tool.correction(candidates, sites), tool.correction(poisoned, sites))
    candidates[:] = 0
    assert bool(np.isfinite(tool.correction(candidates, sites)).all())


def test_correction__leaves_its_inputs_alone_and_repeats() -> None:
    tool = OneLayer(SMALL, tensors_of(awake(SMALL)))
    given_inputs = inputs(SMALL, 200)
    before = [x.copy() for x in given_inputs]
    first = tool.correction(*given_inputs)
    np.testing.assert_array_equal(first, tool.correction(*given_inputs))
    for now, then in zip(given_inputs, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_eta__is_the_models() -> None:
    model = awake(SMALL)
    assert OneLayer(SMALL, tensors_of(model)).eta == pytest.approx(float(model.eta_logit.detach().sigmoid()))


@pytest.mark.parametrize("change", [{"layers": 0}, {"layers": 2}, {"learn_copying": True}])
def test_one_layer__refuses_what_it_does_not_serve(change: dict[str, int]) -> None:
    config = dataclasses.replace(SMALL, **change)
    assert OneLayer.serves(SMALL)
    assert not OneLayer.serves(config)
    with pytest.raises(ShapeError, match="one layer"):
        OneLayer(config, tensors_of(ImputationModel(config)))


def test_one_layer__refuses_other_tensors() -> None:
    tensors = tensors_of(awake(SMALL))
    with pytest.raises(ShapeError, match=r"rank_KD is \(8, 24\) and should be \(6, 24\)"):
        OneLayer(dataclasses.replace(SMALL, candidates=5), tensors)
    with pytest.raises(ShapeError, match=r"head.bias is missing"):
        OneLayer(SMALL, {name: tensor for name, tensor in tensors.items() if name != "head.bias"})
    with pytest.raises(ShapeError, match=r"blocks.1.out.bias is \(24,\) and should be absent"):
        OneLayer(SMALL, tensors | {"blocks.1.out.bias": tensors["blocks.0.out.bias"]})
