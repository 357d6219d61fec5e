"""The copying layer for torch: compiled forward, hand-derived backward, gradients for weights and switch rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcfrag_core import copying_kernels as kernels
from vcfrag_core.copying import CopyingSites
from vcfrag_core.types import FloatArray, I8Array, I32Array, U8Array

PRUNE = 1e-4


class CopyingProblem:
    """What copying needs to know of one window, besides its parameters.

    Attributes:
        sites: Observed sites of the context and the window between them.
        packed: (H, ceil(V / 8)) panel bits.
        observed: (H, ceil(M / 8)) panel bits at the observed sites.
        queries: (Q, M) alleles, -1 where there is no call.
        candidates: Q arrays of panel rows, one or more each.
    """

    def __init__(
        self, sites: CopyingSites, packed: U8Array, observed: U8Array, queries: I8Array, candidates: Sequence[I32Array]
    ) -> None:
        self.sites = sites
        self.packed = packed
        self.observed = observed
        self.queries = queries
        self.candidates = candidates

    def dosage(
        self, weights: FloatArray, switch: FloatArray, *, prune: float = PRUNE, pool: ThreadPoolExecutor | None = None
    ) -> FloatArray:
        """(Q, L) dosages for (M,) weights and switch probabilities, in their type."""
        mismatch = np.exp(-weights)
        out = np.empty((len(self.queries), self.sites.stop - self.sites.start), dtype=mismatch.dtype)
        fraction = self.sites.fraction.astype(mismatch.dtype)

        def one(q: int) -> None:
            kernels.copy_dosage(
                self.observed,
                self.packed,
                self.candidates[q],
                self.queries[q],
                mismatch,
                switch,
                self.sites.start,
                self.sites.left,
                fraction,
                prune,
                out[q],
            )

        _each(one, len(self.queries), pool)
        return out

    def gradients(
        self, weights: FloatArray, switch: FloatArray, gradient: FloatArray, pool: ThreadPoolExecutor | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(M,) derivatives with respect to weights and switch of the sum of gradient (Q, L) times dosage."""
        mismatch = np.exp(-weights)
        by_weight = np.zeros((len(self.queries), len(weights)), dtype=mismatch.dtype)
        by_switch = np.zeros_like(by_weight)
        fraction = self.sites.fraction.astype(mismatch.dtype)

        def one(q: int) -> None:
            kernels.copy_gradient(
                self.observed,
                self.packed,
                self.candidates[q],
                self.queries[q],
                mismatch,
                switch,
                self.sites.start,
                self.sites.left,
                fraction,
                gradient[q],
                by_weight[q],
                by_switch[q],
            )

        _each(one, len(self.queries), pool)
        return by_weight.sum(axis=0), by_switch.sum(axis=0)


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


def _each(work: Callable[[int], None], count: int, pool: ThreadPoolExecutor | None) -> None:
    if pool is None:
        for q in range(count):
            work(q)
    else:
        list(pool.map(work, range(count)))
