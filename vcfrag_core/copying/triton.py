"""A copying problem on a CUDA device: its bits lie there, and its dosages and gradients are made there by Triton."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.triton_kernels import dosage_kernel, gradient_kernel, sweep_kernel, tangent_sweep_kernel

MIN_STATES = 32
# So many warps keep a program's values in registers and what they wait for short.
STATES_OF_A_WARP, USUAL_WARPS = 128, 4
MAX_STATES_OF_A_WARP, MAX_WARPS = 512, 16
# Programs that work on blocks: some for each multiprocessor, with so much scratch together.
PROGRAMS_OF_A_MULTIPROCESSOR = 4
ROWS_BYTES = 256 * 1024 * 1024
# Vectors at the borders of blocks: for more, queries go one group after the other.
BORDERS_BYTES = 1024 * 1024 * 1024


class DeviceProblem:
    """What `CopyingProblem.dosage` and `CopyingProblem.gradients` compute, from tensors on a device.

    Bits, queries and candidates are uploaded once. Scratch is kept as long as a call and no longer: for each query
    about 10 sqrt(M) vectors of its candidates in `dosage` and 20 sqrt(M) in `gradients`, 1 GiB at most, and the
    programs' rows.
    """

    def __init__(self, problem: CopyingProblem, device: torch.device, *, borders_bytes: int = BORDERS_BYTES) -> None:
        """Uploads the problem; queries go in groups whose vectors at borders need no more than so many bytes."""
        sites, counts = problem.sites, [len(candidates) for candidates in problem.candidates]
        self.n_queries, self.n_observed, self.n_sites = len(counts), len(sites.observed), len(sites.sites)
        self.states = max(MIN_STATES, triton.next_power_of_2(max(counts)))
        # Short blocks keep more vectors at their borders; the rows of long ones do not stay in the cache.
        self.block = 8 * math.ceil(math.sqrt(self.n_observed) / 40)
        self.n_blocks = math.ceil(self.n_observed / self.block)
        self.warps = _warps(self.states)
        self.borders_bytes = borders_bytes

        self.observed, self.alleles = _COLUMNS.on(device, problem.observed), _COLUMNS.on(device, problem.alleles)
        self.queries = _uploaded(problem.queries, device)
        self.candidates = _uploaded(np.concatenate(problem.candidates), device)
        self.offsets = _uploaded(np.concatenate([[0], np.cumsum(counts)]), device)
        starts = np.searchsorted(sites.left, np.arange(self.n_observed + 1)).astype(np.int32)
        self.starts = _uploaded(starts, device)
        self.fraction = _uploaded(sites.fraction, device)

    def dosage(self, weights: Tensor, switch: Tensor) -> Tensor:
        """(Q, L) dosages for (M,) weights and switch probabilities, in their type: float32 or float64."""
        dosage = weights.new_empty(self.n_queries, self.n_sites)
        mismatch, switch, fraction = torch.exp(-weights), switch.contiguous(), self.fraction.to(weights.dtype)
        stride = self.observed.shape[1]
        # Triton launches on the current device, which need not be that of the tensors.
        with torch.cuda.device_of(weights):  # type: ignore[no-untyped-call]
            for some in self._groups(weights, 2):
                n, mine = some.stop - some.start, (self.offsets[some.start :], self.queries[some])
                forward, backward = (self._borders(weights, n) for _ in range(2))
                sweep_kernel[(n, 2)](
                    self.observed, self.candidates, *mine, mismatch, switch, forward, backward, stride,
                    self.n_observed, self.block, STATES=self.states, num_warps=self.warps,
                )  # fmt: skip
                rows = self._rows(weights, n, self.block + 1, 1)
                dosage_kernel[(len(rows[0]),)](
                    self.observed, self.alleles, self.candidates, *mine, mismatch, switch, self.starts, fraction,
                    forward, backward, *rows, dosage[some], stride, self.n_observed, self.n_sites, self.block,
                    n * self.n_blocks, STATES=self.states, num_warps=self.warps,
                )  # fmt: skip
        return dosage

    def gradients(self, weights: Tensor, switch: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) derivatives with respect to weights and switch of the sum of gradient (Q, L) times dosage."""
        by_weight = weights.new_empty(self.n_queries, self.n_observed)
        by_switch = torch.zeros_like(by_weight)
        mismatch, switch, fraction = torch.exp(-weights), switch.contiguous(), self.fraction.to(weights.dtype)
        gradient = gradient.contiguous()
        sizes = (self.observed.shape[1], self.n_observed, self.n_sites, self.block)
        with torch.cuda.device_of(weights):  # type: ignore[no-untyped-call]
            for some in self._groups(weights, 4):
                n = some.stop - some.start
                given = (
                    self.observed, self.alleles, self.candidates, self.offsets[some.start :], self.queries[some],
                    mismatch, switch, self.starts, fraction, gradient[some],
                    *(self._borders(weights, n) for _ in range(4)),
                )  # fmt: skip
                tangent_sweep_kernel[(n, 2)](*given, *sizes, STATES=self.states, num_warps=self.warps)
                rows = self._rows(weights, n, self.block, 3)
                gradient_kernel[(len(rows[0]),)](
                    *given, *rows, by_weight[some], by_switch[some], *sizes, n * self.n_blocks, STATES=self.states,
                    num_warps=self.warps,
                )  # fmt: skip
        return by_weight.sum(dim=0), by_switch.sum(dim=0)

    def _groups(self, like: Tensor, n_borders: int) -> list[slice]:
        """Queries whose vectors at borders have room together: as few groups of one size as may be."""
        size = n_borders * self.n_blocks * self.states * like.element_size()
        n_groups = min(math.ceil(self.n_queries * size / self.borders_bytes), self.n_queries)
        bounds = [i * self.n_queries // n_groups for i in range(n_groups + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(bounds)]

    def _borders(self, like: Tensor, n_queries: int) -> Tensor:
        return like.new_empty(n_queries, self.n_blocks, self.states)

    def _rows(self, like: Tensor, n_queries: int, n_rows: int, n_arrays: int) -> list[Tensor]:
        """Scratch for as many programs as are worth it."""
        size = n_arrays * n_rows * self.states * like.element_size()
        most = PROGRAMS_OF_A_MULTIPROCESSOR * _multiprocessors(like.device)
        programs = max(1, min(n_queries * self.n_blocks, most, ROWS_BYTES // size))
        return [like.new_empty(programs, n_rows, self.states) for _ in range(n_arrays)]


def _warps(states: int) -> int:
    """Warps of a program with so many states."""
    return min(max(1, min(states // STATES_OF_A_WARP, USUAL_WARPS), states // MAX_STATES_OF_A_WARP), MAX_WARPS)


def _multiprocessors(device: torch.device) -> int:
    """Of a CUDA device; 1 in Triton's interpreter."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 1


def _uploaded(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; nobody waits for the copy to a CUDA device."""
    tensor = torch.tensor(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class _Columns:
    """Panel columns on devices, those that were asked for last: the batches of a visit have the same."""

    def __init__(self, max_kept: int) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[tuple[int, str], tuple[NDArray[Any], Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def on(self, device: torch.device, columns: NDArray[Any]) -> Tensor:
        """The columns on a device; they must not be changed afterwards."""
        key = (id(columns), str(device))
        with self._lock:
            # The array is kept with its copy, so that no other can get its number.
            if key not in self._kept:
                self._kept[key] = (columns, _uploaded(columns, device))
                if len(self._kept) > self._max_kept:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key][1]


_COLUMNS = _Columns(max_kept=8)
