"""Retrieval by a daemon."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from vcfrag_core.errors import PanelMismatchError, UnknownPanelError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.window.retriever import IndexSpec
from vcfrag_train.client.client import IndexClient, IndexHandle
from vcfrag_train.client.wait import wait_until_ready


class RemoteRetriever:
    """Searches a panel that a daemon serves.

    Args:
        client: A client of the daemon.
        panel_name: The daemon's name for the panel.
        panel_digest: The panel's digest here.

    Raises:
        UnknownPanelError: The daemon does not serve the panel.
        PanelMismatchError: It serves another panel under that name.
    """

    def __init__(self, client: IndexClient, *, panel_name: str, panel_digest: str) -> None:
        info = client.info()
        served = info.panels.get(panel_name)
        if served is None:
            raise UnknownPanelError(
                f"the daemon serves no panel {panel_name!r}, but {', '.join(info.panels) or 'none'}"
            )
        if served != panel_digest:
            raise PanelMismatchError(
                f"the panel differs: the daemon's {panel_name!r} is {served}, here it is {panel_digest}"
            )
        self.max_missing_share = info.max_missing_share
        self._client = client
        self._panel_name = panel_name

    def open(self, spec: IndexSpec) -> RemoteIndex:
        """See `Retriever.open`."""
        index = self._client.open_index(
            panel_name=self._panel_name,
            identity=spec.identity,
            split=spec.split,
            layout=spec.layout,
            observed=spec.observed,
            weights=spec.weights,
        )
        return RemoteIndex(self._client, index)


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteIndex:
    """An index that is open on a daemon."""

    client: IndexClient
    index: IndexHandle

    @property
    def identity(self) -> Identity:
        return self.index.identity

    def search(self, block: QueryBlock, k: int) -> SearchResult:
        """See `OpenedIndex.search`."""
        return self.client.search(self.index, block, k)

    def close(self) -> None:
        """See `OpenedIndex.close`."""
        self.client.close_index(self.index)


@contextlib.contextmanager
def remote_retriever(panel: Panel, address: str) -> Iterator[RemoteRetriever]:
    """A retriever by a running daemon that serves this very panel, under whatever name.

    Raises:
        PanelMismatchError: The daemon does not serve it.
        ServiceError: It cannot be reached.
    """
    name = _served_name(address, panel)
    with IndexClient(address) as client:
        yield RemoteRetriever(client, panel_name=name, panel_digest=panel.digest)


def _served_name(address: str, panel: Panel) -> str:
    panels = wait_until_ready(address, lambda _, digest: digest == panel.digest).panels
    for name, digest in panels.items():
        if digest == panel.digest:
            return name
    there = ", ".join(f"{name} ({digest})" for name, digest in panels.items()) or "none"
    raise PanelMismatchError(
        f"the daemon at {address} does not serve {panel.source} ({panel.digest}); it has: {there}. Start one with"
        f" `vcfrag-indexd serve --panel NAME={panel.source}`, or leave --daemon out"
    )
