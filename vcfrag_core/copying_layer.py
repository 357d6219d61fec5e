"""The copying layer for torch: compiled forward, hand-derived backward, gradients for weights and switch rate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcfrag_core.copying_problem import PRUNE, CopyingProblem
from vcfrag_core.types import FloatArray


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        switch: Tensor,
        problem: CopyingProblem,
        prune: float,
        pool: ThreadPoolExecutor | None,
    ) -> Tensor:
        ctx.save_for_backward(weights, switch)
        ctx.problem, ctx.pool = problem, pool
        dosage = problem.dosage(_numpy(weights), _numpy(switch), prune=prune, pool=pool)
        return torch.from_numpy(dosage).to(weights.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        weights, switch = ctx.saved_tensors
        by_weight, by_switch = ctx.problem.gradients(
            _numpy(weights), _numpy(switch), _numpy(gradients[0]), pool=ctx.pool
        )
        device = weights.device
        return torch.from_numpy(by_weight).to(device), torch.from_numpy(by_switch).to(device), None, None, None


def copy_dosage(
    weights: Tensor,
    switch: Tensor,
    problem: CopyingProblem,
    *,
    prune: float = PRUNE,
    pool: ThreadPoolExecutor | None = None,
) -> Tensor:
    """(Q, L) dosages, differentiable in (M,) weights and (M,) switch probabilities.

    The gradient is that of the unpruned dosage (source: the second derivatives of log Z, see `copying_kernels`).
    """
    return _Copy.apply(weights, switch, problem, prune, pool)  # type: ignore[no-any-return, no-untyped-call]


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return array
