"""A prepared panel: every contig of a panel, and every stretch of one, in a single binary file.

8 bytes   magic, which carries the format's version
8 bytes   where the table begins, little endian
8 bytes   its length
16 bytes  its BLAKE2b
panels    each from a multiple of 4096 bytes on, see `binary`
table     JSON: key, and of each panel: contig, its first and last position, sites, samples, digest, where it begins
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vcfrag_core.errors import CacheError, EmptyInputError, UnknownContigError
from vcfrag_core.files.atomic import PRIVATE, SHARED, atomic_path
from vcfrag_core.files.kinds import Kind, kind_of
from vcfrag_core.files.panel.binary import (
    PAGE,
    Key,
    check_owner,
    private_file,
    read_panel_at,
    write_panel,
)
from vcfrag_core.files.vcf.reader import Region, name_contigs
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.hashing import checksum
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy

MAGIC = b"vcfragB1"
_PREFIX_BYTES = len(MAGIC) + 8 + 8 + 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A panel of the file.

    Attributes:
        contig: Its contig.
        first: Position of its first site.
        last: Position of its last.
        n_sites: V.
        n_samples: S.
        ploidy: See `Ploidy.parse`.
        digest: The panel's.
        offset: Where it begins in the file.
    """

    contig: str
    first: int
    last: int
    n_sites: int
    n_samples: int
    ploidy: str
    digest: str
    offset: int

    @property
    def n_haplotypes(self) -> int:
        return Ploidy.parse(self.ploidy).n_haplotypes


def is_prepared(path: str | Path) -> bool:
    """Whether a file is a prepared panel, of any version."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC))[:-1] == MAGIC[:-1]
    except OSError:
        return False


def write_prepared(
    path: Path, panels: Iterable[Panel], key: Key, *, threads: int = 1, private: bool = False
) -> list[Entry]:
    """Writes panels as they come, under `key`, which says what they were made from; appears whole or not at all.

    Args:
        path: The file; it can only be read afterwards.
        panels: In the file's order.
        key: What they were made from.
        threads: Threads that compute checksums.
        private: Its owner alone may read it.
    """
    entries: list[Entry] = []
    opened = private_file if private else _shared_file
    with atomic_path(path, mode=PRIVATE if private else SHARED) as temporary, opened(temporary) as file:
        file.write(bytes(PAGE))
        for panel in panels:
            file.seek(-(-file.tell() // PAGE) * PAGE)
            entries.append(_entry(panel, file.tell()))
            write_panel(file, panel, key, threads=threads)
        table = json.dumps(
            {"key": dict(key), "panels": [dataclasses.asdict(entry) for entry in entries]}, sort_keys=True
        ).encode()
        start = file.tell()
        file.write(table)
        file.seek(0)
        file.write(MAGIC + start.to_bytes(8, "little") + len(table).to_bytes(8, "little"))
        file.write(bytes.fromhex(checksum(table)))
    return entries


def read_table(path: Path) -> tuple[Key, list[Entry]]:
    """What a prepared panel was made from, and what it holds.

    Raises:
        CacheError: Not this format or version, damaged or cut short.
    """
    with path.open("rb") as file:
        return _table(path, file)


def read_prepared(path: Path, region: Region | None, *, threads: int = 1) -> list[Panel]:
    """The stretches of a contig of a prepared panel, or of a part of it.

    Raises:
        CacheError: Not this format or version, damaged or cut short.
        UnknownContigError: It has no such contig, or several where none is named.
        EmptyInputError: No site lies in the region.
    """
    with path.open("rb") as file:
        key, entries = _table(path, file)
        chosen = _chosen(path, entries, region)
        panels = [read_panel_at(path, file, entry.offset, key, threads=threads) for entry in chosen]
    if region is None:
        return panels
    within = [part for panel in panels if (part := _within(panel, region)) is not None]
    if not within:
        raise EmptyInputError(f"no site lies in {region}", path=path)
    return within


def read_own(path: Path, key: Key, *, threads: int = 1) -> list[Panel]:
    """All panels of a file that was written under the same key, and that nobody else may change.

    Raises:
        CacheError: As `read_prepared`, made from something else, or writable by other users.
    """
    with path.open("rb") as file:
        check_owner(path, os.fstat(file.fileno()))
        _, entries = _table(path, file)
        return [read_panel_at(path, file, entry.offset, key, threads=threads) for entry in entries]


def _entry(panel: Panel, offset: int) -> Entry:
    return Entry(
        contig=panel.contig,
        first=int(panel.positions[0]),
        last=int(panel.positions[-1]),
        n_sites=panel.n_sites,
        n_samples=panel.n_samples,
        ploidy=str(panel.ploidy),
        digest=panel.digest,
        offset=offset,
    )


def _table(path: Path, file: BinaryIO) -> tuple[dict[str, Any], list[Entry]]:
    prefix, size = file.read(_PREFIX_BYTES), os.fstat(file.fileno()).st_size
    kind = kind_of(path)
    if kind is not Kind.PREPARED:
        what = "" if kind is None else f", but {kind.value}"
        raise CacheError(f"no prepared panel{what}; `vcfrag panel build` makes one of a VCF or BCF", path=path)
    if len(prefix) < _PREFIX_BYTES:
        raise CacheError("cut short", path=path)
    if prefix[: len(MAGIC)] != MAGIC:
        raise CacheError("no prepared panel of this version; make it again with `vcfrag panel build`", path=path)
    start, length = (int.from_bytes(prefix[at : at + 8], "little") for at in (len(MAGIC), len(MAGIC) + 8))
    if start + length > size:
        raise CacheError("cut short", path=path)
    file.seek(start)
    encoded = file.read(length)
    if bytes.fromhex(checksum(encoded)) != prefix[len(MAGIC) + 16 :]:
        raise CacheError("its table is damaged", path=path)
    table: dict[str, Any] = json.loads(encoded)
    return table["key"], [Entry(**entry) for entry in table["panels"]]


def _chosen(path: Path, entries: list[Entry], region: Region | None) -> list[Entry]:
    contigs = tuple(dict.fromkeys(entry.contig for entry in entries))
    if region is None and len(contigs) == 1:
        return entries
    name = None if region is None else contig_alias(region.contig, contigs)
    if name is None:
        wanted = "several contigs, of which one is read here: name it as the region"
        wanted = wanted if region is None else f"no contig {region.contig!r} here"
        raise UnknownContigError(f"{wanted}; the panel has {name_contigs(contigs)}", path=path)
    return [entry for entry in entries if entry.contig == name]


def _within(panel: Panel, region: Region) -> Panel | None:
    """The part of the panel within the region's positions; None where that is nothing."""
    start = int(np.searchsorted(panel.positions, region.start, side="left"))
    stop = panel.n_sites if region.stop is None else int(np.searchsorted(panel.positions, region.stop, side="right"))
    if (start, stop) == (0, panel.n_sites):
        return panel
    return panel.select_sites(np.arange(start, stop)) if start < stop else None


@contextlib.contextmanager
def _shared_file(path: Path) -> Iterator[BinaryIO]:
    """A file that everybody may read whom the umask lets, and nobody change, when it is done."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o444)
