"""The copying layer for torch: dosages that are differentiable in the emission weights and the switch probabilities."""

from __future__ import annotations

import dataclasses
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.reference import MIN_SWITCH
from vcfrag_core.types import FloatArray

# A device's kernel holds a query's candidates in registers; for more, it takes minutes to compile and then spills.
MAX_DEVICE_CANDIDATES = {torch.float32: 2**15, torch.float64: 2**13}


class CopyingKernels(Protocol):
    """Dosages of one problem and their gradients, wherever they are made."""

    def dosage(self, weights: Tensor, switch: Tensor) -> Tensor:
        """(Q, L) dosages for (M,) weights and switch probabilities, in their type and on their device."""

    def gradients(self, weights: Tensor, switch: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) derivatives with respect to weights and switch of the sum of gradient (Q, L) times dosage."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostKernels:
    """The compiled kernels of the host, for tensors wherever they lie."""

    problem: CopyingProblem
    pool: ThreadPoolExecutor | None

    def dosage(self, weights: Tensor, switch: Tensor) -> Tensor:
        dosage = self.problem.dosage(_numpy(weights), _numpy(switch), pool=self.pool)
        return torch.from_numpy(dosage).to(weights.device)

    def gradients(self, weights: Tensor, switch: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        by_weight, by_switch = self.problem.gradients(
            _numpy(weights), _numpy(switch), _numpy(gradient), pool=self.pool
        )  # fmt: skip
        return torch.from_numpy(by_weight).to(weights.device), torch.from_numpy(by_switch).to(weights.device)


class Copy(torch.autograd.Function):
    """(Q, L) dosages of (M,) weights and switch probabilities, by given kernels."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, switch: Tensor, kernels: CopyingKernels) -> Tensor:
        ctx.save_for_backward(weights, switch)
        ctx.kernels = kernels
        return kernels.dosage(weights, switch)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, switch = ctx.saved_tensors
        return *ctx.kernels.gradients(weights, switch, gradients[0]), None


def copy_dosage(
    weights: Tensor,
    switch: Tensor,
    problem: CopyingProblem,
    *,
    pool: ThreadPoolExecutor | None = None,
) -> Tensor:
    """(Q, L) dosages, differentiable in (M,) weights and (M,) switch probabilities.

    Computed on a CUDA device by `copying.triton` where the weights lie there and Triton is installed: the problem is
    uploaded once for both passes. Otherwise by the host's kernels, in the pool's threads.

    Source of the gradient: the second derivatives of log Z, see `copying_gradient`.
    """
    kernels = kernels_on(weights.device, problem, pool, weights.dtype)
    return Copy.apply(weights, switch.clamp_min(MIN_SWITCH), kernels)  # type: ignore[no-any-return, no-untyped-call]


def kernels_on(
    device: torch.device,
    problem: CopyingProblem,
    pool: ThreadPoolExecutor | None,
    dtype: torch.dtype = torch.float32,
) -> CopyingKernels:
    """The fastest kernels that there are for tensors of a type on a device."""
    on_device = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    if not on_device or max(map(len, problem.candidates)) > MAX_DEVICE_CANDIDATES[dtype]:
        return HostKernels(problem, pool)
    # Triton comes with torch's builds for CUDA and no others.
    from vcfrag_core.copying.triton import DeviceProblem

    return DeviceProblem(problem, device)


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return array
