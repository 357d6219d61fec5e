"""The indexes that a run has open, on one daemon or several, least recently used closed first."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity, split_digest
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_core.window.retriever import IndexSpec, OpenedIndex, Retriever


class OpenIndexes:
    """Opens the index of a mask and a metric when a batch first asks for it. Safe in threads.

    Args:
        retrievers: One for each daemon; window n is asked of number n modulo how many there are.
        panel_digest: The panel's digest.
        max_open: Indexes kept open on each daemon.
    """

    def __init__(self, retrievers: Sequence[Retriever], *, panel_digest: str, max_open: int = 16) -> None:
        self._retrievers = list(retrievers)
        self._panel_digest = panel_digest
        self._max_open = max_open * len(self._retrievers)
        self._open: collections.OrderedDict[tuple[int, Identity], OpenedIndex] = collections.OrderedDict()
        self._split_digests: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(
        self, window: int, split: Split, observed: BoolArray, weights: F32Array, parameters: CopyingParameters
    ) -> OpenedIndex:
        """The index for a window's searches, opened unless it is open.

        Args:
            window: Number of the window; chooses the daemon.
            split: The split.
            observed: (V,) the mask.
            weights: (V,) the metric.
            parameters: Give the layout.
        """
        spec = IndexSpec.of(
            self._panel_digest,
            split=split,
            observed=observed,
            weights=weights,
            parameters=parameters,
            known_split_digest=self._digest_of(split),
        )
        number = window % len(self._retrievers)
        key = (number, spec.identity)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        index = self._retrievers[number].open(spec)
        with self._lock:
            self._open[key] = index
            old = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._max_open)]
        for stale in old:
            stale.close()
        return index

    def close(self) -> None:
        """Closes what is open."""
        with self._lock:
            old = list(self._open.values())
            self._open.clear()
        for index in old:
            index.close()

    def _digest_of(self, split: Split) -> str:
        if split.name not in self._split_digests:
            self._split_digests[split.name] = split_digest(split)
        return self._split_digests[split.name]
