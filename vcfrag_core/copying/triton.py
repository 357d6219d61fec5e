"""A copying problem on a CUDA device: its bits lie there, and its dosages and gradients are made there by Triton."""

from __future__ import annotations

import math

import numpy as np
import torch
import triton
from torch import Tensor

from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.triton_kernels import dosage_kernel, gradient_kernel

# A warp has 32 lanes. With four states to a lane, next to nothing that a program carries along spills.
MIN_STATES = 32
STATES_OF_A_WARP = 128
MAX_WARPS = 16


class DeviceProblem:
    """What `CopyingProblem.dosage` and `CopyingProblem.gradients` compute, from tensors on a device.

    Bits, queries and candidates are uploaded once. Scratch is kept as long as a call and no longer: for each query
    about 2 sqrt(M) vectors of its candidates in `dosage` and 5 sqrt(M) in `gradients`.
    """

    def __init__(self, problem: CopyingProblem, device: torch.device) -> None:
        """Uploads the problem."""
        sites, counts = problem.sites, [len(candidates) for candidates in problem.candidates]
        self.n_queries, self.n_observed, self.n_sites = len(counts), len(sites.observed), len(sites.sites)
        self.states = max(MIN_STATES, triton.next_power_of_2(max(counts)))
        # Checkpoints and the rows of a block are fewest together where there are as many of the one as of the other.
        self.block = 8 * math.ceil(math.sqrt(self.n_observed) / 8)

        def uploaded(array: object) -> Tensor:
            return torch.tensor(array, device=device)

        self.observed, self.alleles = uploaded(problem.observed), uploaded(problem.alleles)
        self.queries = uploaded(problem.queries)
        self.candidates = uploaded(np.concatenate(problem.candidates))
        self.offsets = uploaded(np.concatenate([[0], np.cumsum(counts)]))
        self.starts = uploaded(np.searchsorted(sites.left, np.arange(self.n_observed + 1)).astype(np.int32))
        self.fraction = uploaded(sites.fraction)

    def dosage(self, weights: Tensor, switch: Tensor) -> Tensor:
        """(Q, L) dosages for (M,) weights and switch probabilities, in their type: float32 or float64."""
        dosage = weights.new_empty(self.n_queries, self.n_sites)
        scratch = [self._checkpoints(weights), self._rows(weights)]
        self._launch(dosage_kernel, weights, switch, *scratch, dosage)
        return dosage

    def gradients(self, weights: Tensor, switch: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) derivatives with respect to weights and switch of the sum of gradient (Q, L) times dosage."""
        by_weight = weights.new_empty(self.n_queries, self.n_observed)
        by_switch = torch.zeros_like(by_weight)
        scratch = [self._checkpoints(weights) for _ in range(2)] + [self._rows(weights) for _ in range(3)]
        self._launch(gradient_kernel, weights, switch, gradient.contiguous(), *scratch, by_weight, by_switch)
        return by_weight.sum(dim=0), by_switch.sum(dim=0)

    def _checkpoints(self, like: Tensor) -> Tensor:
        return like.new_empty(self.n_queries, math.ceil(self.n_observed / self.block), self.states)

    def _rows(self, like: Tensor) -> Tensor:
        return like.new_empty(self.n_queries, self.block, self.states)

    def _launch(self, kernel: triton.JITFunction, weights: Tensor, switch: Tensor, *arrays: Tensor) -> None:
        # Triton launches on the current device, which need not be that of the tensors.
        with torch.cuda.device_of(weights):  # type: ignore[no-untyped-call]
            kernel[(self.n_queries,)](
                self.observed,
                self.alleles,
                self.candidates,
                self.offsets,
                self.queries,
                torch.exp(-weights),
                switch.contiguous(),
                self.starts,
                self.fraction.to(weights.dtype),
                *arrays,
                self.observed.shape[1],
                self.n_observed,
                self.n_sites,
                self.block,
                STATES=self.states,
                num_warps=min(max(self.states // STATES_OF_A_WARP, 1), MAX_WARPS),
            )
