"""A client for one panel: of the daemon that the user named, or of one that runs in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vcfrag_core.errors import PanelMismatchError
from vcfrag_core.panel.panel import Panel
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.wait import wait_until_ready


@contextlib.contextmanager
def panel_client(
    panel: Panel, address: str | None, *, threads: int, max_missing_share: float = 0.05
) -> Iterator[tuple[IndexClient, str]]:
    """The client, and the daemon's name for the panel.

    Args:
        panel: The panel.
        address: HOST:PORT of a running daemon; one is started here without it.
        threads: Compute threads of a daemon that is started.
        max_missing_share: Share of the observed sites at which a query may lack a call, of a daemon that is started.

    Raises:
        PanelMismatchError: The daemon does not serve this panel.
        ServiceError: It cannot be reached.
        ConfigError: There is none to start.
    """
    if address is None:
        from vcfrag_train.client.embedded import embedded_daemon

        daemon = embedded_daemon({"panel": panel}, threads=threads, max_missing_share=max_missing_share)
        with daemon as started, IndexClient(started) as client:
            yield client, "panel"
        return
    name = _served_name(address, panel)
    with IndexClient(address) as client:
        yield client, name


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
