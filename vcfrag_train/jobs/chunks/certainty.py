"""What imputed common sites say of each sample's accuracy: sums that a chunk keeps for the report."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.output.genotypes import ONE
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F64Array, I16Array, I64Array

COMMON: Final = 0.01


class Certainty:
    """Adds up a window's sites for a batch of samples: explained variance, and all of it.

    The sums are of whole numbers, so that they do not depend on how a window is cut.

    Args:
        ploidy: Of the batch's samples.
        n_reference: Haplotypes of the panel.
    """

    def __init__(self, ploidy: Ploidy, n_reference: int) -> None:
        self._n_haplotypes = ploidy.counts.astype(np.float64)
        self._n_reference = n_reference
        # Σ d, Σ d², Σ c d and Σ c² of dosages d in thousandths and ALT counts c of the panel.
        self._sums: F64Array = np.zeros((4, ploidy.n_samples))

    def add(self, dosage: I16Array, counts: I64Array) -> None:
        """Adds sites.

        Args:
            dosage: (L, S, 2) thousandths, NONE where a sample has no second haplotype.
            counts: (L,) ALT alleles of the panel.
        """
        n_sites, n_samples, _ = dosage.shape
        d = np.maximum(dosage, 0).reshape(n_sites, 2 * n_samples).astype(np.float64)
        c = counts.astype(np.float64)
        one, mixed = np.stack([np.ones(n_sites), c]) @ d
        of_haplotypes = np.stack([one, np.einsum("lq,lq->q", d, d), mixed])
        self._sums[:3] += of_haplotypes.reshape(3, n_samples, 2).sum(axis=2)
        self._sums[3] += c @ c * self._n_haplotypes

    def sums(self) -> F64Array:
        """(2, S): Σ (p - f)², and that and Σ p (1 - p), over sites and haplotypes."""
        one, two, mixed, square = self._sums
        n = self._n_reference
        explained = two / ONE**2 - 2 * mixed / (ONE * n) + square / n**2
        return np.stack([explained, explained + one / ONE - two / ONE**2])


def common_imputed(panel: Panel, typed: BoolArray) -> tuple[BoolArray, I64Array]:
    """(V,) sites that count, and (V,) ALT alleles of the panel."""
    frequency = panel.alt_frequency()
    counts = np.rint(frequency * panel.n_haplotypes).astype(np.int64)
    return ~typed & (np.minimum(frequency, 1 - frequency) >= COMMON), counts
