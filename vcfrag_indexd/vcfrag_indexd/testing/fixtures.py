"""An in-process daemon for tests: yours as well as ours.

    from vcfrag_indexd.testing import serve, vcfrag_daemon   # the second is a pytest fixture

    def test_something(vcfrag_daemon):
        address = vcfrag_daemon({"panel": panel})            # panels in memory, or files
        with IndexClient(address) as client:
            ...

It is assembled by the code that production runs, listens on a port that the kernel chooses, and is gone at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from vcfrag_core.panel.panel import Panel
from vcfrag_core.search.engine import Engine
from vcfrag_indexd.config.config import EngineConfig, ServeConfig
from vcfrag_indexd.serving.server import Daemon, running

AnyPort = "127.0.0.1:0"


@contextlib.contextmanager
def serve(
    panels: Mapping[str, Panel | Path],
    config: ServeConfig | None = None,
    *,
    engine: Engine | str = "auto",
) -> Iterator[Daemon]:
    """A ready daemon on a kernel-chosen port of 127.0.0.1; `.address` is where.

    Args:
        panels: Panels in memory or panel files, by name.
        config: Everything else; its panels are added to.
        engine: An engine, or the name of one.
    """
    files = {name: panel for name, panel in panels.items() if not isinstance(panel, Panel)}
    held = {name: panel for name, panel in panels.items() if isinstance(panel, Panel)}
    base = config or ServeConfig(listen=AnyPort)
    if config is None and isinstance(engine, str):
        base = dataclasses.replace(base, engine=EngineConfig(name=engine, threads=1))
    base = dataclasses.replace(base, panels={**base.panels, **files})
    given = None if isinstance(engine, str) else engine
    with running(base, panels=held, engine=given) as daemon:
        yield daemon


@pytest.fixture
def vcfrag_daemon() -> Iterator[Callable[..., str]]:
    """A function (panels, config=None, engine="auto") -> address; every daemon it started is stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(
            panels: Mapping[str, Panel | Path], config: ServeConfig | None = None, *, engine: Engine | str = "auto"
        ) -> str:
            return stack.enter_context(serve(panels, config, engine=engine)).address

        yield start
