"""A chunk's file: pieces of a window's sites, with their sums, what they took, and a mark that all is there."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError, TruncatedFileError
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.output.cohort_sums import N_FEW, CohortSums
from vcfrag_core.output.kernels import N_BASE
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import BoolArray, I16Array, I64Array
from vcfrag_train.jobs.manifest import Chunk, Manifest, Stretch


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


def chunk_file(folder: Path, chunk: Chunk) -> Path:
    """Where a chunk is kept; named by what it holds, so that other chunks of the same job never pass for it."""
    (w0, w1), (s0, s1) = chunk.windows, chunk.samples
    return folder / "chunks" / f"{chunk.stretch:04d}-w{w0:05d}-{w1:05d}-s{s0:07d}-{s1:07d}.zip"


def is_done(path: Path, manifest: Manifest, chunk: Chunk) -> bool:
    """Whether the chunk is there and whole, and of this manifest.

    Raises:
        OSError: Too many files are open to tell.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("end")) == mark_of(manifest, chunk))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise
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
            return _unpacked(self._archive.read(member(window, number)))
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


def member(window: int, number: int) -> str:
    """The name of a window's piece in the file."""
    return f"{window:05d}-{number:07d}"


def packed(piece: Piece) -> bytes:
    """The piece as the file holds it."""
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


def mark_of(manifest: Manifest, chunk: Chunk) -> dict[str, object]:
    """What stands at the end of a chunk that is whole."""
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
