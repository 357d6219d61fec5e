"""The windows of imputation, which follow from the map and the context alone."""

from __future__ import annotations

from typing import Final

from vcfrag_core.panel.windows import Window, lay_imputation_windows
from vcfrag_core.types import F64Array

MIN_CM_PER_WINDOW: Final = 4.0
FLANKS_PER_WINDOW: Final = 4.0
SITES_PER_WINDOW: Final = 32_768


def imputation_windows(cm: F64Array, flank_cm: float) -> list[Window]:
    """Windows over all sites, long against their flanks.

    Args:
        cm: (V,) genetic positions.
        flank_cm: Context on both sides of a window.
    """
    return lay_imputation_windows(
        cm,
        cm_per_window=max(MIN_CM_PER_WINDOW, FLANKS_PER_WINDOW * flank_cm),
        sites_per_window=SITES_PER_WINDOW,
        flank_cm=flank_cm,
    )
