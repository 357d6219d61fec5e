"""Writes an imputed VCF (bgzipped) or BCF window by window, with its index.

Every window becomes a part in a folder beside the output, `.NAME.parts`; a part appears whole or not at all. At the
end header, parts and end marker are copied together under a temporary name and renamed, so the output never exists
half written. The parts of an interrupted run stay, and a run with the same input takes up where it ended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError
from vcfrag_core.files import bgzf, vcf_index
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.bcf_records import BcfFormatter, header_bytes
from vcfrag_core.files.vcf_header import Header
from vcfrag_core.files.vcf_lines import LineFormatter
from vcfrag_core.output_records import OutputRecords
from vcfrag_core.types import I64Array

_SUFFIXES = (".vcf.gz", ".vcf.bgz", ".bcf")


class ImputedWriter:
    """The output of one imputation run; a context manager that keeps the parts unless `finish` was reached.

    Args:
        path: The output; `.vcf.gz` or `.bcf`.
        formats: FORMAT fields, in the fixed order.
        contigs: Contigs in the order in which they are written.
        identity: What the records follow from, per contig: a part made from anything else is never taken up.
        threads: Threads that compress.
        resume: Takes up the parts of an interrupted run; else they are removed.

    Raises:
        ConfigError: An unknown suffix.
        ProvenanceMismatchError: The parts were made from another input.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        formats: Sequence[str],
        contigs: Sequence[str],
        identity: Mapping[str, Mapping[str, str]],
        threads: int = 1,
        resume: bool = False,
    ) -> None:
        self.path = check_output(path)
        self._contigs = tuple(contigs)
        self._is_bcf = self.path.name.endswith(".bcf")
        self._formatter = BcfFormatter(formats, contigs) if self._is_bcf else LineFormatter(formats)
        self._folder = parts_folder(self.path)
        self._open_folder({"formats": list(formats), "contigs": {c: dict(identity[c]) for c in contigs}}, resume)
        self._executor = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown()

    def has(self, contig: str, number: int) -> bool:
        """Whether window `number` of the contig is written."""
        return self._part(contig, number).exists()

    def write(self, number: int, records: OutputRecords) -> None:
        """Writes window `number` of the records' contig."""
        lines = self._formatter.lines(records)
        sizes = np.array([0, *(len(line) for _, _, line in lines)], dtype=np.int64)
        data, blocks = bgzf.compress(b"".join([line for _, _, line in lines]), executor=self._executor)
        part = self._part(records.contig, number)
        with atomic_path(part.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                begins=np.array([position - 1 for position, _, _ in lines], dtype=np.int64),
                lengths=np.array([length for _, length, _ in lines], dtype=np.int64),
                offsets=np.cumsum(sizes),
                blocks=blocks,
            )
        with atomic_path(part) as temporary:
            temporary.write_bytes(data)

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
        shutil.rmtree(self._folder)
        return sum(len(joined.begins) for joined in records)

    def _join(self, contig: str, out: BinaryIO, base: int) -> tuple[vcf_index.ContigRecords, int]:
        """Appends the contig's parts to the open file; where its records came to lie, and the file's size."""
        empty = np.zeros(0, dtype=np.int64)
        columns: list[tuple[I64Array, ...]] = [(empty, empty, empty, empty)]
        for part in sorted(self._folder.glob(f"{self._contigs.index(contig):04d}-*.part")):
            with np.load(part.with_suffix(".npz")) as table:
                begins, lengths, offsets, blocks = (table[n] for n in ("begins", "lengths", "offsets", "blocks"))
            places = bgzf.virtual_offsets(offsets, blocks, base)
            columns.append((begins, begins + lengths, places[:-1], places[1:]))
            base += _append(part, out, int(blocks[-1]))
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

    def _part(self, contig: str, number: int) -> Path:
        return self._folder / f"{self._contigs.index(contig):04d}-{number:07d}.part"

    def _open_folder(self, identity: Mapping[str, object], resume: bool) -> None:
        record = self._folder / "run.json"
        wanted = json.dumps(identity, sort_keys=True, indent=1)
        if resume and record.is_file():
            _check_same(json.loads(record.read_text()), json.loads(wanted), self._folder)
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        with atomic_path(record) as temporary:
            temporary.write_text(wanted)


def check_output(path: str | Path) -> Path:
    """The path of an output that can be written.

    Raises:
        ConfigError: Its suffix is neither .vcf.gz nor .bcf, or its folder does not exist.
    """
    path = Path(path)
    if not path.name.endswith(_SUFFIXES):
        raise ConfigError(f"--out {path}: the name must end in .vcf.gz or .bcf")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")
    return path


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished output lie."""
    return path.with_name(f".{path.name}.parts")


def _append(part: Path, out: BinaryIO, size: int) -> int:
    if part.stat().st_size != size:
        raise ProvenanceMismatchError(f"{part} is not as it was written; remove {part.parent} and start anew")
    with part.open("rb") as source:
        shutil.copyfileobj(source, out, 1 << 22)
    return size


def _check_same(made: Mapping[str, object], wanted: Mapping[str, object], folder: Path) -> None:
    """Refuses parts that another input made, naming what differs."""
    before, now = _flat(made), _flat(wanted)
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            raise ProvenanceMismatchError(
                f"--resume: {folder} was made with {key} = {before.get(key)}, this run has {now.get(key)}; "
                "run without --resume to start anew"
            )


def _flat(tree: object, name: str = "") -> dict[str, object]:
    if not isinstance(tree, Mapping):
        return {name: tree}
    return {key: value for part in tree for key, value in _flat(tree[part], f"{name} {part}".strip()).items()}
