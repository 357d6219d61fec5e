"""Cohorts whose phase is thrown away, a phaser for them, and what it got wrong: helpers of the tests of phasing."""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.phasing.parameters import PhasingParameters
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.phaser import Phaser
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import I8Array

PARAMETERS = PhasingParameters(
    scales=(8, 32), k=6, states=24, early_states=16, switch_per_cm=2.0, mismatch=1e-3, rounds=3, queries=2, draws=12,
    kept=4, copy_neighbours=True,
)  # fmt: skip


def without_phase(alleles: I8Array) -> Targets:
    """Targets with the alleles of each pair of (Q, V) haplotypes sorted, -1 missing."""
    pairs = np.sort(alleles.reshape(-1, 2, alleles.shape[1]), axis=1)
    targets = Targets.from_haplotypes(pairs.reshape(len(alleles), -1))
    is_het = (pairs[:, 0] != pairs[:, 1]) & (pairs[:, 0] >= 0)
    return dataclasses.replace(targets, phase_sets=np.where(is_het, UNPHASED, 0).astype(np.int32))


def phaser(panel: Panel, *, parameters: PhasingParameters = PARAMETERS, threads: int = 1) -> Phaser:
    positions = np.array([panel.positions[0], panel.positions[-1]], dtype=np.int64)
    genetic_map = GeneticMap(positions=positions, cm=np.array([0.0, 6.0]), contig=panel.contig)
    return Phaser(panel, genetic_map, parameters=parameters, threads=threads)


def switches(phased: Phased, truth: I8Array) -> tuple[int, int]:
    """Switches against the truth, and neighbouring heterozygotes."""
    wrong = pairs = 0
    for s in range(len(truth) // 2):
        mine, true = phased.consensus_of(s), truth[2 * s : 2 * s + 2][:, phased.sites]
        hets = np.flatnonzero((mine[0] != mine[1]) & (mine[0] >= 0))
        turned = mine[0, hets] != true[0, hets]
        wrong += int((turned[1:] != turned[:-1]).sum())
        pairs += max(0, len(hets) - 1)
    return wrong, pairs


def same_draws(one: Phased, other: Phased) -> bool:
    pairs = zip(one.drawn, other.drawn, strict=True)
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in pairs)
