"""The copying layer for torch: compiled forward, hand-derived backward, gradients for weights and switch rate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcfrag_core.copying import LEAST_SWITCH
from vcfrag_core.copying_problem import CopyingProblem
from vcfrag_core.types import FloatArray


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        switch: Tensor,
        problem: CopyingProblem,
        pool: ThreadPoolExecutor | None,
    ) -> Tensor:
        ctx.save_for_backward(weights, switch)
        ctx.problem, ctx.pool = problem, pool
        dosage = problem.dosage(_numpy(weights), _numpy(switch), pool=pool)
        return torch.from_numpy(dosage).to(weights.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weights, switch = ctx.saved_tensors
        by_weight, by_switch = ctx.problem.gradients(
            _numpy(weights), _numpy(switch), _numpy(gradients[0]), pool=ctx.pool
        )
        device = weights.device
        return torch.from_numpy(by_weight).to(device), torch.from_numpy(by_switch).to(device), None, None


def copy_dosage(
    weights: Tensor,
    switch: Tensor,
    problem: CopyingProblem,
    *,
    pool: ThreadPoolExecutor | None = None,
) -> Tensor:
    """(Q, L) dosages, differentiable in (M,) weights and (M,) switch probabilities.

    Source of the gradient: the second derivatives of log Z, see `copying_gradient`.
    """
    return _Copy.apply(weights, switch.clamp_min(LEAST_SWITCH), problem, pool)  # type: ignore[no-any-return, no-untyped-call]


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return array
