"""Where a command's candidates come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vcfrag_core.panel.panel import Panel
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.retriever import Retriever


@contextlib.contextmanager
def retriever_for(panel: Panel, address: str | None, *, threads: int) -> Iterator[Retriever]:
    """A retriever of one panel: by the daemon that the user named, or in this process.

    Args:
        panel: The panel.
        address: HOST:PORT of a running daemon; None searches here, and imports neither gRPC nor the client.
        threads: Threads of a search here.

    Raises:
        PanelMismatchError: The daemon does not serve this panel.
        ServiceError: It cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        if address is None:
            yield stack.enter_context(LocalRetriever(panel, threads=threads))
            return
        from vcfrag_train.client.retriever import remote_retriever

        yield stack.enter_context(remote_retriever(panel, address))
