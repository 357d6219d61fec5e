"""Few draws that stand for many: heterozygotes lie to each other in them about as often as they do in all."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array

# So many are drawn for each that is kept.
DRAWN_PER_KEPT: Final = 3
# A heterozygote is compared with the one so many places before.
_PLACES: Final = (1, 2, 4, 8)
# Weights and shares are whole numbers of these, so that sums are exact and every machine makes the same choice.
_PER_WEIGHT, _PER_SHARE = 64, 1024


def representatives(
    draws: I8Array, agreed: I8Array, probability: F32Array, cm: F64Array, n_chosen: int, *, switch_per_cm: float
) -> list[int]:
    """Draws whose mean tells most of what the mean of all would, the two that do so best first.

    Of pairs of heterozygotes the share of the chosen in which they lie otherwise than in consensus is to be as it
    should be, by least squares: for neighbours, as `probability` says, which is a mean of probabilities and knows more
    than a share of draws; for others, as in all draws. A pair counts by the probability that a haplotype is copied from
    one to the other without a switch.

    Args:
        draws: (D, n) allele of the first haplotype at n heterozygotes, each draw as likely as the others.
        agreed: (n,) that of the consensus.
        probability: (n,) of each heterozygote's lying so to the one before; the first one is not looked at.
        cm: (n,) genetic positions.
        n_chosen: How many draws.
        switch_per_cm: Rate of switches.

    Returns:
        Numbers of draws; all of them in order where no more are there.
    """
    if n_chosen >= len(draws):
        return list(range(len(draws)))
    excess = _excess(draws != agreed, probability, cm, switch_per_cm)
    products = excess @ excess.T
    return _pair_first(_exchanged(_grown(n_chosen, products), products), products)


def _excess(turned: BoolArray, probability: F32Array, cm: F64Array, switch_per_cm: float) -> F64Array:
    """(D, pairs) how far 0 or 1 in each draw is from the share that there should be, weighted; whole numbers."""
    parts = []
    for places in _PLACES:
        if turned.shape[1] <= places:
            break
        differs = turned[:, places:] != turned[:, :-places]
        share = 1 - probability[1:].astype(np.float64) if places == 1 else differs.mean(axis=0)
        weight = np.rint(_PER_WEIGHT * np.exp(-switch_per_cm / 2 * (cm[places:] - cm[:-places])))
        parts.append(weight * (_PER_SHARE * differs - np.rint(_PER_SHARE * share)))
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(turned), 1))


def _grown(n_chosen: int, products: F64Array) -> list[int]:
    """One draw after the other, each the best beside those before."""
    chosen: list[int] = []
    for _ in range(n_chosen):
        cost = np.diagonal(products) + 2 * products[:, chosen].sum(axis=1)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
    return chosen


def _exchanged(chosen: list[int], products: F64Array) -> list[int]:
    """While that makes the sum of squares smaller, one of the chosen is exchanged for another."""
    own = np.diagonal(products)
    while True:
        others = np.setdiff1d(np.arange(len(products)), chosen)
        with_all = products[:, chosen].sum(axis=1)
        gains = (own[others] + 2 * with_all[others])[None] + (own[chosen] - 2 * with_all[chosen])[:, None]
        gains -= 2 * products[chosen][:, others]
        leaves, enters = np.unravel_index(gains.argmin(), gains.shape)
        if gains[leaves, enters] >= 0:
            return chosen
        chosen[int(leaves)] = int(others[enters])


def _pair_first(chosen: list[int], products: F64Array) -> list[int]:
    """The same with the two that are best by themselves in front, the others ascending."""
    own = np.diagonal(products)[chosen]
    cost = own[:, None] + own[None] + 2 * products[chosen][:, chosen]
    np.fill_diagonal(cost, np.inf)
    pair = sorted(chosen[int(place)] for place in np.unravel_index(cost.argmin(), cost.shape))
    pair = pair if len(chosen) > 1 else chosen
    return [*pair, *sorted(set(chosen) - set(pair))]
