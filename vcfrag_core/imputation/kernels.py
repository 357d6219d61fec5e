"""Compiled correction of what was only copied, after a few draws that the model corrected."""

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.types import F32Array


@numba.njit(cache=True, nogil=True)
def correct_between(copied_QL: F32Array, from_NL: F32Array, to_NL: F32Array, out_QL: F32Array) -> None:
    """Corrects dosages of one sample as a few others of its own are, by straight lines between these.

    At each site 0 stays 0, 1 stays 1, each of the few becomes what it was corrected to, and what lies between two of
    these points lies in the same place between what they become. Of points that are the same the last counts.

    Args:
        copied_QL: (Q, L) dosages in [0, 1].
        from_NL: (N, L) those of the few by copying.
        to_NL: (N, L) what they were corrected to.
        out_QL: (Q, L) filled.
    """
    one = np.float32(1)
    for q in range(len(copied_QL)):
        for s in range(copied_QL.shape[1]):
            x = copied_QL[q, s]
            low = low_to = np.float32(0)
            high = high_to = one
            for n in range(len(from_NL)):
                point = from_NL[n, s]
                if low <= point <= x:
                    low, low_to = point, to_NL[n, s]
                if x <= point <= high:
                    high, high_to = point, to_NL[n, s]
            share = (x - low) / (high - low) if high > low else np.float32(0)
            out_QL[q, s] = low_to * (one - share) + high_to * share
