"""What several processes of one run tell each other; with a single process, nothing."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import distributed

from vcfrag_core.types import F32Array

T = TypeVar("T")


def several() -> bool:
    """Whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def everyones(value: T) -> list[T]:
    """The values of all processes, by rank."""
    if not several():
        return [value]
    values: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return [v for v in values if v is not None]


def of_first(value: T) -> T:
    """The value of the first process."""
    if not several():
        return value
    values: list[T] = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def weights_of_first(weights: F32Array) -> F32Array:
    """(V,) the first process's site weights, bit for bit."""
    return np.frombuffer(of_first(weights.tobytes()), dtype=np.float32)


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process says yes."""
    if not several():
        return flag
    votes = torch.tensor([int(flag)], device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return bool(votes.item())


def mean(value: float, device: torch.device) -> float:
    """The mean over all processes."""
    if not several():
        return value
    total = torch.tensor([value], device=device, dtype=torch.float64 if device.type == "cpu" else torch.float32)
    distributed.all_reduce(total)
    return float(total.item()) / distributed.get_world_size()
