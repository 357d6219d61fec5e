"""Inputs of the candidates up to their logarithms, which NumPy takes of all at once: compiled.

Each operation is NumPy's own, in its order.
"""

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.leaf import leaf
from vcfrag_core.types import F32Array


@numba.njit(cache=True, nogil=True)
def begin_candidate_inputs(raw_FTN: F32Array, least: np.float32, per_cm: np.float32, out_FTN: F32Array) -> None:
    """Fills (20, T, N) inputs from (12, T, N) features: number 1 and those from number 4 on before their logarithm.

    Args:
        raw_FTN: Features as of `evidence.CANDIDATE_FEATURES`.
        least: Added to a posterior.
        per_cm: Factor of lengths.
        out_FTN: Filled.
    """
    for k in range(raw_FTN.shape[1]):
        _take(raw_FTN[0, k], out_FTN[1, k])
        _take(raw_FTN[1, k], out_FTN[2, k])
        _begin_posterior(out_FTN[0, k], out_FTN[1, k], out_FTN[2, k], out_FTN[3, k], least)
        for i in range(4):
            _take(raw_FTN[4 + i, k], out_FTN[8 + i, k])
            _add_one(out_FTN[8 + i, k])
        for kind in range(3):
            at, to = (2, 4) if kind == 0 else (6 + 2 * kind, 8 + 4 * kind)
            _take(raw_FTN[at, k], out_FTN[to, k])
            _take(raw_FTN[at + 1, k], out_FTN[to + 1, k])
            _begin_lengths(out_FTN[to, k], out_FTN[to + 1, k], out_FTN[to + 2, k], out_FTN[to + 3, k], per_cm)


@leaf
def _take(raw_N: F32Array, out_N: F32Array) -> None:
    for n in range(len(out_N)):
        out_N[n] = raw_N[n]


@leaf
def _begin_posterior(
    four: F32Array, posterior: F32Array, allele: F32Array, signed: F32Array, least: np.float32
) -> None:
    for n in range(len(posterior)):
        p = posterior[n]
        four[n] = p * np.float32(4)
        signed[n] = p * np.float32(4) * allele[n]
        posterior[n] = p + least


@leaf
def _add_one(values: F32Array) -> None:
    for n in range(len(values)):
        values[n] += np.float32(1)


@leaf
def _begin_lengths(left: F32Array, right: F32Array, both: F32Array, shorter: F32Array, per_cm: np.float32) -> None:
    one = np.float32(1)
    for n in range(len(left)):
        a, b = left[n], right[n]
        left[n], right[n] = a * per_cm + one, b * per_cm + one
        both[n], shorter[n] = (a + b) * per_cm + one, (a if a < b else b) * per_cm + one
