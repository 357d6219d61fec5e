"""What a step needs is foretold well enough to bound it: beside what autograd really keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vcfrag_core.evidence.inputs import N_CANDIDATE_INPUTS, N_SITE_INPUTS
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.memory import bytes_per_site, sites_at_once
from vcfrag_core.model.network import ImputationModel

CONFIGS = [
    ModelConfig(width=96, layers=6, heads=6, expansion=4, candidates=24, dropout=0.1),
    ModelConfig(width=96, layers=6, heads=6, expansion=2, candidates=16),
    ModelConfig(width=64, layers=4, heads=4, expansion=3, candidates=8),
]


def kept_bytes(model: ImputationModel, inputs: tuple[Tensor, Tensor], *, half: bool) -> int:
    """Bytes of the tensors, weights and their copies aside, that the backward pass of a correction needs."""
    weights = {id(p.untyped_storage()) for p in model.parameters()} | {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        answer = model.correction(*inputs)
    assert answer.requires_grad
    copies = 2 * sum(p.numel() for p in model.parameters()) if half else 0
    return sum(kept.values()) - copies


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_bytes_per_site__is_at_least_what_is_kept_and_not_far_above(config: ModelConfig, half: bool) -> None:
    torch.manual_seed(1)
    n = 64
    inputs = torch.randn(n, config.candidates, N_CANDIDATE_INPUTS), torch.randn(n, N_SITE_INPUTS)
    kept = kept_bytes(ImputationModel(config), inputs, half=half) / n
    assert kept < bytes_per_site(config, half=half) < 2 * kept


def test_sites_at_once__fill_what_is_free_beside_the_weights() -> None:
    config = ModelConfig(width=384, layers=12, heads=6, expansion=4, candidates=24)
    most = sites_at_once(config, 80 * 10**9, half=True)
    assert 10_000 < most < 20_000
    assert sites_at_once(config, 40 * 10**9, half=True) < most / 2
    assert sites_at_once(config, 1, half=True) == 1
