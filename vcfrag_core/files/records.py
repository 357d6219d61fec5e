"""Output records as they are, for formats that are made at the end and for parts that are joined later.

A zip archive whose members are the pieces in their order, each an .npz: dosages in thousandths shrink like text does.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from vcfrag_core.errors import TruncatedFileError
from vcfrag_core.output.records import OutputRecords

_COLUMNS: Final = ("positions", "dosage", "typed", "af", "maf", "r2", "er2")
_OPTIONAL: Final = ("loo", "both")
_TEXTS: Final = ("site_ids", "refs", "alts")
# Most of the time goes into making the records, not into storing them.
_LEVEL: Final = 1


def write_records(file: BinaryIO, pieces: Iterable[OutputRecords]) -> int:
    """Stores the pieces, one at a time in memory; returns the number of records.

    Records of the target that were passed through are not stored.
    """
    n_records = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for number, records in enumerate(pieces):
            archive.writestr(f"{number:07d}", _packed(records))
            n_records += records.n_sites
        archive.writestr("end", str(n_records))
    return n_records


def read_records(path: Path) -> Iterator[OutputRecords]:
    """The pieces, one at a time.

    Raises:
        TruncatedFileError: The file is not as it was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist()[:-1]:
                yield _unpacked(archive.read(name))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError) as error:
        raise TruncatedFileError(f"not as it was written ({error}); remove it and run again", path=path) from error


def count_records(path: Path) -> int:
    """How many records a whole file holds.

    Raises:
        TruncatedFileError: The file is not as it was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return int(archive.read("end"))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError) as error:
        raise TruncatedFileError(f"not as it was written ({error}); remove it and run again", path=path) from error


def _packed(records: OutputRecords) -> bytes:
    columns: dict[str, Any] = {name: getattr(records, name) for name in _COLUMNS}
    columns |= {name: np.array("\n".join(getattr(records, name))) for name in _TEXTS}
    columns |= {name: values for name in _OPTIONAL if (values := getattr(records, name)) is not None}
    buffer = io.BytesIO()
    np.savez(buffer, contig=np.array(records.contig), **columns)
    return buffer.getvalue()


def _unpacked(data: bytes) -> OutputRecords:
    with np.load(io.BytesIO(data), allow_pickle=False) as table:
        columns: dict[str, Any] = {name: table[name] for name in _COLUMNS}
        n_sites = len(columns["positions"])
        columns |= {name: str(table[name]).split("\n") if n_sites else [] for name in _TEXTS}
        columns |= {name: table[name] for name in _OPTIONAL if name in table.files}
        return OutputRecords(contig=str(table["contig"]), **columns)
