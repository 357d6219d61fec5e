"""How many threads torch computes with, for as long as it matters: the setting is the whole process's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
_inside: list[int] = []


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many threads, 0 for as many as before; afterwards with as many as before.

    The order of torch's sums, and so the last bits of a training run, depend on the number. Where several threads are
    within it at a time, the first to come sets the number and the last to leave puts it back.
    """
    with _lock:
        if not _inside:
            _inside.append(torch.get_num_threads())
            torch.set_num_threads(count or _inside[0])
        _inside.append(count)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if len(_inside) == 1:
                torch.set_num_threads(_inside.pop())
