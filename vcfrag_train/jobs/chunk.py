"""Imputes one chunk of a manifest, which decides nothing: `run_chunk` leaves one file, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import resource
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.memory import release_compiler
from vcfrag_core.output.cohort_sums import sums_at
from vcfrag_core.output.records import both_alt, cells_of, independent_dosage
from vcfrag_core.panel.panel import Panel
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.phaser import Phaser
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array, I64Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_train.imputing.imputers import corrector_for, dosages_of
from vcfrag_train.jobs.chunk_file import (
    ChunkCost,
    Piece,
    chunk_file,
    is_done,
    map_of,
    mark_of,
    member,
    packed,
    pieces_of,
    require_same,
)
from vcfrag_train.jobs.manifest import Chunk, Manifest
from vcfrag_train.jobs.targets import read_targets
from vcfrag_train.reporter import SILENT, Reporter

# Most of the time goes into imputing, not into storing.
_LEVEL: Final = 1


class OpenedStretch:
    """A stretch that is ready for its chunks: panel, map and model, whose digests are the manifest's.

    Raises:
        ProvenanceMismatchError: Panel, map or model are not those that the job was planned with.
    """

    def __init__(self, manifest: Manifest, folder: Path, number: int, threads: int) -> None:
        stretch = manifest.stretches[number]
        self.stretch = stretch
        require_same("version of vcfrag", "installed here", manifest.version, importlib.metadata.version("vcfrag"))
        panel = load_panel(Path(stretch.panel), region=stretch.region, threads=threads, missing=manifest.panel_missing)
        require_same("panel", stretch.panel, stretch.panel_digest, panel.digest)
        genetic_map = map_of(stretch, panel)
        self.targets = read_targets(folder, number, panel.n_sites)
        checkpoint = None if manifest.checkpoint is None else Path(manifest.checkpoint)
        corrector = corrector_for(stretch.copying_only, checkpoint, panel.digest, genetic_map.digest)
        self.imputer = Imputer(
            panel,
            genetic_map,
            retriever=LocalRetriever(panel, threads=threads),
            parameters=stretch.parameters,
            groups=dict(stretch.groups),
            threads=threads,
            corrector=corrector,
        )
        self._phaser = Phaser(panel, genetic_map, groups=dict(stretch.groups), threads=threads)
        self._draws = manifest.draws
        require_same("model", "of this installation", stretch.method, self.imputer.method(self.targets.observed))
        self.windows = self.imputer.windows(self.targets.observed)

    def phased(self, targets: Targets) -> Phased | None:
        """Targets and the draws of their phase; None where all phases are known."""
        return None if targets.phase_sets is None else self._phaser.phase(targets, draws=self._draws)


def run_chunk(
    manifest: Manifest,
    folder: Path,
    number: int,
    *,
    threads: int = 1,
    opened: OpenedStretch | None = None,
    reporter: Reporter = SILENT,
) -> bool:
    """Imputes a chunk, unless it is there and whole; returns whether there was something to do.

    Args:
        manifest: The job.
        folder: Its folder.
        number: Which chunk.
        threads: Threads that search and copy.
        opened: The chunk's stretch, if it is opened already.
        reporter: Is told how it goes.

    Raises:
        RangeError: There is no such chunk.
        ProvenanceMismatchError: Panel, map or model are not those that the job was planned with.
    """
    chunk = manifest.chunk(number)
    path = chunk_file(folder, chunk)
    if is_done(path, manifest, chunk):
        return False
    opened = opened or OpenedStretch(manifest, folder, chunk.stretch, threads)
    path.parent.mkdir(exist_ok=True)
    release_compiler()
    started, worked = time.monotonic(), time.process_time()
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        for window, piece_number, piece in _pieces(manifest, chunk, opened, reporter):
            archive.writestr(member(window, piece_number), packed(piece))
        cost = ChunkCost(
            seconds=round(time.monotonic() - started, 3),
            cpu_seconds=round(time.process_time() - worked, 3),
            peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )
        archive.writestr("cost", json.dumps(dataclasses.asdict(cost)))
        archive.writestr("end", json.dumps(mark_of(manifest, chunk)))
    return True


def _pieces(
    manifest: Manifest, chunk: Chunk, opened: OpenedStretch, reporter: Reporter
) -> Iterator[tuple[int, int, Piece]]:
    targets, imputer = opened.targets, opened.imputer
    batch = targets.of_samples(*chunk.samples, manifest.samples)
    todo = [w for w in opened.windows[slice(*chunk.windows)] if targets.written[w.start : w.stop].any()]
    total = sum(w.stop - w.start for w in todo)
    phased = opened.phased(batch) if todo else None
    batch = batch if phased is None else phased.targets
    mixed = bool((targets.ploidy.counts != targets.ploidy.counts[0]).any())
    done = 0
    found = dosages_of(imputer, batch, phased, todo)
    with contextlib.closing(found) as dosages:
        for window, dosage, both in dosages:
            for place in pieces_of(window, targets.written, manifest.sites_per_piece):
                if len(place.written):
                    columns = place.written - window.start
                    some = None if both is None else both[:, columns]
                    made = _piece(imputer.panel, place.written, dosage[:, columns], some, batch, mixed)
                    yield window.number, place.number, made
            done += window.stop - window.start
            reporter.sites(done, total)


def _piece(
    panel: Panel, sites: I64Array, dosage: F32Array, both: F32Array | None, batch: Targets, mixed: bool
) -> Piece:
    ploidy = batch.ploidy
    cells = cells_of(dosage, batch.alleles[:, sites], batch.observed[sites], ploidy)
    if both is None:
        return Piece(cells.dosage, sums_at(panel, sites, cells.believed, cells.known, ploidy, mixed=mixed))
    independent = independent_dosage(cells.believed, cells.known, both, ploidy)
    sums = sums_at(panel, sites, independent, cells.known, ploidy, mixed=mixed)
    return Piece(cells.dosage, sums, both_alt(both, cells.dosage, ploidy.every(cells.known)))
