"""The retrieval metric: one weight per site, on a grid that makes every distance exact.

Weights are multiples of 2**-10 in [0, 64]. A distance is a sum of weights, hence an
integer number of steps: it does not depend on the order of summation, on the batch or
on the engine, and equal distances are equal bits (docs/decisions/dyadic-metric.md).
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.errors import NotFiniteError, RangeError
from vcfrag_core.types import F32Array, FloatArray, I32Array

STEPS_PER_UNIT = 1024
MAX_WEIGHT = 64.0


def quantise(weights: FloatArray) -> F32Array:
    """(V,) weights rounded to the nearest multiple of 2**-10, float32.

    Raises:
        NotFiniteError: A weight is NaN or infinite.
        RangeError: A weight is negative or above 64.
    """
    _check_range(weights)
    # Adding 0 turns -0 into 0: equal metrics have equal bytes.
    whole = np.rint(np.asarray(weights, dtype=np.float64) * STEPS_PER_UNIT) + 0.0
    return (whole / STEPS_PER_UNIT).astype(np.float32)


def steps(weights: F32Array) -> I32Array:
    """(V,) quantised weights as int32 numbers of steps.

    Raises:
        NotFiniteError: A weight is NaN or infinite.
        RangeError: A weight is negative, above 64 or not a multiple of 2**-10.
    """
    _check_range(weights)
    scaled = np.asarray(weights, dtype=np.float64) * STEPS_PER_UNIT
    whole = np.rint(scaled)
    if not np.array_equal(whole, scaled):
        site = int(np.flatnonzero(whole != scaled)[0])
        raise RangeError(
            f"weight {weights[site]!r} of site {site} is not a multiple of 2**-10; use site_weights.quantise"
        )
    return whole.astype(np.int32)


def _check_range(weights: FloatArray) -> None:
    if not bool(np.isfinite(weights).all()):
        raise NotFiniteError(f"the weight of site {int(np.flatnonzero(~np.isfinite(weights))[0])} is not finite")
    bad = (weights < 0) | (weights > MAX_WEIGHT)
    if bool(bad.any()):
        site = int(np.flatnonzero(bad)[0])
        raise RangeError(f"weight {weights[site]} of site {site} is outside [0, {MAX_WEIGHT:g}]")
