"""Phases that pairs of few candidates made, refined under haploid chains over all whom any round thought of."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np

from vcfrag_core.phasing.chains import MAX_STEP_SITES, ChainModel, lay_steps, sweep
from vcfrag_core.phasing.consensus import consensus_of_shares, heterozygotes
from vcfrag_core.phasing.ranking import gather_neighbours, gather_rows
from vcfrag_core.phasing.rates import PathRates
from vcfrag_core.phasing.stretches import Stretches, switch_probabilities
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array, U64Array

# Rows of a window at most: so many that the donors of either haplotype before and after a doubtful place are there.
MAX_ROWS = 1024
MAX_GREEDY_SWEEPS = 4
# Over so long a stretch homozygous calls are looked at in one step.
MAX_STEP_CM = 0.005
# So many phases are swept at once that their backward values at the ends of all windows take no more.
ENDS_BYTES = 64 << 20


@dataclasses.dataclass(slots=True)
class ChainRows:
    """Rows that the haplotypes of one sample may copy in each window.

    Attributes:
        rows: (N, R) ascending.
        counts: (N, R) how often each was a candidate.
        sizes: (N,) how many there are.
        n_rows: Rows of the reference.
    """

    rows: I32Array
    counts: I32Array
    sizes: I64Array
    n_rows: int

    @classmethod
    def none(cls, n_windows: int, n_rows: int) -> Self:
        shape = (n_windows, min(MAX_ROWS, n_rows))
        return cls(
            rows=np.zeros(shape, dtype=np.int32),
            counts=np.zeros(shape, dtype=np.int32),
            sizes=np.zeros(n_windows, dtype=np.int64),
            n_rows=n_rows,
        )

    def add(self, candidates: I32Array, stretches: Stretches) -> None:
        """Adds the candidates of a round, (C, K)."""
        gather_rows(candidates, stretches.windows, self.n_rows, self.rows, self.counts, self.sizes)

    def add_neighbours(self, found: SearchResult, stretches: Stretches) -> None:
        """Adds whoever is near a query of the sample."""
        borders, n_rows = stretches.window_sites, self.n_rows
        gather_neighbours(found.ids, found.starts, found.stops, borders, n_rows, self.rows, self.counts, self.sizes)


def chain_model(
    words: U64Array, rows: ChainRows, stretches: Stretches, cm: F64Array, genotypes: I8Array, first: I8Array,
    set_starts: I64Array, rates: PathRates,
) -> ChainModel:  # fmt: skip
    """The chains of one sample.

    Args:
        words: (H, W) alleles of all haplotypes.
        rows: Whom its haplotypes may copy.
        stretches: The divisions of its sites.
        cm: (M,) genetic positions.
        genotypes: (M,) ALT copies, -1 missing.
        first: (M,) allele of the first haplotype at heterozygotes of known phase, -1 elsewhere.
        set_starts: Sites of known phase at which another phase set begins.
        rates: Of switches and mismatches.
    """
    flips, crosses = _free(first, set_starts)
    steps, windows = lay_steps(cm, genotypes, stretches.window_sites, MAX_STEP_SITES, MAX_STEP_CM)
    middle = (cm[steps[:-1]] + cm[steps[1:] - 1]) / 2
    return ChainModel(
        words=words,
        rows=rows.rows,
        sizes=rows.sizes,
        steps=steps,
        windows=windows,
        genotypes=genotypes,
        flips=flips,
        crosses=crosses,
        switch=switch_probabilities(np.diff(middle, prepend=middle[0]), rates.switch_per_cm),
        mismatch=rates.mismatch,
    )


def likeliest(model: ChainModel, phase: I8Array) -> I8Array:
    """(M,) a phase that no single decision makes likelier, from one nearby."""
    phases = phase[None].copy()
    for _ in range(MAX_GREEDY_SWEEPS):
        if not sweep(model, 0, True, 0, phases, np.zeros(len(phase))):
            break
    return np.asarray(phases[0])


def redrawn(
    model: ChainModel, key: int, phases: I8Array, n_agreeing: int, sets: Sequence[I64Array] = ()
) -> tuple[I8Array, F32Array]:
    """Draws phases anew, one sweep each and in place, and what the first of them agree on.

    Args:
        model: The sample.
        key: Of the random numbers.
        phases: (D, M) allele of the first haplotype at heterozygotes.
        n_agreeing: So many of them make the consensus.
        sets: Sites of each phase set.

    Returns:
        (n,) allele of the first haplotype at the n heterozygotes, and (n,) the probability that each lies so to the one
        before, the mean over draws of that given all other heterozygotes.
    """
    same, of_others = np.zeros((2, phases.shape[1]))
    at_once = max(1, ENDS_BYTES // (2 * 4 * model.rows.size))
    borders = sorted({*range(0, len(phases), at_once), min(n_agreeing, len(phases)), len(phases)})
    for begin, end in itertools.pairwise(borders):
        sweep(model, key, False, begin, phases[begin:end], same if begin < n_agreeing else of_others)
    hets = heterozygotes(model.genotypes)
    return consensus_of_shares(same[hets] / n_agreeing, phases[0, hets], [np.searchsorted(hets, mine) for mine in sets])


def phase_sets(first: I8Array, set_starts: I64Array) -> list[I64Array]:
    """Sites of each phase set that holds more than one; see `chain_model`."""
    known = np.flatnonzero(first >= 0)
    return [sites for sites in np.split(known, np.searchsorted(known, set_starts)) if len(sites) > 1]


def _free(first: I8Array, set_starts: I64Array) -> tuple[BoolArray, BoolArray]:
    """(M,) which sites may turn by themselves, and after which the rest may cross: nothing within a phase set."""
    flips, crosses = np.ones(len(first), dtype=np.bool_), np.ones(len(first), dtype=np.bool_)
    for sites in phase_sets(first, set_starts):
        flips[sites] = False
        crosses[sites[0] : sites[-1]] = False
    return flips, crosses
