"""Queries under one mask, over any window of it."""

from __future__ import annotations

import dataclasses

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import External
from vcfrag_core.types import BoolArray, F32Array, I8Array
from vcfrag_core.window.retriever import OpenedIndex
from vcfrag_core.window.window import MaskedWindow


@dataclasses.dataclass(frozen=True, slots=True)
class Masked:
    """An open index, and what every window under its mask has in common."""

    index: OpenedIndex
    observed: BoolArray
    weights: F32Array
    parameters: CopyingParameters
    alleles: I8Array
    samples: tuple[str | External, ...]
    ploidy: Ploidy

    def of(self, alleles: I8Array, samples: tuple[str | External, ...], ploidy: Ploidy) -> Masked:
        """The same of other queries."""
        return dataclasses.replace(self, alleles=alleles, samples=samples, ploidy=ploidy)

    def over(self, window: Window) -> MaskedWindow:
        """The queries over one window."""
        return MaskedWindow(
            window=window,
            observed=self.observed,
            weights=self.weights,
            parameters=self.parameters,
            alleles=self.alleles,
            samples=self.samples,
            ploidy=self.ploidy,
        )
