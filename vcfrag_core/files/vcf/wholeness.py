"""Whether a file is whole, as far as its bytes tell without a parser."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from vcfrag_core.errors import EmptyInputError, InputError, TruncatedFileError
from vcfrag_core.files.vcf.bgzf import EOF_BLOCK

_BGZF_START = bytes.fromhex("1f8b0804")
_GZIP_START = bytes.fromhex("1f8b")


def check_ends(path: Path) -> None:
    """Refuses what the first and the last bytes give away.

    Raises:
        InputError: No such file, or one that cannot be read.
        EmptyInputError: No bytes.
        TruncatedFileError: BGZF without the empty block that closes it (SAM specification, section 4.1.2).
    """
    if not path.is_file():
        raise InputError("this is no regular file" if path.exists() else _absent(path), path=path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
            size = file.seek(0, 2)
            file.seek(max(0, size - len(EOF_BLOCK)))
            end = file.read()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    if not start:
        raise EmptyInputError("the file is empty", path=path)
    if start == _BGZF_START and end != EOF_BLOCK:
        raise TruncatedFileError("the file ends early: its closing BGZF block is missing; copy it again", path=path)


def _absent(path: Path) -> str:
    """What to say of a file that is not there."""
    if "{contig}" in path.name:
        return "no such file; a pattern does not serve here: name one file"
    for ending, option in ((".bed", "--bfile"), (".pgen", "--pfile")):
        if path.with_name(path.name + ending).is_file():
            return (
                "no such file; of the PLINK set of this name make one:"
                f" `plink2 {option} {path.name} --export vcf bgz --out {path.name}`"
            )
    return "no such file"


def is_compressed(path: Path) -> bool:
    """Whether it begins as gzip or BGZF does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_START


def is_bgzf(path: Path) -> bool:
    """Whether it begins as BGZF does, which plain gzip does not."""
    with path.open("rb") as file:
        return file.read(4) == _BGZF_START


def unpacks(path: Path) -> bool:
    """Whether all of a gzip or BGZF file can be decompressed; reads all of it."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 24):
                pass
    except (EOFError, OSError, zlib.error):
        return False
    return True
