"""Reads panels in the background, and again where a lack of memory or descriptors was in the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vcfrag_core.errors import ConfigError, PloidyError, UnknownContigError, VcfragError
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.config.panel_source import panel_source
from vcfrag_indexd.logs import get_log

PROGRESS_SECONDS = 2.0
log = get_log()


class PanelLoader:
    """Panels from memory and from files, taken into service one after another.

    Args:
        given: Panels in memory by name.
        files: Panel files by name, each a file or `FILE@REGION`.
        cache_dir: Where binary panel caches are kept.
        take: Told of every panel that is there.
        fail: Told of a panel that can never be served.
    """

    def __init__(
        self,
        given: Mapping[str, Panel],
        files: Mapping[str, Path],
        *,
        cache_dir: Path | None,
        take: Callable[[str, Panel], None],
        fail: Callable[[VcfragError], None],
    ) -> None:
        check_panels(files, given)
        self._given = dict(given)
        self._files = dict(files)
        self._cache_dir = cache_dir
        self._take = take
        self._fail = fail

    def load(self) -> None:
        """All that is not there yet; may be begun again after it failed."""
        try:
            for name, panel in list(self._given.items()):
                self._serve(name, panel)
                del self._given[name]
            for name, path in list(self._files.items()):
                log.info("reading panel", panel=name, file=str(path))
                self._serve(name, self._read(name, path))
                del self._files[name]
        except VcfragError as error:
            log.error("a panel cannot be served", reason=error.reason, error=str(error))
            self._fail(error)

    def _serve(self, name: str, panel: Panel) -> None:
        self._take(name, panel)
        log.info("panel ready", panel=name, sites=panel.n_sites, samples=panel.n_samples, contig=panel.contig)

    def _read(self, name: str, source: Path) -> Panel:
        from vcfrag_core.files.panel.cache import load_panels
        from vcfrag_core.files.panel.contigs import region_in

        said = time.monotonic()

        def progress(n_records: int) -> None:
            nonlocal said
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                log.info("reading panel", panel=name, records=n_records)

        path, region = panel_source(source)
        try:
            region = None if region is None else region_in(path, region)
            stretches = load_panels(path, region=region, cache_dir=self._cache_dir, progress=progress)
        except UnknownContigError as error:
            raise UnknownContigError(
                f"{error}. A name here stands for one contig: --panel {name}={path}@CONTIG"
            ) from error
        if len(stretches) > 1:
            regions = ", ".join(f"{part.contig}:{part.positions[0]}-{part.positions[-1]}" for part in stretches)
            raise PloidyError(
                f"samples have one haplotype in one part of {stretches[0].contig} and two in another, and a name here"
                f" stands for one part: serve each under a name of its own, NAME={path}@REGION, with {regions}",
                path=path,
            )
        return stretches[0]


def check_panels(files: Mapping[str, Path], given: Mapping[str, Panel]) -> None:
    """
    Raises:
        ConfigError: There is no panel, one twice, or no file where one should be.
    """
    if not files and not given:
        raise ConfigError("no panel: give at least one --panel NAME=FILE")
    both = sorted(set(files) & set(given))
    if both:
        raise ConfigError(f"panel {both[0]!r} is given twice")
    for name, source in files.items():
        path, _ = panel_source(source)
        if not path.is_file():
            raise ConfigError(f"panel {name!r}: there is no file {path}")
