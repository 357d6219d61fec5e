"""What BGEN and PGEN have in common: their libraries write a file from its first record to its last.

So windows are kept as they are (`files.records`) in the parts folder until all are there.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np

from vcfrag_core.files.atomic import atomic_path, temporary_folder
from vcfrag_core.files.parts import PartsFolder
from vcfrag_core.files.records import read_records, write_records
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.hashing import text_digest
from vcfrag_core.output.genotypes import NONE
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import OutputRecords
from vcfrag_core.types import BoolArray

SEX_UNKNOWN: Final = 0
MALE: Final = 1
FEMALE: Final = 2
_LONGEST_ALLELES: Final = 1_000
# How Pgenlib says that it could not write, of what `close` or an append did.
_PGENLIB_CANNOT_WRITE: Final = re.compile(r"PgenWriter.* error 5\b")
# With less room on a disk than this, it is why something could not be written.
_NO_ROOM: Final = 1 << 20


class AssembledWriter(abc.ABC):
    """A `RecordWriter` that makes its files when all windows are there.

    Args:
        path: The output.
        contigs: Contigs in the order in which they are written.
        resume: Takes up the parts of an interrupted run; else they are removed.
        scratch: Folder of the parts; the output's own without it.

    Raises:
        ProvenanceMismatchError: The parts have other contigs.
    """

    def __init__(
        self, path: str | Path, *, contigs: Sequence[str], resume: bool = False, scratch: Path | None = None
    ) -> None:
        self.path = Path(path)
        self._parts = PartsFolder(self.path, contigs, {"records": "1"}, resume=resume, scratch=scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    def begin(self, contig: str, identity: Mapping[str, str], *, stretch: int = 0) -> None:
        """See `RecordWriter`."""
        self._parts.begin(contig, identity, stretch=stretch)

    def has(self, contig: str, number: int) -> bool:
        """Whether window `number` of the contig is written."""
        return self._parts.part(contig, number).exists()

    def write(self, contig: str, number: int, pieces: Iterable[OutputRecords]) -> None:
        """See `RecordWriter`."""
        self.put(contig, number, lambda file: RecordParts().write(file, pieces))

    def put(self, contig: str, number: int, make: Callable[[BinaryIO], bytes]) -> None:
        """See `RecordWriter`; there is no table."""
        with atomic_path(self._parts.part(contig, number)) as temporary, temporary.open("wb") as file:
            make(file)

    def finish(self, header: Header) -> int:
        """Makes the files in a folder of their own and moves them to their places, the output itself last."""
        with temporary_folder(self.path) as folder:
            with _as_the_system_says(self.path):
                n_records = self._make(folder / self.path.name, header)
            made = sorted(folder.iterdir(), key=lambda file: file.name == self.path.name)
            for file in made:
                file.replace(self.path.with_name(file.name))
        self._parts.remove()
        return n_records

    @abc.abstractmethod
    def _make(self, path: Path, header: Header) -> int:
        """Writes `path` and what belongs beside it; returns the number of records."""

    def _pieces(self) -> Iterator[OutputRecords]:
        """All records, in the output's order."""
        for contig in self._parts.contigs:
            for part in self._parts.parts(contig):
                yield from read_records(part)


@contextlib.contextmanager
def _as_the_system_says(path: Path) -> Iterator[None]:
    """SQLite, which writes BGEN's index, and Pgenlib have errors of their own where a file cannot be written."""
    try:
        yield
    except (sqlite3.OperationalError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _PGENLIB_CANNOT_WRITE.search(str(error)):
            raise
        code = errno.ENOSPC if shutil.disk_usage(path.parent).free < _NO_ROOM else errno.EIO
        raise OSError(code, f"{os.strerror(code)} ({error})", str(path)) from error


class RecordParts:
    """A `PartMaker` of what is made when all windows are there."""

    def write(self, file: BinaryIO, pieces: Iterable[OutputRecords]) -> bytes:
        """See `PartMaker`; there is no table."""
        write_records(file, pieces)
        return b""


class Sexes:
    """What the ploidy of the records says of the samples' sex: on X, one haplotype is a man, two a woman.

    Nothing is said of anybody unless somebody has one.
    """

    def __init__(self, n_samples: int) -> None:
        self._has_one = np.zeros(n_samples, dtype=np.bool_)
        self._asked = False

    def add(self, records: OutputRecords) -> None:
        """Looks at the records of a piece."""
        known = meaning(records.contig)
        if known is None or known.chromosome != "X" or not records.n_sites:
            return
        self._has_one |= lone(records)
        self._asked = True

    def codes(self) -> list[int]:
        """S codes as PLINK writes them."""
        if not self._asked or not self._has_one.any():
            return [SEX_UNKNOWN] * len(self._has_one)
        return [MALE if one else FEMALE for one in self._has_one.tolist()]


def lone(records: OutputRecords) -> BoolArray:
    """(S,) samples that have one haplotype."""
    return np.asarray(records.dosage[0, :, 1] == NONE)


def names(records: OutputRecords) -> list[str]:
    """`contig:position:REF:ALT` of every record: what a record is called where the format needs a name.

    Alleles too long for a name, of which PLINK 2 reads 16,000 characters, are digested together.
    """
    each = zip(records.positions.tolist(), records.refs, records.alts, strict=True)
    return [f"{records.contig}:{position}:{_alleles_named(ref, alt)}" for position, ref, alt in each]


def _alleles_named(ref: str, alt: str) -> str:
    named = f"{ref}:{alt}"
    return named if len(named) <= _LONGEST_ALLELES else f"long-{text_digest('alleles', named)[:16]}"
