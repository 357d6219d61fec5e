"""The command that measures this machine's engines."""

from __future__ import annotations

from collections.abc import Callable

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.config.panel_source import panel_source
from vcfrag_indexd.engines.bench import measure


def bench_engines(settings: ServeConfig, seconds: float, say: Callable[[str], None]) -> None:
    """Measures the engines on the first panel that `serve` would hold, says what is found and keeps it.

    Raises:
        ConfigError: No panel is named.
        InputError: It cannot be read.
    """
    if not settings.panels:
        raise ConfigError("bench needs a panel to measure on: give --panel NAME=FILE")
    path, region = panel_source(next(iter(settings.panels.values())))
    panel = load_panel(path, region=region, cache_dir=settings.cache_dir)
    say(f"{panel.n_haplotypes} haplotypes x {panel.n_sites} sites; time of a search, cold and warm alike:")
    found = measure(
        panel,
        threads=settings.engine.threads,
        budget_bytes=settings.limits.memory_budget_bytes,
        seconds=seconds,
        say=say,
    )
    say(f"--engine auto takes {found.fastest} on this machine, as {found.store()} says")
