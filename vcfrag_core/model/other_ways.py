"""Dosages of other ways to copy, for a model's inputs, made where its tensors lie and not by the host's threads."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from torch import Tensor

from vcfrag_core.copying.layer import kernels_on
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.evidence.evidence import OtherWay
from vcfrag_core.evidence.inputs import MIN_PROBABILITY, N_TOGETHER
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.types import FloatArray


def copied_otherwise(batch: ModelInput) -> ModelInput:
    """The batch with the inputs that follow from its ways to copy, which `evidence.inputs.site_inputs` left NaN."""
    if not batch.ways or batch.problem is None:
        return batch
    with torch.no_grad(), torch.autocast(batch.sites.device.type, enabled=False):
        dosages = [dosage[batch.query, batch.site] for dosage in _dosages(batch.problem, batch.ways, batch.sites)]
        variants_NW = torch.stack(dosages, dim=1).clamp(float(MIN_PROBABILITY), float(1 - MIN_PROBABILITY))
        copying_N1 = batch.copying[batch.query, batch.site, None].clamp(
            float(MIN_PROBABILITY), float(1 - MIN_PROBABILITY)
        )
        made = torch.cat([variants_NW.logit() / 4, 4 * (variants_NW - copying_N1)], dim=1)
        return dataclasses.replace(batch, sites=torch.cat([batch.sites[:, :N_TOGETHER], made], dim=1), ways=())


def _dosages(problem: CopyingProblem, ways: tuple[OtherWay, ...], like: Tensor) -> list[Tensor]:
    """(Q, L) dosages of each way, where `like` lies."""
    kernels = {}
    for way in ways:
        if id(way.candidates) not in kernels:
            asked = copy.copy(problem)
            asked.candidates = way.candidates
            kernels[id(way.candidates)] = kernels_on(like.device, asked, None)
    return [
        kernels[id(way.candidates)].dosage(_on(-np.log(way.mismatch), like.device), _on(way.switch, like.device))
        for way in ways
    ]


def _on(array: FloatArray, device: torch.device) -> Tensor:
    """An array on a device; nobody waits for the copy to a CUDA device."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
