"""From drawn phases to one: which orientation neighbouring heterozygotes have most often, and how draws lie to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array


def consensus(phases: I8Array, sets: Sequence[I64Array] = ()) -> tuple[I8Array, F32Array]:
    """The phase in which each two neighbouring heterozygotes are as in most draws, phase sets as they are.

    Args:
        phases: (D, n) allele of the first haplotype at n heterozygotes, one row for each draw.
        sets: Heterozygotes of each phase set, ascending, which lie to each other alike in all draws.

    Returns:
        (n,) allele of the first haplotype, 1 at the first heterozygote, and (n,) the share of draws in which it lies
        so to the heterozygote before; NaN at the first.
    """
    same = np.zeros(phases.shape[1])
    same[1:] = (phases[:, 1:] == phases[:, :-1]).mean(axis=0)
    return consensus_of_shares(same, phases[0], sets)


def consensus_of_shares(same: F64Array, one: I8Array, sets: Sequence[I64Array] = ()) -> tuple[I8Array, F32Array]:
    """As `consensus`, from how probable it is that each heterozygote has the allele of the one before.

    What is likeliest of each two neighbours may contradict a phase set that others stand between. There the pair that
    says least gives way.

    Args:
        same: (n,) the probabilities; the first one is not looked at.
        one: (n,) allele of the first haplotype in one draw, which has the phase sets as they are.
        sets: See `consensus`.
    """
    if not len(same):
        return np.zeros(0, dtype=np.int8), np.zeros(0, dtype=np.float32)
    turns = same < 0.5
    turns[0] = False
    for here, following in ((a, b) for mine in sets for a, b in itertools.pairwise(mine.tolist())):
        between = slice(here + 1, following + 1)
        if bool(turns[between].sum() % 2) != (one[here] != one[following]):
            turns[here + 1 + int(np.abs(same[between] - 0.5).argmin())] ^= True
    probability = np.where(turns, 1 - same, same).astype(np.float32)
    probability[0] = np.nan
    return np.asarray(1 - np.cumsum(turns) % 2, dtype=np.int8), probability


def turned_at(phases: I8Array, agreed: I8Array, hets_cm: F64Array, cm: F64Array) -> BoolArray:
    """(D, L) where the haplotypes of a draw stand in the other order than those of the consensus.

    Between two heterozygotes the nearer one tells.

    Args:
        phases: (D, n) allele of the first haplotype at n heterozygotes.
        agreed: (n,) that of the consensus.
        hets_cm: (n,) genetic positions of the heterozygotes.
        cm: (L,) those of the sites asked for.
    """
    if not len(agreed):
        return np.zeros((len(phases), len(cm)), dtype=np.bool_)
    nearest = np.searchsorted((hets_cm[1:] + hets_cm[:-1]) / 2, cm)
    return np.asarray((phases != agreed)[:, nearest])


def heterozygotes(genotypes: I8Array) -> I64Array:
    """(n,) sites with one ALT copy."""
    return np.flatnonzero(genotypes == 1)
