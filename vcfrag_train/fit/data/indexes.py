"""The indexes that a run has open, on one daemon or several, least recently used closed first."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import PanelMismatchError, UnknownPanelError
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity, layout_digest, mask_digest, metric_digest, split_digest
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_train.client.client import IndexClient, OpenIndex


class OpenIndexes:
    """Opens the index of a mask and a metric when a batch first asks for it. Safe in threads.

    Args:
        clients: One for each daemon; window n is asked of client n modulo their number.
        panel_name: The daemons' name for the panel.
        panel_digest: The panel's digest here.
        most_open: Indexes kept open on each daemon.

    Raises:
        UnknownPanelError: A daemon does not serve the panel.
        PanelMismatchError: It serves another panel under that name.
    """

    def __init__(
        self, clients: Sequence[IndexClient], *, panel_name: str, panel_digest: str, most_open: int = 16
    ) -> None:
        self._clients = list(clients)
        self._panel_name = panel_name
        self._panel_digest = panel_digest
        self._most_open = most_open * len(self._clients)
        self._open: collections.OrderedDict[tuple[int, Identity], OpenIndex] = collections.OrderedDict()
        self._split_digests: dict[str, str] = {}
        self._lock = threading.Lock()
        for client in self._clients:
            self._check(client)

    def open(
        self, window: int, split: Split, observed: BoolArray, weights: F32Array, parameters: CopyingParameters
    ) -> OpenIndex:
        """The index for a window's searches, opened unless it is open.

        Args:
            window: Number of the window; chooses the daemon.
            split: The split.
            observed: (V,) the mask.
            weights: (V,) the metric.
            parameters: Give the layout.
        """
        layout = layout_for(observed, parameters.scales, min_observed=parameters.min_observed)
        identity = Identity(
            panel=self._panel_digest,
            split=self._digest_of(split),
            mask=mask_digest(observed),
            metric=metric_digest(weights),
            layout=layout_digest(layout),
        )
        key = (self._number(window), identity)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        index = self._clients[key[0]].open_index(
            panel_name=self._panel_name,
            identity=identity,
            split=split,
            layout=layout,
            observed=observed,
            weights=weights,
        )
        with self._lock:
            self._open[key] = index
            old = [self._open.popitem(last=False) for _ in range(len(self._open) - self._most_open)]
        for (number, _), stale in old:
            self._clients[number].close_index(stale)
        return index

    def search(self, window: int, index: OpenIndex, block: QueryBlock, k: int) -> SearchResult:
        """Asks the window's daemon."""
        return self._clients[self._number(window)].search(index, block, k)

    def close(self) -> None:
        """Closes what is open."""
        with self._lock:
            old = list(self._open.items())
            self._open.clear()
        for (number, _), index in old:
            self._clients[number].close_index(index)

    def _number(self, window: int) -> int:
        return window % len(self._clients)

    def _digest_of(self, split: Split) -> str:
        if split.name not in self._split_digests:
            self._split_digests[split.name] = split_digest(split)
        return self._split_digests[split.name]

    def _check(self, client: IndexClient) -> None:
        panels = client.info().panels
        served = panels.get(self._panel_name)
        if served is None:
            raise UnknownPanelError(
                f"the daemon serves no panel {self._panel_name!r}, but {', '.join(panels) or 'none'}"
            )
        if served != self._panel_digest:
            raise PanelMismatchError(
                f"the panel differs: the daemon's {self._panel_name!r} is {served}, here it is {self._panel_digest}"
            )
