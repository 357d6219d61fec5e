"""What a run asks of the device it trains on: how much of a batch at once, and in which kernels."""

from __future__ import annotations

import torch
from torch import nn

from vcfrag_core.model.memory import sites_at_once
from vcfrag_core.model.network import ImputationModel
from vcfrag_train.training.config import TrainerConfig

# Of a device's free memory; the rest is for what copying, retrieval and libraries need, and for unlike pieces.
MEMORY_SHARE = 0.7


def settle_on(model: nn.Module, config: TrainerConfig, device: torch.device) -> None:
    """Bounds how many uncertain sites a model corrects together, and compiles it if that is asked for."""
    if not isinstance(model, ImputationModel):
        return
    model.sites_at_once = config.sites_at_once
    if model.sites_at_once is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        model.sites_at_once = sites_at_once(model.config, int(MEMORY_SHARE * free), half=config.precision != "32-true")
    if config.compile:
        model.compile_correction()
