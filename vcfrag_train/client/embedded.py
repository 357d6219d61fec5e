"""A daemon inside this process, for runs that are given no address: the one door to vcfrag_indexd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.panel import Panel

GIB = 1024**3


@contextlib.contextmanager
def embedded_daemon(
    panels: Mapping[str, Panel],
    *,
    threads: int = 0,
    memory_budget_bytes: int = 2 * GIB,
    device_budget_bytes: int | None = None,
    engine: str = "auto",
    devices: tuple[int, ...] = (),
    max_missing_share: float = 0.05,
) -> Iterator[str]:
    """Address of a daemon on a kernel-chosen port of 127.0.0.1 that serves panels already in memory.

    Args:
        panels: By the name that `IndexClient.open_index` uses.
        threads: Its compute threads; 0 for one per core.
        memory_budget_bytes: For its segment indexes and searches.
        device_budget_bytes: Of the memory of each CUDA device of an engine that has some; nine tenths of what is free
            unless given.
        engine: As `vcfrag-indexd serve --engine`.
        devices: CUDA devices of an engine that has some; all unless given.
        max_missing_share: Share of the observed sites at which a query may lack a call.

    Raises:
        ConfigError: vcfrag-indexd is not installed, or the engine cannot be had.
    """
    try:
        from vcfrag_indexd.config.config import EngineConfig, LimitsConfig, ServeConfig
        from vcfrag_indexd.serving.server import running
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"no daemon address was given and there is none to start here ({error.name} is missing): "
            "run `pip install 'vcfrag-indexd[cpu]'`, or give --daemon HOST:PORT"
        ) from error
    config = ServeConfig(
        listen="127.0.0.1:0",
        engine=EngineConfig(name=engine, threads=threads, devices=devices),
        limits=LimitsConfig(
            memory_budget_bytes=memory_budget_bytes,
            device_budget_bytes=device_budget_bytes,
            max_missing_share=max_missing_share,
        ),
    )
    with running(config, panels=panels) as daemon:
        yield daemon.address
