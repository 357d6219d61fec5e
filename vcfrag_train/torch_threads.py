"""How many threads torch computes with, for as long as it matters: the setting is the whole process's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many threads, 0 for as many as before; afterwards with as many as before.

    The order of torch's sums, and so the last bits of a training run, depend on the number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
