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
    return _with_contexts(cm, borders, flank_cm)


def lay_imputation_windows(
    cm: F64Array, *, cm_per_window: float, sites_per_window: int, flank_cm: float
) -> list[Window]:
    """Windows of about equal genetic length: long against their flanks, since each flank is copied twice.

    Args:
        cm: (V,) genetic position of every site, non-decreasing.
        cm_per_window: Longest genetic length of a window.
        sites_per_window: Most sites of a window; longer ones are divided evenly.
        flank_cm: Genetic distance on both sides of a window that belongs to its context.

    Raises:
        ConfigError: A length that is not positive, or a flank that is negative.
    """
    if not cm_per_window > 0 or sites_per_window < 1 or not flank_cm >= 0:
        raise ConfigError(
            f"cm_per_window must be > 0, sites_per_window >= 1 and flank_cm >= 0, "
            f"got {cm_per_window}, {sites_per_window} and {flank_cm}"
        )
    if len(cm) == 0:
        return []
    n_coarse = max(1, int(np.ceil((cm[-1] - cm[0]) / cm_per_window)))
    coarse = np.searchsorted(cm, np.linspace(cm[0], cm[-1], n_coarse + 1)[1:-1]).tolist()
    borders = [0]
    for stop in [*coarse, len(cm)]:
        start = borders[-1]
        pieces = -(-(stop - start) // sites_per_window)
        borders.extend(start + (stop - start) * i // pieces for i in range(1, pieces + 1))
    return _with_contexts(cm, borders, flank_cm)


def _with_contexts(cm: F64Array, borders: list[int], flank_cm: float) -> list[Window]:
    windows = []
    for number, (start, stop) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
        context_start = int(np.searchsorted(cm, cm[start] - flank_cm, side="left"))
        context_stop = int(np.searchsorted(cm, cm[stop - 1] + flank_cm, side="right"))
        windows.append(Window(number, start, stop, context_start, context_stop))
    return windows
