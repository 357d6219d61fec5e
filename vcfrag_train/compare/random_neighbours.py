"""Retrieval switched off: the same copying and the same trained model, given random haplotypes as candidates.

What accuracy is left then does not come from the neighbours.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.files.dosages import ImputedGenotypes
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import BoolArray, I8Array, IntArray
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.random import RandomRetriever


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
        threads: Threads of copying and of searches.
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
    with LocalRetriever(reference, threads=threads) as retriever:
        imputer = Imputer(
            reference,
            genetic_map,
            retriever=RandomRetriever(retriever, reference, seed=seed),
            threads=threads,
            corrector=corrector,
        )
        for window, probability in imputer.impute_windows(queries, observed, [EXTERNAL] * (2 * s)):
            dosage[window.start : window.stop] = probability.T
    pairs = dosage[wanted].reshape(len(wanted), s, 2)
    return ImputedGenotypes(
        found=np.ones(len(wanted), dtype=np.bool_),
        typed=np.zeros(len(wanted), dtype=np.bool_),
        dosage=pairs.sum(axis=2),
        posterior=accuracy.posterior_of_haplotypes(pairs).astype(np.float32),
        estimated_r2=np.full(len(wanted), np.nan),
        field="none",
    )
