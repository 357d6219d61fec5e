"""Inputs of the candidates up to their logarithms, which NumPy takes of all at once: compiled.

Each operation is NumPy's own, in its order.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import F32Array


@kernel
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


@kernel
def sum_up_candidates(four_TN: F32Array, allele_TN: F32Array, length_TN: F32Array, out_6N: F32Array) -> None:
    """Fills (6, N): of those that carry ALT, and of those that carry REF, each twice, the longest run, mass and share.

    Args:
        four_TN: Four times the posteriors.
        allele_TN: -1 REF, 1 ALT, 0 nobody.
        length_TN: Of the run, as an input.
        out_6N: Filled: two rows of each, ALT first.
    """
    out_6N[:] = 0
    for k in range(len(four_TN)):
        _sum_up(four_TN[k], allele_TN[k], length_TN[k], np.float32(1), out_6N[0], out_6N[2], out_6N[4])
        _sum_up(four_TN[k], allele_TN[k], length_TN[k], np.float32(-1), out_6N[1], out_6N[3], out_6N[5])
    for row in (4, 5):
        _divide_by_six(out_6N[row])


@leaf
def _sum_up(
    four: F32Array, allele: F32Array, length: F32Array, which: np.float32,
    longest: F32Array, mass: F32Array, count: F32Array,
) -> None:  # fmt: skip
    for n in range(len(four)):
        carries = np.float32(1) if allele[n] == which else np.float32(0)
        reached = length[n] * carries
        longest[n] = reached if reached > longest[n] else longest[n]
        mass[n] += four[n] * np.float32(0.25) * carries
        count[n] += carries


@leaf
def _divide_by_six(values: F32Array) -> None:
    for n in range(len(values)):
        values[n] /= np.float32(6)


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
