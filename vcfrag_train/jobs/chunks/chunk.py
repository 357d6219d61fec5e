"""Imputes one chunk of a manifest, which decides nothing: `run_chunk` leaves one file, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.outputs import part_maker
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.vcf.batches import batch_rows
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.memory import peak_bytes, release_compiler
from vcfrag_core.output.cohort_sums import sums_at
from vcfrag_core.output.records import OutputRecords, both_alt, cells_of, independent_dosage, records_at
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array, F64Array, I64Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_train.imputing.imputers import corrector_for, dosages_of
from vcfrag_train.imputing.min_r2 import with_min_r2
from vcfrag_train.jobs.chunks.certainty import Certainty, common_imputed
from vcfrag_train.jobs.chunks.chunk_file import (
    ChunkCost,
    ChunkWriter,
    Piece,
    chunk_file,
    is_done,
    mark_of,
    packed,
    pieces_of,
)
from vcfrag_train.jobs.chunks.joining import dosage_of, formatter_for, window_records
from vcfrag_train.jobs.manifest import Chunk, Manifest, Stretch, contigs_of, is_of_everybody, output_of, require_same
from vcfrag_train.jobs.maps import map_of
from vcfrag_train.jobs.targets import read_targets, target_reference_of
from vcfrag_train.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from vcfrag_core.phasing.phaser import Phaser


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
        genetic_map = map_of(manifest, folder, number, panel)
        self.targets = read_targets(folder, number, stretch)
        checkpoint = None if manifest.checkpoint is None else Path(manifest.checkpoint)
        corrector = corrector_for(stretch.copying_only, checkpoint, panel.digest, genetic_map.digest)
        imputer = Imputer(
            panel,
            genetic_map,
            retriever=LocalRetriever(panel, threads=threads),
            parameters=stretch.parameters,
            groups=dict(stretch.groups),
            threads=threads,
            corrector=corrector,
        )
        self.imputer = imputer.judged(**stretch.verdict) if stretch.verdict else imputer
        self._phaser = _phaser(stretch, panel, genetic_map, threads)
        self._draws = stretch.n_draws
        self._target_reference = target_reference_of(folder, number, stretch)
        require_same("model", "of this installation", stretch.method, self.imputer.method(self.targets.observed))
        self.windows = self.imputer.windows(self.targets.observed)
        self.counting, self.alt_counts = common_imputed(panel, self.targets.observed)
        counts = self.targets.ploidy.counts
        self.mixed = bool((counts != counts[0]).any())

    def phased(self, targets: Targets) -> Phased | None:
        """Targets and the draws of their phase; None where all phases are known."""
        if targets.phase_sets is None or self._phaser is None:
            return None
        return self._phaser.phase(targets, draws=self._draws, target_reference=self._target_reference)


def _phaser(stretch: Stretch, panel: Panel, genetic_map: GeneticMap, threads: int) -> Phaser | None:
    """What phases samples; None where all phases are known."""
    if not stretch.n_unphased:
        return None
    # Its kernels take part of a start.
    from vcfrag_core.phasing.phaser import Phaser

    return Phaser(panel, genetic_map, groups=dict(stretch.groups), threads=threads)


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
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        writer = ChunkWriter(archive)
        with _stored(manifest, chunk, opened, threads) as store:
            for made in _windows(manifest, chunk, opened, reporter):
                store(writer, made)
        cost = ChunkCost(
            seconds=round(time.monotonic() - started, 3),
            cpu_seconds=round(time.process_time() - worked, 3),
            peak_bytes=peak_bytes(),
        )
        writer.end(cost, mark_of(manifest, chunk))
    return True


class _ImputedWindow:
    """A window of a chunk: its pieces are made when they are asked for, and what they say of the samples is added up.

    Attributes:
        window: The window.
    """

    def __init__(
        self, window: Window, opened: OpenedStretch, batch: Targets, dosage: F32Array, both: F32Array | None
    ) -> None:
        self.window = window
        self._opened = opened
        self._batch = batch
        self._dosage = dosage
        self._both = both
        self._certainty = Certainty(batch.ploidy, opened.imputer.panel.n_haplotypes)

    def pieces(self, sites_per_piece: int) -> Iterator[Piece]:
        """The pieces of sites that are written."""
        return (piece for _, piece in self.placed(sites_per_piece))

    def placed(self, sites_per_piece: int) -> Iterator[tuple[I64Array, Piece]]:
        """Sites that are written, and their piece."""
        opened = self._opened
        for place in pieces_of(self.window, opened.targets.written, sites_per_piece):
            if not len(place.written):
                continue
            columns = place.written - self.window.start
            some = None if self._both is None else self._both[:, columns]
            piece = _piece(opened, place.written, self._dosage[:, columns], some, self._batch)
            counting = opened.counting[place.written]
            if piece.dosage is not None:
                self._certainty.add(piece.dosage[counting], opened.alt_counts[place.written][counting])
            yield place.written, piece

    def certainty(self) -> F64Array:
        """(2, S) what the pieces made so far say of the samples."""
        return self._certainty.sums()


_Store = Callable[[ChunkWriter, _ImputedWindow], None]


@contextlib.contextmanager
def _stored(manifest: Manifest, chunk: Chunk, opened: OpenedStretch, threads: int) -> Iterator[_Store]:
    """How a chunk's windows are kept: everybody's as the output has them, a batch's as rows or dosages."""
    if not is_of_everybody(manifest, chunk):
        rows = _rows_of(manifest, chunk, opened) if chunk.rows else None

        def store(writer: ChunkWriter, made: _ImputedWindow) -> None:
            placed = made.placed(manifest.sites_per_piece)
            pieces = (packed(piece if rows is None else rows(sites, piece)) for sites, piece in placed)
            writer.pieces(made.window.number, pieces)
            writer.samples(made.window.number, made.certainty())

        yield store
        return
    path, panel = output_of(manifest, opened.stretch.contig), opened.imputer.panel
    with ThreadPoolExecutor(threads) if threads > 1 else contextlib.nullcontext() as executor:
        maker = part_maker(path, manifest.output, contigs=contigs_of(manifest, path), executor=executor)

        def write(writer: ChunkWriter, made: _ImputedWindow) -> None:
            # What the report asks for.
            r2: list[F64Array] = []

            def written() -> Iterator[OutputRecords]:
                pieces = made.pieces(manifest.sites_per_piece)
                for records in window_records(manifest, made.window, panel, opened.targets, [pieces]):
                    r2.append(records.r2)
                    yield with_min_r2(records, manifest.min_r2)

            writer.part(made.window.number, written(), maker)
            writer.r2(made.window.number, np.concatenate(r2))
            writer.samples(made.window.number, made.certainty())

        yield write


def _rows_of(manifest: Manifest, chunk: Chunk, opened: OpenedStretch) -> Callable[[I64Array, Piece], Piece]:
    """What makes rows of the dosages of a batch's piece."""
    panel, formatter = opened.imputer.panel, formatter_for(manifest, opened.stretch.contig)
    first, last = chunk.samples[0] == 0, chunk.samples[1] == len(manifest.samples)

    def rows(sites: I64Array, piece: Piece) -> Piece:
        records = records_at(
            panel,
            sites,
            dosage=dosage_of([piece]),
            typed=opened.targets.observed[sites],
            sums=piece.sums,
            both=piece.both,
        )
        return Piece(None, piece.sums, rows=batch_rows(formatter, records, first=first, last=last))

    return rows


def _windows(manifest: Manifest, chunk: Chunk, opened: OpenedStretch, reporter: Reporter) -> Iterator[_ImputedWindow]:
    targets, imputer = opened.targets, opened.imputer
    batch = targets.of_samples(*chunk.samples, manifest.samples)
    todo = [w for w in opened.windows[slice(*chunk.windows)] if targets.written[w.start : w.stop].any()]
    total = sum(w.stop - w.start for w in todo)
    phased = opened.phased(batch) if todo else None
    batch = batch if phased is None else phased.targets
    done = 0
    with contextlib.closing(dosages_of(imputer, batch, phased, todo)) as dosages:
        for window, dosage, both in dosages:
            yield _ImputedWindow(window, opened, batch, dosage, both)
            done += window.stop - window.start
            reporter.sites(done, total)


def _piece(opened: OpenedStretch, sites: I64Array, dosage: F32Array, both: F32Array | None, batch: Targets) -> Piece:
    panel, ploidy, mixed = opened.imputer.panel, batch.ploidy, opened.mixed
    cells = cells_of(dosage, batch.alleles[:, sites], batch.observed[sites], ploidy)
    if both is None:
        return Piece(cells.dosage, sums_at(panel, sites, cells.believed, cells.known, ploidy, mixed=mixed))
    independent = independent_dosage(cells.believed, cells.known, both, ploidy)
    sums = sums_at(panel, sites, independent, cells.known, ploidy, mixed=mixed)
    return Piece(cells.dosage, sums, both_alt(both, cells.dosage, ploidy.every(cells.known)))
