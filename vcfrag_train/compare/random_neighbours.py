"""Retrieval switched off: the same copying and the same trained model, given random haplotypes as candidates.

What accuracy is left then does not come from the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vcfrag_core.files.dosages import ImputedGenotypes
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL, QueryBlock, SearchResult
from vcfrag_core.scoring import metrics
from vcfrag_core.types import BoolArray, I8Array, I32Array, IntArray
from vcfrag_train.client.client import IndexClient, OpenIndex
from vcfrag_train.client.embedded import embedded_daemon
from vcfrag_train.impute.imputer import Imputer

_NAME = "panel"


class RandomNeighbours(IndexClient):
    """A client whose searches answer with random haplotypes, as many for each query as were found.

    Args:
        address: The daemon's.
        n_haplotypes: Haplotypes of its panel.
        seed: Of the draws; the same searches in the same order give the same haplotypes.
    """

    def __init__(self, address: str, *, n_haplotypes: int, seed: int) -> None:
        super().__init__(address)
        self._n_haplotypes = n_haplotypes
        self._generator = np.random.Generator(np.random.Philox(seed))

    def search(self, index: OpenIndex, block: QueryBlock, k: int) -> SearchResult:
        """One segment over the whole block, whose neighbours are drawn instead of searched."""
        found = super().search(index, block, k)
        counts = [len(set(found.ids[:, q].reshape(-1).tolist()) - {-1}) for q in range(len(block.samples))]
        ids = self._draw(counts)
        return SearchResult(
            starts=np.array([block.start], dtype=np.int32),
            stops=np.array([block.stop], dtype=np.int32),
            scales=np.zeros(1, dtype=np.int32),
            ids=ids[None],
            distances=np.where(ids[None] >= 0, np.float32(0), np.float32(np.inf)),
        )

    def _draw(self, counts: Sequence[int]) -> I32Array:
        """(Q, most) ids, each row filled up with -1."""
        ids = np.full((len(counts), max(counts)), -1, dtype=np.int32)
        for row, count in zip(ids, counts, strict=True):
            row[:count] = self._generator.choice(self._n_haplotypes, count, replace=False)
        return ids


def impute_unretrieved(
    reference: Panel,
    genetic_map: GeneticMap,
    alleles: I8Array,
    wanted: IntArray,
    *,
    corrector: Corrector | None = None,
    threads: int = 1,
    seed: int = 1,
) -> ImputedGenotypes:
    """Imputes diploid targets from random haplotypes.

    Args:
        reference: The panel without the targets.
        genetic_map: Its map.
        alleles: (V, S, 2) target alleles at all panel sites; -1 where not typed or missing.
        wanted: (n,) ascending panel sites to return.
        corrector: The trained model; copying alone without one.
        threads: Threads of the copying layer and of the daemon.
        seed: Of the draws.

    Returns:
        Dosages and probabilities at the wanted sites.

    Raises:
        RangeError: No site is typed.
    """
    v, s, _ = alleles.shape
    queries = np.ascontiguousarray(alleles.reshape(v, 2 * s).T)
    observed: BoolArray = np.asarray((queries >= 0).any(axis=0))
    dosage = np.empty((v, 2 * s), dtype=np.float32)
    with (
        embedded_daemon({_NAME: reference}, threads=threads, max_missing_share=1.0) as address,
        RandomNeighbours(address, n_haplotypes=reference.n_haplotypes, seed=seed) as client,
    ):
        imputer = Imputer(
            panel=reference,
            genetic_map=genetic_map,
            client=client,
            panel_name=_NAME,
            threads=threads,
            corrector=corrector,
        )
        for window, probability in imputer.impute(queries, observed, [EXTERNAL] * (2 * s)):
            dosage[window.start : window.stop] = probability.T
    pairs = dosage[wanted].reshape(len(wanted), s, 2)
    return ImputedGenotypes(
        found=np.ones(len(wanted), dtype=np.bool_),
        dosage=pairs.sum(axis=2),
        posterior=metrics.posterior_of_haplotypes(pairs).astype(np.float32),
        estimated_r2=np.full(len(wanted), np.nan),
        field="none",
    )
