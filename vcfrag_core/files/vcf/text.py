"""What is wrong with the text of a VCF, told before htslib sees it: some of it would end the process."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NoReturn, cast

from vcfrag_core.errors import NotVcfError
from vcfrag_core.files.vcf.wholeness import is_compressed

_BLOCK: Final = 1 << 22
# The end of a line, or the begin of a block, after which no record comes: a contig, a position, and more.
_NO_RECORD: Final = re.compile(rb"\n(?![^#\t\n ][^\t\n ]*\t[0-9]+\t)")
_PREFIXED: Final = re.compile(rb"\t[|/][0-9.]")
_SHOWN: Final = 40


def check_records(path: Path) -> None:
    """Refuses a VCF with lines among its records that are none; reads all of it. A BCF has no lines.

    Raises:
        NotVcfError: Names the line, and a second header as such.
    """
    for number, lines in _blocks(path):
        text = b"\n" + lines
        if (found := _NO_RECORD.search(text)) is not None:
            _refuse(path, number + text.count(b"\n", 0, found.start()), lines[found.end() - 1 :])


def undecodable_sample(path: Path) -> tuple[int, bytes] | None:
    """The column, from 1, of the first sample's name that is not UTF-8, and the name."""
    with _opened(path) as file:
        header = next((line for line in file if line.startswith(b"#CHROM\t")), b"")
    for column, name in enumerate(header.rstrip(b"\r\n\0").split(b"\t"), start=1):
        try:
            name.decode()
        except UnicodeDecodeError:
            return column, name
    return None


def first_prefixed_call(path: Path) -> int | None:
    """The first line with a call that begins with `|` or `/`, as VCF 4.4 allows; None without one."""
    for number, lines in _blocks(path):
        if (found := _PREFIXED.search(lines)) is not None:
            return number + lines.count(b"\n", 0, found.start())
    return None


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines after the header in blocks, without the last one's end, each with its first line's number.

    Ends where the file cannot be decompressed; what reads the records says so.
    """
    with _opened(path) as file:
        if file.read(3) == b"BCF":
            return
        file.seek(0)
        number, text = _after_header(file)
        try:
            while block := file.read(_BLOCK):
                text += block
                last = text.rfind(b"\n")
                if last >= 0:
                    yield number, text[:last]
                    number, text = number + text.count(b"\n"), text[last + 1 :]
        except (EOFError, OSError, zlib.error):
            return
        if text:
            yield number, text.removesuffix(b"\n")


def _after_header(file: IO[bytes]) -> tuple[int, bytes]:
    """The number of the first line that is none of the header's, and the line."""
    number = 0
    for number, line in enumerate(file, start=1):
        if not line.startswith(b"#"):
            return number, line
    return number + 1, b""


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if is_compressed(path) else path.open("rb")


def _refuse(path: Path, number: int, rest: bytes) -> NoReturn:
    line = rest.partition(b"\n")[0].rstrip(b"\r")
    shown = line[:_SHOWN].decode(errors="replace")
    if line.startswith((b"##", b"#CHROM\t")):
        what = "begins a second header: two files were joined with `cat`; join them with `bcftools concat`"
    elif line.startswith(b"#"):
        what = f"is a comment among the records ({shown!r}); remove it"
    elif not line.strip():
        what = "is blank; remove it"
    else:
        what = f"is no record: it does not begin with a contig and a position, tabs between them ({shown!r})"
    raise NotVcfError(f"line {number} {what}", path=path)
