"""A chunk's file: pieces of a window's sites, with their sums, what they took, and a mark that all is there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

import numpy as np
from zlib_ng import zlib_ng

from vcfrag_core.errors import TruncatedFileError
from vcfrag_core.files.vcf.batches import BatchRows
from vcfrag_core.output.cohort_sums import N_FEW, CohortSums
from vcfrag_core.output.grid import N_BASE
from vcfrag_core.output.records import OutputRecords
from vcfrag_core.output.writer import PartMaker
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import BoolArray, F64Array, I16Array, I64Array
from vcfrag_train.jobs.manifest import Chunk, Manifest

# Sites, samples, haplotypes, squared weights, which arrays there are, their bytes, fields and bytes of the rows.
_HEAD: Final = struct.Struct("<8q")
# Most of the time goes into imputing, not into storing.
_LEVEL: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk holds of some sites.

    Attributes:
        dosage: (L, S, 2) dosages in thousandths; None where the chunk keeps them as the output has them.
        sums: What they add to the cohort's sums.
        both: (L, S) thousandths as `OutputRecords` has them; None where all haplotypes are independent.
        rows: The samples' cells, where the chunk keeps them so.
    """

    dosage: I16Array | None
    sums: CohortSums
    both: I16Array | None = None
    rows: BatchRows | None = None

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


class ChunkWriter:
    """Writes a chunk's file, whose windows are members of a zip archive, each written from front to end.

    Args:
        archive: The archive, not compressed: what is written is.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def pieces(self, window: int, pieces: Iterable[bytes]) -> None:
        """Writes the pieces of a window, as `packed` makes them."""
        with self._archive.open(_pieces_of(window), "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece)

    def part(self, window: int, records: Iterable[OutputRecords], maker: PartMaker) -> None:
        """Writes a window as the output has it."""
        with self._archive.open(_part_of(window), "w", force_zip64=True) as file:
            table = maker.write(cast(BinaryIO, file), records)
        self._archive.writestr(_table_of(window), table)

    def samples(self, window: int, certainty: F64Array) -> None:
        """Writes (2, S) what imputed common sites of a window add to the samples' estimated r²."""
        self._archive.writestr(_samples_of(window), certainty.astype("<f8").tobytes())

    def r2(self, window: int, r2: F64Array) -> None:
        """Writes (L,) R2 at the sites of a window that are written, which a chunk of everybody tells by itself."""
        self._archive.writestr(_r2_of(window), r2.astype("<f8").tobytes())

    def end(self, cost: ChunkCost, mark: Mapping[str, object]) -> None:
        """Says what it took, and that all is there."""
        self._archive.writestr("cost", json.dumps(dataclasses.asdict(cost)))
        self._archive.writestr("end", json.dumps(mark))


class ChunkReader:
    """The windows of a chunk that is done; a context manager.

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

    def pieces(self, window: int) -> Iterator[Piece]:
        """The pieces of a window that are written, one at a time.

        Raises:
            TruncatedFileError: The file is damaged.
        """
        with self._telling(), self._archive.open(_pieces_of(window)) as file:
            while head := file.read(_HEAD.size):
                yield _unpacked(head, file)

    def samples(self, window: int) -> F64Array:
        """(2, S) what `ChunkWriter.samples` wrote.

        Raises:
            TruncatedFileError: The file is damaged.
        """
        return self._numbers(_samples_of(window)).reshape(2, -1)

    def r2(self, window: int) -> F64Array:
        """(L,) what `ChunkWriter.r2` wrote.

        Raises:
            TruncatedFileError: The file is damaged.
        """
        return self._numbers(_r2_of(window))

    def has_part(self, window: int) -> bool:
        """Whether there is something of a window as the output has it."""
        return _part_of(window) in self._archive.NameToInfo

    def copy_part(self, window: int, file: BinaryIO) -> bytes:
        """Writes a window as the output has it, and returns its table.

        Raises:
            TruncatedFileError: The file is damaged.
        """
        with self._telling(), self._archive.open(_part_of(window)) as part:
            shutil.copyfileobj(part, file, 1 << 22)
            return self._archive.read(_table_of(window))

    def _numbers(self, member: str) -> F64Array:
        with self._telling():
            return np.frombuffer(self._archive.read(member), dtype="<f8")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            ValueError,
            struct.error,
        ) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
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


def _pieces_of(window: int) -> str:
    return f"{window:05d}"


def _part_of(window: int) -> str:
    return f"{window:05d}.part"


def _table_of(window: int) -> str:
    return f"{window:05d}.table"


def _samples_of(window: int) -> str:
    return f"{window:05d}.samples"


def _r2_of(window: int) -> str:
    return f"{window:05d}.r2"


def packed(piece: Piece) -> bytes:
    """The piece as the file holds it: a head, arrays, which shrink like text does, and rows, which are compressed."""
    sums = piece.sums
    arrays = [array.astype("<i8") for array in (sums.base, sums.few)]
    arrays += [array.astype("<i2") for array in (piece.dosage, piece.both) if array is not None]
    arrays += [] if piece.rows is None else [piece.rows.sizes.astype("<i8")]
    data = zlib_ng.compress(b"".join([array.tobytes() for array in arrays]), _LEVEL)
    there = (piece.dosage is not None) + 2 * (piece.both is not None)
    rows, n_fields = (b"", 0) if piece.rows is None else (piece.rows.data, piece.rows.sizes.shape[1])
    counts = (len(sums.base), sums.n_samples, sums.n_haplotypes, sums.weight2)
    return _HEAD.pack(*counts, there, len(data), n_fields, len(rows)) + data + rows


def _unpacked(head: bytes, file: IO[bytes]) -> Piece:
    n_sites, n_samples, n_haplotypes, weight2, there, size, n_fields, n_bytes = _HEAD.unpack(head)
    data = memoryview(zlib.decompress(file.read(size)))

    def array(dtype: str, *shape: int) -> np.ndarray[Any, Any]:
        nonlocal data
        count = math.prod(shape)
        made = np.frombuffer(data, dtype=dtype, count=count).reshape(shape)
        data = data[made.nbytes :]
        return made

    base, few = array("<i8", n_sites, N_BASE), array("<i8", n_sites, 2, N_FEW)
    dosage = array("<i2", n_sites, n_samples, 2) if there & 1 else None
    both = array("<i2", n_sites, n_samples) if there & 2 else None
    rows = None if not n_fields else BatchRows(file.read(n_bytes), array("<i8", n_sites, n_fields))
    sums = CohortSums(n_samples=n_samples, n_haplotypes=n_haplotypes, weight2=weight2, base=base, few=few)
    return Piece(dosage, sums, both, rows)


def mark_of(manifest: Manifest, chunk: Chunk) -> dict[str, object]:
    """What stands at the end of a chunk that is whole."""
    return {"manifest": manifest.decisions, "windows": list(chunk.windows), "samples": list(chunk.samples)}
