"""Writes an imputed VCF (bgzipped) or BCF window by window, with its index.

Every window becomes a part (`files.parts`) that is compressed already. At the end header, parts and end marker are
copied together under a temporary name and renamed, so the output never exists half written.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.parts import PartsFolder
from vcfrag_core.files.vcf import bgzf
from vcfrag_core.files.vcf import index as vcf_index
from vcfrag_core.files.vcf.bcf import BcfFormatter, header_bytes
from vcfrag_core.files.vcf.lines import LineFormatter
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import OutputRecords
from vcfrag_core.types import I64Array


class ImputedWriter:
    """The output of one imputation run: `begin` and `write` for every contig, then `finish`.

    A context manager that ends its threads; the parts stay unless `finish` was reached.

    Args:
        path: The output; `.vcf.gz` or `.bcf`.
        formats: FORMAT fields, in the fixed order.
        contigs: Contigs in the order in which they are written.
        threads: Threads that make the next piece and compress the last one while one is put into lines.
        resume: Takes up the parts of an interrupted run; else they are removed.
        x_male_dosage: DS of a man of X who surely carries ALT, 1 or 2.
        scratch: Folder of the parts; the output's own without it.

    Raises:
        ProvenanceMismatchError: The parts have other FORMAT fields or contigs.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        formats: Sequence[str],
        contigs: Sequence[str],
        threads: int = 1,
        resume: bool = False,
        x_male_dosage: int = 1,
        scratch: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self._contigs = tuple(contigs)
        self._is_bcf = self.path.name.endswith(".bcf")
        made_from = {"formats": ",".join(formats), "x_male_dosage": str(x_male_dosage)}
        self._parts = PartsFolder(self.path, contigs, made_from, resume=resume, scratch=scratch)
        self._executor = ThreadPoolExecutor(threads) if threads > 1 else None
        self._maker = VcfParts(self._formatter_of(formats, x_male_dosage), self._executor)

    def _formatter_of(self, formats: Sequence[str], x_male_dosage: int) -> BcfFormatter | LineFormatter:
        return formatter_of(self.path, formats, self._contigs, x_male_dosage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown()
        self._parts.close()

    def begin(self, contig: str, identity: Mapping[str, str], *, stretch: int = 0) -> None:
        """Says what the records of a contig's stretch follow from; parts made from anything else are never taken up.

        Raises:
            ProvenanceMismatchError: There are parts of this contig that were.
        """
        self._parts.begin(contig, identity, stretch=stretch)

    def has(self, contig: str, number: int) -> bool:
        """Whether window `number` of the contig is written."""
        return self._parts.part(contig, number).exists()

    def write(self, contig: str, number: int, pieces: Iterable[OutputRecords]) -> None:
        """Writes window `number` of the contig, given in pieces; two of them are in memory at a time."""
        self.put(contig, number, lambda file: self._maker.write(file, pieces))

    def put(self, contig: str, number: int, make: Callable[[BinaryIO], bytes]) -> None:
        """See `RecordWriter`."""
        part = self._parts.part(contig, number)
        with atomic_path(part) as temporary:
            with temporary.open("wb") as file:
                table = make(file)
            with atomic_path(_table_file(part)) as index:
                index.write_bytes(table)

    def finish(self, header: Header) -> int:
        """Puts the parts together under the output's name, writes the index, removes the parts.

        Returns:
            The number of records.
        """
        text = header.text()
        head, blocks = bgzf.compress(header_bytes(text) if self._is_bcf else text.encode(), executor=self._executor)
        base = int(blocks[-1])
        records = []
        with atomic_path(self.path) as temporary, temporary.open("wb") as out:
            out.write(head)
            for contig in self._contigs:
                joined, base = self._join(contig, out, base)
                records.append(joined)
            out.write(bgzf.EOF_BLOCK)
        self._write_index(records, header)
        self._parts.remove()
        return sum(len(joined.begins) for joined in records)

    def _join(self, contig: str, out: BinaryIO, base: int) -> tuple[vcf_index.ContigRecords, int]:
        """Appends the contig's parts to the open file; where its records came to lie, and the file's size."""
        empty = np.zeros(0, dtype=np.int64)
        columns: list[tuple[I64Array, ...]] = [(empty, empty, empty, empty)]
        for part in self._parts.parts(contig):
            with np.load(_table_file(part)) as table:
                begins, lengths, places, size = (table[name] for name in _PartTable.COLUMNS)
            places = places + (base << 16)
            columns.append((begins, begins + lengths, places[:-1], places[1:]))
            base += _append(part, out, int(size))
        begins, ends, starts, stops = (np.concatenate(column) for column in zip(*columns, strict=True))
        return vcf_index.ContigRecords(contig=contig, begins=begins, ends=ends, starts=starts, stops=stops), base

    def _write_index(self, records: Sequence[vcf_index.ContigRecords], header: Header) -> None:
        last = max([1, *(int(joined.ends.max()) for joined in records if len(joined.ends))])
        longest = max([last, *(length or 0 for length in header.contigs.values())])
        as_tbi = not self._is_bcf and longest <= vcf_index.TBI_MAX_POSITION
        for suffix in (".tbi", ".csi"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        there = list(records) if self._is_bcf else [joined for joined in records if len(joined.begins)]
        data = vcf_index.tbi(there) if as_tbi else vcf_index.csi(there, max_position=longest, is_vcf=not self._is_bcf)
        with atomic_path(f"{self.path}{'.tbi' if as_tbi else '.csi'}") as temporary:
            temporary.write_bytes(data)


class VcfParts:
    """A `PartMaker` of a VCF or BCF: whole BGZF blocks, and a table of where the records begin in them.

    Args:
        formatter: Makes lines.
        executor: Threads that make the next piece and compress the last one; none unless given.
    """

    def __init__(self, formatter: BcfFormatter | LineFormatter, executor: Executor | None = None) -> None:
        self._formatter = formatter
        self._executor = executor

    def write(self, file: BinaryIO, pieces: Iterable[OutputRecords]) -> bytes:
        """See `PartMaker`; two pieces are in memory at a time."""
        table = _PartTable()
        rest, begun = b"", bgzf.begin(b"")
        for records in self._one_ahead(pieces):
            lines = self._formatter.lines(records)
            table.add_records(lines)
            data = b"".join([rest, *(line for _, _, line in lines)])
            whole = len(data) // bgzf.BLOCK_BYTES * bgzf.BLOCK_BYTES
            following, rest = bgzf.begin(data[:whole], executor=self._executor), data[whole:]
            _write_blocks(file, table, begun)
            begun = following
        _write_blocks(file, table, begun)
        _write_blocks(file, table, bgzf.begin(rest))
        return table.packed()

    def _one_ahead(self, pieces: Iterable[OutputRecords]) -> Iterator[OutputRecords]:
        """The pieces, of which a thread makes the next one while one is written."""
        if self._executor is None:
            yield from pieces
            return
        coming = iter(pieces)
        following = self._executor.submit(next, coming, None)
        while (records := following.result()) is not None:
            following = self._executor.submit(next, coming, None)
            yield records


def formatter_of(
    path: Path, formats: Sequence[str], contigs: Sequence[str], x_male_dosage: int
) -> BcfFormatter | LineFormatter:
    """What makes the lines of an output, whose name tells VCF from BCF."""
    if path.name.endswith(".bcf"):
        return BcfFormatter(formats, contigs, x_male_dosage=x_male_dosage)
    return LineFormatter(formats, x_male_dosage=x_male_dosage)


class _PartTable:
    """Where the records of a part begin, as virtual offsets, and its size."""

    COLUMNS = ("begins", "lengths", "places", "size")

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._lengths: list[int] = []
        self._sizes: list[int] = [0]
        self._blocks: list[I64Array] = [np.zeros(1, dtype=np.int64)]

    def add_records(self, lines: Sequence[tuple[int, int, bytes]]) -> None:
        self._begins += [position - 1 for position, _, _ in lines]
        self._lengths += [length for _, length, _ in lines]
        self._sizes += [len(line) for _, _, line in lines]

    def add_blocks(self, blocks: I64Array) -> None:
        self._blocks.append(self._blocks[-1][-1] + blocks[1:])
        if not len(self._blocks[-1]):
            self._blocks.pop()

    def packed(self) -> bytes:
        offsets, blocks = np.cumsum(np.array(self._sizes, dtype=np.int64)), np.concatenate(self._blocks)
        return packed_table(self._begins, self._lengths, bgzf.virtual_offsets(offsets, blocks, 0), int(blocks[-1]))


def packed_table(begins: Sequence[int], lengths: Sequence[int], places: I64Array, size: int) -> bytes:
    """The table of a part.

    Args:
        begins: n 0-based positions.
        lengths: n lengths of REF.
        places: (n + 1,) virtual offsets of the records and of the part's end, as if it began the file.
        size: Its bytes.
    """
    buffer = io.BytesIO()
    first, long = (np.array(column, dtype=np.int64) for column in (begins, lengths))
    np.savez(buffer, begins=first, lengths=long, places=places, size=np.array(size))
    return buffer.getvalue()


def _table_file(part: Path) -> Path:
    return part.with_suffix(".npz")


def _write_blocks(file: BinaryIO, table: _PartTable, begun: Iterator[bytes]) -> None:
    data, blocks = bgzf.joined(begun)
    file.write(data)
    table.add_blocks(blocks)


def _append(part: Path, out: BinaryIO, size: int) -> int:
    if part.stat().st_size != size:
        raise ProvenanceMismatchError(f"{part} is not as it was written; remove {part.parent} and start anew")
    with part.open("rb") as source:
        shutil.copyfileobj(source, out, 1 << 22)
    return size
