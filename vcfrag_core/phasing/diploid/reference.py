"""The posterior of phase over all pairs of haplotypes of a small panel: slow, obvious, and what the kernels must draw.

Every assignment of alleles to the two haplotypes is weighed by the probability that two independent haplotypes, each
copied from the panel, carry just these alleles: a sum over all pairs of copied haplotypes, site after site.
"""

from __future__ import annotations

import itertools

import numpy as np

from vcfrag_core.types import BoolArray, F64Array, I8Array, I64Array, IntArray, U8Array


def phase_posterior_reference(
    haplotypes: U8Array,
    genotypes: I8Array,
    switch: F64Array,
    mismatch: float,
    *,
    candidates: IntArray | None = None,
    sets: I64Array | None = None,
    first: I8Array | None = None,
) -> tuple[I8Array, F64Array, float]:
    """Every phase that the genotypes may have, and its posterior probability.

    Args:
        haplotypes: (H, M) alleles of the panel.
        genotypes: (M,) ALT copies, -1 missing; the phases double with each heterozygote.
        switch: (M,) probability of a switch before each site; a panel's haplotype that is no candidate any more is
            left besides.
        mismatch: Probability that an allele differs from the copied one.
        candidates: (M, K) rows that may be copied at each site, in any order; all unless given.
        sets: (M,) number of the phase set at each heterozygote of known phase, -1 elsewhere; sets follow each other.
        first: (M,) allele of a set's first haplotype there.

    Returns:
        (C, n) alleles of the first haplotype at the n heterozygotes, (C,) probabilities, and the log likelihood.
    """
    m = len(genotypes)
    if candidates is None:
        candidates = np.broadcast_to(np.arange(len(haplotypes)), (m, len(haplotypes)))
    hets = np.flatnonzero(genotypes == 1)
    every = list(itertools.product((0, 1), repeat=len(hets)))
    phases = np.array(every, dtype=np.int8).reshape(len(every), len(hets))
    phases = phases[[_keeps_sets(phase, hets, sets, first) for phase in phases]]
    weights = np.empty(len(phases))
    for c, phase in enumerate(phases):
        one, other = (genotypes // 2).astype(np.int8), (genotypes // 2).astype(np.int8)
        one[hets], other[hets] = phase, 1 - phase
        weights[c] = _pair_likelihood(haplotypes, one, other, genotypes >= 0, switch, mismatch, candidates)
    total = float(weights.sum())
    # Both orders of each set are one and the same observation, of which either half is meant.
    known = 0 if sets is None else len(set(sets[sets >= 0].tolist()))
    return phases, weights / total, float(np.log(total) - known * np.log(2.0))


def _keeps_sets(phase: I8Array, hets: I64Array, sets: I64Array | None, first: I8Array | None) -> bool:
    """Whether a phase turns each set as a whole or not at all."""
    if sets is None or first is None:
        return True
    turned: dict[int, bool] = {}
    for allele, site in zip(phase.tolist(), hets.tolist(), strict=True):
        if sets[site] >= 0 and turned.setdefault(int(sets[site]), allele != first[site]) != (allele != first[site]):
            return False
    return True


def _pair_likelihood(
    haplotypes: U8Array,
    one: I8Array,
    other: I8Array,
    called: BoolArray,
    switch: F64Array,
    mismatch: float,
    candidates: IntArray,
) -> float:
    """P(both haplotypes' alleles), summed over all pairs of copied haplotypes."""
    h = len(haplotypes)
    pairs = np.zeros((h, h))
    for m in range(len(one)):
        here = np.zeros(h)
        here[candidates[m]] = 1.0 / candidates.shape[1]
        if m == 0:
            pairs = np.outer(here, here)
        else:
            leaves = np.where(here > 0, 0.0, 1.0)
            change = np.diag(1 - leaves) + np.outer(leaves, here)
            change = change @ ((1 - switch[m]) * np.eye(h) + switch[m] * np.outer(np.ones(h), here))
            pairs = change.T @ pairs @ change
        if called[m]:
            copied_one = np.where(haplotypes[:, m] == one[m], 1 - mismatch, mismatch)
            copied_other = np.where(haplotypes[:, m] == other[m], 1 - mismatch, mismatch)
            pairs = pairs * np.outer(copied_one, copied_other)
    return float(pairs.sum())
