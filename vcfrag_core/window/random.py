"""Retrieval switched off: random haplotypes as candidates, as many for each query as were found.

What accuracy is left then does not come from the neighbours.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.candidates import union_of_neighbours
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.queries import External, QueryBlock, SearchResult
from vcfrag_core.types import I32Array
from vcfrag_core.window.retriever import IndexSpec, OpenedIndex, Retriever


class ReferenceRows:
    """Panel rows of a split's reference, by exclusion group."""

    def __init__(self, panel: Panel, split: Split) -> None:
        self._rows = panel.rows_of(split.reference).astype(np.int32)
        groups = [split.groups[name] for name in split.reference]
        self._groups = np.array(panel.ploidy_of(split.reference).of_haplotypes(groups))
        self._split = split

    def shown_to(self, sample: str | External) -> I32Array:
        """Rows that a query of this sample may be shown."""
        group = self._split.groups.get(sample) if isinstance(sample, str) else None
        shown: I32Array = self._rows if group is None else self._rows[self._groups != group]
        return shown


def random_candidates(
    candidates: Sequence[I32Array], allowed: Sequence[I32Array], generator: np.random.Generator
) -> list[I32Array]:
    """As many candidates for every query, drawn from its allowed panel rows instead of retrieved."""
    return [
        np.sort(generator.choice(rows, min(len(chosen), len(rows)), replace=False)).astype(np.int32)
        for chosen, rows in zip(candidates, allowed, strict=True)
    ]


class RandomRetriever:
    """Answers with random haplotypes in place of another retriever's.

    Args:
        retriever: Says how many there would be.
        panel: Its panel.
        seed: Of the draws; the same searches in the same order give the same haplotypes.
    """

    def __init__(self, retriever: Retriever, panel: Panel, *, seed: int) -> None:
        self._retriever = retriever
        self._panel = panel
        self._generator = np.random.Generator(np.random.Philox(seed))
        self._lock = threading.Lock()

    @property
    def max_missing_share(self) -> float:
        return self._retriever.max_missing_share

    def open(self, spec: IndexSpec) -> RandomIndex:
        """See `Retriever.open`."""
        return RandomIndex(self, self._retriever.open(spec), ReferenceRows(self._panel, spec.split))

    def draw(self, candidates: Sequence[I32Array], allowed: Sequence[I32Array]) -> list[I32Array]:
        """The next draws."""
        with self._lock:
            return random_candidates(candidates, allowed, self._generator)


class RandomIndex:
    """An index that a `RandomRetriever` opened."""

    def __init__(self, retriever: RandomRetriever, index: OpenedIndex, rows: ReferenceRows) -> None:
        self._retriever = retriever
        self._index = index
        self._rows = rows

    @property
    def identity(self) -> Identity:
        return self._index.identity

    def search(self, block: QueryBlock, k: int) -> SearchResult:
        """One segment over the whole block, whose neighbours are drawn instead of searched."""
        found = union_of_neighbours(self._index.search(block, k))
        drawn = self._retriever.draw(found, [self._rows.shown_to(sample) for sample in block.samples])
        ids = np.full((len(drawn), max(len(mine) for mine in drawn)), -1, dtype=np.int32)
        for row, mine in zip(ids, drawn, strict=True):
            row[: len(mine)] = mine
        return SearchResult(
            starts=np.array([block.start], dtype=np.int32),
            stops=np.array([block.stop], dtype=np.int32),
            scales=np.zeros(1, dtype=np.int32),
            ids=ids[None],
            distances=np.where(ids[None] >= 0, np.float32(0), np.float32(np.inf)),
        )

    def close(self) -> None:
        """See `OpenedIndex.close`."""
        self._index.close()
