"""What every writer of imputed genotypes does, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from vcfrag_core.output.header import Header
from vcfrag_core.output.records import OutputRecords


class PartMaker(Protocol):
    """Makes parts of an output, which a `RecordWriter` of the same format takes."""

    def write(self, file: BinaryIO, pieces: Iterable[OutputRecords]) -> bytes:
        """Writes a window, given in pieces, to a file that may be written from front to end only; returns its table."""


class RecordWriter(Protocol):
    """The output of one imputation run: `begin` and `write` for every contig, then `finish`.

    A context manager that ends its threads; what is written stays for a later run unless `finish` was reached.

    Attributes:
        path: The output.
    """

    path: Path

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, contig: str, identity: Mapping[str, str], *, stretch: int = 0) -> None:
        """Says what the records of a contig's stretch follow from; nothing made from anything else is taken up.

        Raises:
            ProvenanceMismatchError: There is something of this contig that was.
        """

    def has(self, contig: str, number: int) -> bool:
        """Whether window `number` of the contig is written."""

    def write(self, contig: str, number: int, pieces: Iterable[OutputRecords]) -> None:
        """Writes window `number` of the contig, given in pieces; it is there whole or not at all."""

    def put(self, contig: str, number: int, make: Callable[[BinaryIO], bytes]) -> None:
        """Lets `make` write window `number` of the contig, as a `PartMaker` does, and return its table."""

    def finish(self, header: Header) -> int:
        """Makes the output, with what belongs beside it, and returns the number of records."""
