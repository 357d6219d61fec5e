"""How many threads torch computes with, for as long as it matters: the setting is the whole process's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
# For each of those who are within, the number as it was before the first of them came.
_before: list[int] = []


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many threads, 0 for as many as before; afterwards with as many as before.

    The order of torch's sums, and so the last bits of a training run, depend on the number. Where several threads are
    within it at a time, the first to come sets the number and the last to leave puts it back.
    """
    with _lock:
        first = not _before
        _before.append(torch.get_num_threads() if first else _before[0])
        if first and count:
            torch.set_num_threads(count)
    try:
        yield
    finally:
        with _lock:
            number = _before.pop()
            if not _before:
                torch.set_num_threads(number)
