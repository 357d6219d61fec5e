"""Imputes one chunk of a manifest, which decides nothing: `run_chunk` leaves one file, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import resource
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError, TruncatedFileError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.output.cohort_sums import N_FEW, CohortSums, sums_at
from vcfrag_core.output.kernels import N_BASE
from vcfrag_core.output.records import both_alt, cells_of, independent_dosage
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.phasing.phaser import Phaser
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F32Array, I16Array, I64Array
from vcfrag_core.window.local import LocalRetriever
from vcfrag_train.imputing.imputers import corrector_for, dosages_of
from vcfrag_train.jobs.manifest import Chunk, Manifest, Stretch
from vcfrag_train.jobs.targets import read_targets
from vcfrag_train.reporter import SILENT, Reporter

# Most of the time goes into imputing, not into storing.
_LEVEL: Final = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk holds of some sites.

    Attributes:
        dosage: (L, S, 2) dosages in thousandths.
        sums: What they add to the cohort's sums.
        both: (L, S) thousandths as `OutputRecords` has them; None where all haplotypes are independent.
    """

    dosage: I16Array
    sums: CohortSums
    both: I16Array | None = None

    @classmethod
    def without_sites(cls, n_samples: int) -> Piece:
        """What stands for sites of which none is written."""
        sums = CohortSums(
            n_samples=n_samples,
            n_haplotypes=2 * n_samples,
            weight2=2 * n_samples,
            base=np.zeros((0, N_BASE), dtype=np.int64),
            few=np.zeros((0, 2, N_FEW), dtype=np.int64),
        )
        return cls(np.zeros((0, n_samples, 2), dtype=np.int16), sums)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCost:
    """What a chunk took: wall time, processor time, and the process's most memory so far."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


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
    started, worked = time.monotonic(), time.process_time()
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        for window, piece_number, piece in _pieces(manifest, chunk, opened, reporter):
            archive.writestr(_member(window, piece_number), _packed(piece))
        cost = ChunkCost(
            seconds=round(time.monotonic() - started, 3),
            cpu_seconds=round(time.process_time() - worked, 3),
            peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )
        archive.writestr("cost", json.dumps(dataclasses.asdict(cost)))
        archive.writestr("end", json.dumps(_mark(manifest, chunk)))
    return True


def chunk_file(folder: Path, chunk: Chunk) -> Path:
    """Where a chunk is kept; named by what it holds, so that other chunks of the same job never pass for it."""
    (w0, w1), (s0, s1) = chunk.windows, chunk.samples
    return folder / "chunks" / f"{chunk.stretch:04d}-w{w0:05d}-{w1:05d}-s{s0:07d}-{s1:07d}.zip"


def is_done(path: Path, manifest: Manifest, chunk: Chunk) -> bool:
    """Whether the chunk is there and whole, and of this manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("end")) == _mark(manifest, chunk))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError):
        return False


class ChunkReader:
    """The pieces of a chunk that is done; a context manager.

    Raises:
        TruncatedFileError: It is not there, or not whole.
    """

    def __init__(self, path: Path, manifest: Manifest, chunk: Chunk) -> None:
        if not is_done(path, manifest, chunk):
            raise TruncatedFileError(
                f"chunk {chunk.number} is not there or not whole; `vcfrag run-chunk` makes it", path=path
            )
        self._path = path
        self._number = chunk.number
        self._archive = zipfile.ZipFile(path)

    def __enter__(self) -> ChunkReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def cost(self) -> ChunkCost:
        """What it took."""
        return ChunkCost(**json.loads(self._archive.read("cost")))

    def piece(self, window: int, number: int) -> Piece:
        """Piece `number` of a window.

        Raises:
            TruncatedFileError: The file is damaged.
        """
        try:
            return _unpacked(self._archive.read(_member(window, number)))
        except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            raise TruncatedFileError(
                f"chunk {self._number} is damaged ({error}); remove it and run it again", path=self._path
            ) from error


@dataclasses.dataclass(frozen=True, slots=True)
class SitesOfPiece:
    """Which sites of a window are joined at once: piece `number` is of sites [start, stop), `written` those written."""

    number: int
    start: int
    stop: int
    written: I64Array


def pieces_of(window: Window, written: BoolArray, sites_per_piece: int) -> Iterator[SitesOfPiece]:
    """The pieces of a window."""
    for number, start in enumerate(range(window.start, window.stop, sites_per_piece)):
        stop = min(start + sites_per_piece, window.stop)
        yield SitesOfPiece(number, start, stop, start + np.flatnonzero(written[start:stop]))


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


def _member(window: int, number: int) -> str:
    return f"{window:05d}-{number:07d}"


def _packed(piece: Piece) -> bytes:
    buffer, sums = io.BytesIO(), piece.sums
    counts = np.array([sums.n_samples, sums.n_haplotypes, sums.weight2], dtype=np.int64)
    columns: dict[str, Any] = {"dosage": piece.dosage, "base": sums.base, "few": sums.few, "counts": counts}
    if piece.both is not None:
        columns["both"] = piece.both
    np.savez(buffer, **columns)
    return buffer.getvalue()


def _unpacked(data: bytes) -> Piece:
    with np.load(io.BytesIO(data), allow_pickle=False) as table:
        n_samples, n_haplotypes, weight2 = table["counts"].tolist()
        sums = CohortSums(
            n_samples=n_samples, n_haplotypes=n_haplotypes, weight2=weight2, base=table["base"], few=table["few"]
        )
        return Piece(table["dosage"], sums, table["both"] if "both" in table.files else None)


def _mark(manifest: Manifest, chunk: Chunk) -> dict[str, object]:
    return {"manifest": manifest.decisions, "windows": list(chunk.windows), "samples": list(chunk.samples)}


def require_same(what: str, where: str, planned: str, found: str) -> None:
    """Refuses what is not what the job was planned with.

    Raises:
        ProvenanceMismatchError: It is not.
    """
    if planned != found:
        raise ProvenanceMismatchError(f"the {what} {where} is not what the job was planned with; plan again")


def map_of(stretch: Stretch, panel: Panel) -> GeneticMap:
    """The genetic map that the job was planned with.

    Raises:
        ProvenanceMismatchError: The file holds another one now.
    """
    if stretch.map is None:
        genetic_map = GeneticMap.constant(panel.contig, int(panel.positions[0]), int(panel.positions[-1]))
    else:
        genetic_map = map_for(panel, Path(stretch.map))
    require_same("genetic map", stretch.map or "of 1 cM per Mb", stretch.map_digest, genetic_map.digest)
    return genetic_map
