"""Haplotype dosages as the probabilities of BGEN's layout 2, on the grid of so many bits.

Values are laid on the grid here so that those of a genotype sum to 1 there, too: each is rounded down, and the largest
remainders take what is left, as the specification asks (`Genotype data block`, layout 2).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.output.genotypes import N_PAIRS, NONE, ONE, pair_key, pair_of
from vcfrag_core.types import F64Array, I64Array, IntArray

BITS: Final = (8, 16)


class ProbabilityTable:
    """Probabilities by look-up: every pair of dosages is worked out once, when it first occurs (32 MB).

    Args:
        bits: 8 or 16, of every stored value.
        phased: Two alleles' probabilities of every haplotype, instead of those of the genotypes.
    """

    def __init__(self, bits: int, *, phased: bool) -> None:
        self._steps = 2**bits - 1
        self._phased = phased
        self._known = np.zeros(N_PAIRS, dtype=np.bool_)
        self._values = np.empty((N_PAIRS, 4 if phased else 3), dtype=np.float64)

    def rows(self, first: IntArray, second: IntArray, both: IntArray | None = None) -> F64Array:
        """(..., 4 or 3) values of pairs in thousandths; NaN beyond those of a lone one, where second is NONE.

        `both` is the probability that both carry ALT, NONE where they are independent; all are unless given.
        """
        keys = pair_key(first, second)
        new = np.unique(keys[~self._known[keys]])
        if len(new):
            self._values[new] = self._made(*pair_of(new)) / self._steps
            self._known[new] = True
        values = np.asarray(self._values[keys])
        if both is not None and not self._phased:
            dependent = both != NONE
            a, b, c = (each[dependent].astype(np.int64) for each in (first, second, both))
            shares = np.stack((ONE - a - b + c, a + b - 2 * c, c), axis=-1)
            values[dependent] = on_grid(shares, ONE, self._steps) / self._steps
        return values

    def _made(self, first: I64Array, second: I64Array) -> F64Array:
        lone = second == NONE
        a, b = first, np.where(lone, 0, second)
        if self._phased:
            pairs = [on_grid(np.stack((ONE - x, x), axis=-1), ONE, self._steps) for x in (a, b)]
            made = np.concatenate(pairs, axis=-1).astype(np.float64)
            made[lone, 2:] = np.nan
            return made
        shares = np.stack(((ONE - a) * (ONE - b), a * (ONE - b) + b * (ONE - a), a * b), axis=-1)
        made = on_grid(shares, ONE * ONE, self._steps).astype(np.float64)
        made[lone, 2] = np.nan
        return made


def on_grid(shares: I64Array, whole: int, steps: int) -> I64Array:
    """(n, K) shares of `whole` in so many steps, their sum kept: by largest remainder, the first on a tie."""
    floor, rest = np.divmod(shares * steps, whole)
    spare = steps - floor.sum(axis=-1)
    order = np.argsort(-rest, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(shares.shape[-1]), axis=-1)
    return np.asarray(floor + (rank < spare[:, None]), dtype=np.int64)
