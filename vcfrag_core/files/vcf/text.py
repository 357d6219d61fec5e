"""The text of a VCF, checked line by line before htslib meets it.

htslib (1.21 and before, through cyvcf2) ends the process at some lines that are no records: comments and second headers
among the records, blanks in place of tabs. It takes others for something that they do not say: of a line with too many
columns it drops the last ones, and a position beyond 2^31 comes out as another one. So every line is looked at here.
"""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from vcfrag_core.errors import NotVcfError, TruncatedFileError
from vcfrag_core.files.vcf.wholeness import is_compressed
from vcfrag_core.types import BoolArray, I64Array, U8Array

_BLOCK: Final = 1 << 23
_LONGEST_LINE: Final = 1 << 28
_TAB, _NEWLINE, _HASH, _RETURN, _BLANK = b"\t\n#\r "
_LAST_POSITION: Final = (1 << 31) - 2
_LONGEST_POSITION: Final = 10
_FIXED_COLUMNS: Final = 8
_CALL: Final = re.compile(rb"(\.|[0-9]+)([|/](\.|[0-9]+))*")
_SHOWN: Final = 40


def check_header(path: Path) -> None:
    """Refuses a text whose header is not UTF-8 (VCF specification, 1.1), or whose columns are not those of a VCF.

    Raises:
        NotVcfError: Names the line, and of a sample's name the column.
    """
    number = 0
    try:
        with _open(path) as file:
            for line in file:
                number += 1
                if line[:1] not in (b"#", b"\r", b"\n"):
                    return
                line.decode()
                if line.startswith(b"#CHROM"):
                    _check_columns(path, line.decode().rstrip("\r\n"), number)
                    return
    except UnicodeDecodeError as error:
        raise NotVcfError(_not_utf8(error, path), path=path, record=f"line {number}") from None
    except (OSError, EOFError, zlib.error):
        return  # What reads on says what is wrong.


def _check_columns(path: Path, line: str, number: int) -> None:
    """Refuses what htslib reads no sample's name from, and does not say why."""
    columns = line.split("\t")
    samples = columns[_FIXED_COLUMNS + 1 :]
    if len(columns) == 1 and len(line.split()) >= _FIXED_COLUMNS:
        fault = "has blanks between its columns; a VCF has tabs"
    elif len(columns) == _FIXED_COLUMNS + 1:
        fault = "has the column FORMAT and no sample after it"
    elif "" in samples:
        place = _FIXED_COLUMNS + 2 + samples.index("")
        fault = f"has no name in column {place}" + (", after its last tab" if place == len(columns) else "")
    elif len(set(samples)) < len(samples):
        twice = next(name for i, name in enumerate(samples) if name in samples[:i])
        fault = f"has the sample {twice} twice; `bcftools reheader --samples` gives other names"
    else:
        return
    raise NotVcfError(f"its header is not whole: the line #CHROM {fault}", path=path, record=f"line {number}")


def check_text(path: Path) -> None:
    """Refuses a text of which a line after the header is no record, or one that htslib misreads.

    Raises:
        NotVcfError: Names the line's number and what is wrong with it.
        TruncatedFileError: The last line has no end and fewer columns than the header.
    """
    try:
        with _open(path) as file:
            n_header, n_columns = _header(file)
            if not n_columns:
                raise NotVcfError("its header is not whole: no line #CHROM stands before the records", path=path)
            _check_lines(path, file, n_header, n_columns)
    except (OSError, EOFError, zlib.error):
        return  # What reads on says what is wrong.


def check_first_calls(path: Path, contig: str) -> None:
    """Refuses a text of which the first record of a contig has calls that are none.

    Of a contig that the header does not declare, htslib hands that record on as if its calls had been read.

    Raises:
        NotVcfError: Names the line.
    """
    start = contig.encode() + b"\t"
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.startswith(start):
                check_calls(path, number, line)
                return


def check_calls(path: Path, number: int, line: bytes, samples: Sequence[str] = ()) -> None:
    """Refuses a record of which a sample's GT is no call.

    Args:
        path, number: Of the line.
        line: The record.
        samples: Names of the samples, where they are known.

    Raises:
        NotVcfError: Names the line, the call, and the sample.
    """
    columns = line.rstrip(b"\r\n").split(b"\t")
    names = columns[_FIXED_COLUMNS].split(b":") if len(columns) > _FIXED_COLUMNS else []
    if b"GT" not in names:
        return
    at = names.index(b"GT")
    for cell, sample in itertools.zip_longest(columns[_FIXED_COLUMNS + 1 :], samples):
        values = (cell or b"").split(b":")
        if at < len(values) and _CALL.fullmatch(values[at]) is None:
            raise NotVcfError(
                f"the call {_shown(cell or b'')} is none", path=path, record=f"line {number}", sample=sample
            )


def line_of(path: Path, n_records: int) -> tuple[int, bytes]:
    """Number and text of the record that follows `n_records` others; nothing where there is none."""
    with _open(path) as file:
        n_header, _ = _header(file)
        number = n_header + n_records + 1
        for at, line in enumerate(file, start=n_header + 1):
            if at == number:
                return number, line
    return number, b""


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if is_compressed(path) else path.open("rb")


def _header(file: BinaryIO) -> tuple[int, int]:
    """Lines of the header and columns of its last one, 0 without one; the file stands at the first record."""
    for number, line in enumerate(iter(file.readline, b""), start=1):
        if line.startswith(b"#CHROM"):
            return number, line.count(b"\t") + 1
        # htslib goes over blank lines of a header.
        if not line.startswith(b"#") and line.strip(b"\r\n"):
            break
    return 0, 0


def _check_lines(path: Path, file: BinaryIO, n_before: int, n_columns: int) -> None:
    for lines, whole in _blocks(file):
        if len(lines) > _LONGEST_LINE and not whole:
            raise NotVcfError(f"a line of more than {_LONGEST_LINE} bytes is no record", path=path)
        if not whole and lines.count(b"\t") < n_columns - 1:
            raise TruncatedFileError("the file ends in the middle of a line; copy it again", path=path)
        text = lines if whole else lines + b"\n"
        wrong = _wrong_lines(np.frombuffer(text, dtype=np.uint8), n_columns)
        if wrong.any():
            at = int(wrong.argmax())
            what = _explain(text.split(b"\n", at + 1)[at], n_columns)
            raise NotVcfError(what, path=path, record=f"line {n_before + at + 1}")
        n_before += len(wrong)


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Whole lines in blocks, then what is left at the end and has no end of line."""
    rest = bytearray()
    while block := file.read(_BLOCK):
        whole, newline, begun = block.rpartition(b"\n")
        if newline:
            yield bytes(rest) + whole + newline, True
            rest.clear()
        rest += begun
        if len(rest) > _LONGEST_LINE:
            break
    if rest:
        yield bytes(rest), False


def _wrong_lines(text: U8Array, n_columns: int) -> BoolArray:
    """(n,) which of the n lines are no records."""
    ends = np.flatnonzero(text == _NEWLINE)
    starts = np.concatenate(([0], ends[:-1] + 1))
    tabs = np.flatnonzero(text == _TAB)
    first = np.searchsorted(tabs, starts)
    wrong: BoolArray = np.searchsorted(tabs, ends) - first != n_columns - 1
    # Of a line htslib takes what stands before a NUL.
    control = np.flatnonzero((text < _BLANK) & (text != _TAB) & (text != _NEWLINE) & (text != _RETURN))
    wrong[np.searchsorted(ends, control)] = True
    right = np.flatnonzero(~wrong)
    if len(right):
        edges = np.column_stack([starts[right] - 1, *(tabs[first[right] + i] for i in range(5))])
        wrong[right] = _wrong_columns(text, edges)
    return wrong


def _wrong_columns(text: U8Array, edges: I64Array) -> BoolArray:
    """(n,) where CHROM, POS, ID, REF or ALT cannot be what they are; (n, 6) places of the tabs around them."""
    widths = np.diff(edges, axis=1) - 1
    wrong: BoolArray = (widths < 1).any(axis=1) | (text[edges[:, 0] + 1] == _HASH)
    wrong |= (widths[:, 1] > _LONGEST_POSITION) | (_numbers(text, edges[:, 1] + 1, widths[:, 1]) > _LAST_POSITION)
    odd = np.flatnonzero((text > 127) | (text == _BLANK))
    if len(odd):
        for begin, end in (edges[:, [0, 1]].T, edges[:, [2, 5]].T):
            wrong |= np.searchsorted(odd, end) > np.searchsorted(odd, begin)
    return wrong


def _numbers(text: U8Array, starts: I64Array, widths: I64Array) -> I64Array:
    """(n,) numbers that stand in the text, beyond every position where something else than a digit stands."""
    values = np.zeros(len(starts), dtype=np.int64)
    for i in range(min(int(widths.max()), _LONGEST_POSITION)):
        within = i < widths
        digits = text[starts[within] + i].astype(np.int64) - ord("0")
        digits[(digits < 0) | (digits > 9)] = 1 << 40
        values[within] = np.minimum(values[within] * 10 + digits, 1 << 40)
    return values


def _explain(line: bytes, n_columns: int) -> str:
    """What is wrong with a line, and what to do."""
    columns = line.split(b"\t")
    if line.startswith((b"##", b"#CHROM")):
        return "a second header begins among the records: join files with `bcftools concat`, not with cat"
    if line.startswith(b"#"):
        return "a line of comment among the records; remove it"
    if not line.strip():
        return "a blank line among the records; remove it"
    if len(columns) == 1 and len(line.split()) >= _FIXED_COLUMNS:
        return "its columns are separated by blanks where a VCF has tabs"
    if len(columns) != n_columns:
        return f"has {len(columns)} column(s) where the header has {n_columns}; it begins {_shown(line)}"
    if any(byte < _BLANK and byte not in (_TAB, _RETURN) for byte in line):
        return f"has a control character; it begins {_shown(line)}"
    names = ("CHROM", "POS", "ID", "REF", "ALT")
    for name, value in zip(names, columns, strict=False):
        if not value:
            return f"its {name} is empty"
        if name != "POS" and (b" " in value or not value.isascii()):
            return f"its {name} {_shown(value)} has a character that a VCF does not allow there"
    return f"its POS {_shown(columns[1])} is no position between 0 and {_LAST_POSITION}"


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN]).removeprefix("b") + ("..." if len(value) > _SHOWN else "")


def _not_utf8(error: UnicodeDecodeError, path: Path) -> str:
    line = bytes(error.object)
    if not line.startswith(b"#CHROM"):
        return f"the header is not UTF-8; convert it: `iconv -f latin1 -t utf8 {path.name}`"
    column = line[: error.start].count(b"\t") + 1
    name = line.rstrip(b"\r\n").split(b"\t")[column - 1]
    return f"the name in column {column}, {_shown(name)}, is not UTF-8; `bcftools reheader -s NAMES` gives other names"
