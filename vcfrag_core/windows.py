"""Windows of consecutive sites, and the context around each."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.types import F64Array


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Sites [start, stop), answered from the context [context_start, context_stop) and from nothing beyond it."""

    number: int
    start: int
    stop: int
    context_start: int
    context_stop: int


def lay_windows(cm: F64Array, sites_per_window: int, flank_cm: float) -> list[Window]:
    """Windows that cover all sites once, as even as `sites_per_window` at most allows, with their contexts.

    Args:
        cm: (V,) genetic position of every site, non-decreasing.
        sites_per_window: Most sites of a window.
        flank_cm: Genetic distance on both sides of a window that belongs to its context.

    Raises:
        ConfigError: sites_per_window < 1, or a flank that is negative.
    """
    if sites_per_window < 1 or not flank_cm >= 0:
        raise ConfigError(f"sites_per_window must be >= 1 and flank_cm >= 0, got {sites_per_window} and {flank_cm}")
    n_sites = len(cm)
    n_windows = -(-n_sites // sites_per_window)
    borders = [n_sites * i // n_windows for i in range(n_windows + 1)] if n_windows else [0]
    windows = []
    for number, (start, stop) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
        context_start = int(np.searchsorted(cm, cm[start] - flank_cm, side="left"))
        context_stop = int(np.searchsorted(cm, cm[stop - 1] + flank_cm, side="right"))
        windows.append(Window(number, start, stop, context_start, context_stop))
    return windows
