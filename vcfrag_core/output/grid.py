"""The grids on which a site's sums are whole numbers, and how many sums there are (`output.cohort_sums`)."""

from __future__ import annotations

from typing import Final

GRID: Final = float(2**30)
LOW_BITS: Final = 31
FINE: Final = float(2**40)
N_COVARIANCE: Final = 5
FIRST_COVARIANCE: Final = 9
N_BASE: Final = FIRST_COVARIANCE + N_COVARIANCE
