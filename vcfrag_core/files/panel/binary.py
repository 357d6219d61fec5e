"""A panel in binary form, alone in a file or one of several (`prepared`), believed only after its checksums.

    8 bytes   magic, which carries the format's version
    8 bytes   length of the header, little endian
    16 bytes  BLAKE2b of the header
    header    JSON: key, contig, contig_length, source, digest, shape, ploidy where not everybody is diploid, counts
              where there are any, sections (name, offset, bytes, checksums)
    sections  each from a multiple of 4096 bytes on; a checksum for every 4 MiB of it

Sections: positions (int32), refs, alts, site_ids, samples (UTF-8 lines), packed (bits as in `Panel.packed`) and keys
(uint64, those of `haplotype_keys`; files of earlier versions lack them), and changes (uint32, `Panel.allele_changes`;
files of earlier versions and of large panels lack them, and the header says what MAF a site needs for them). A large
panel has another magic, and in place of packed: counts (uint32, ALT alleles of each site) and blocks
(`block_file.TABLE`). Its blocks follow the sections; the header says where, and how many sites a block has. They are
read when they are asked for, and checked each time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vcfrag_core.errors import CacheError
from vcfrag_core.files.atomic import PRIVATE, atomic_path
from vcfrag_core.files.panel.block_file import TABLE, FileBlocks, contents, table_of
from vcfrag_core.hashing import DIGEST_BYTES, checksum
from vcfrag_core.panel.compact import CompactBits, read_fully
from vcfrag_core.panel.keys import digest_and_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.pbwt import MIN_MAF
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.storage import DenseBits, HaplotypeBits
from vcfrag_core.types import U8Array, U64Array

MAGIC = b"vcfragP2"
MAGIC_OF_BLOCKS = b"vcfragC1"
PAGE = 4096
_CHUNK_BYTES = 4 << 20
_PREFIX_BYTES = len(MAGIC) + 8 + DIGEST_BYTES
_TEXTS = ("refs", "alts", "site_ids", "samples")

Key = Mapping[str, str | int | None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Section:
    offset: int
    n_bytes: int
    checksums: tuple[str, ...]


def write_panel_file(path: Path, panel: Panel, key: Key, *, threads: int = 1) -> None:
    """Writes the panel and its digest under `key`, which says what it was made from; appears whole or not at all.

    The file is its owner's alone, and never opened for writing again.
    """
    with atomic_path(path, mode=PRIVATE) as temporary, private_file(temporary) as file:
        write_panel(file, panel, key, threads=threads)


def write_panel(file: BinaryIO, panel: Panel, key: Key, *, threads: int = 1) -> None:
    """Writes the panel from where the file stands, a multiple of PAGE."""
    data: dict[str, memoryview] = {"positions": _view(np.asarray(panel.positions, dtype="<i4"))}
    data |= {name: memoryview("\n".join(getattr(panel, name)).encode()) for name in _TEXTS}
    bits = panel.bits.whole() if isinstance(panel.bits, CompactBits) else panel.bits
    large = bits if isinstance(bits, CompactBits) else None
    if large is None:
        digest, keys = panel.digest, panel.keys
        data["packed"], data["changes"] = _view(bits.packed()), _view(panel.allele_changes.astype("<u4"))
    else:
        digest, keys = _known_hashes(panel) or digest_and_keys(panel)
        data["counts"], data["blocks"] = _view(large.counts().astype("<u4")), _view(table_of(large))
    data["keys"] = _view(keys.astype("<u8"))
    with ThreadPoolExecutor(threads) as executor:
        checksums = {name: list(executor.map(checksum, _chunks(part))) for name, part in data.items()}
    sections, offset = [], 0
    for name, part in data.items():
        sections.append([name, offset, part.nbytes, checksums[name]])
        offset += -(-part.nbytes // PAGE) * PAGE
    described: dict[str, object] = {
        "key": dict(key),
        "contig": panel.contig,
        "contig_length": panel.contig_length,
        "source": panel.source,
        "digest": digest,
        "shape": (bits.n_haplotypes, -(-bits.n_sites // 8)),
        "sections": sections,
    }
    if not panel.ploidy.is_diploid:
        described["ploidy"] = str(panel.ploidy)
    if panel.counts:
        described["counts"] = dict(panel.counts)
    if large is None:
        described["changes_from_maf"] = MIN_MAF
    else:
        described["blocks"] = {"offset": offset, "block_sites": large.block_sites}
    header = _encode(described)
    file.write(
        (MAGIC if large is None else MAGIC_OF_BLOCKS)
        + len(header).to_bytes(8, "little")
        + bytes.fromhex(checksum(header))
        + header
    )
    for part in data.values():
        file.seek(-(-file.tell() // PAGE) * PAGE)
        file.write(part)
    if large is not None:
        file.seek(-(-file.tell() // PAGE) * PAGE)
        for content in contents(large):
            file.write(content.data)


@contextlib.contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A file of `atomic_path` in `PRIVATE` mode, which its owner may only read when it is done.

    It holds people's genotypes.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o400)


def read_panel_file(path: Path, key: Key, *, threads: int = 1) -> Panel:
    """The panel of a file written under the same key.

    What is used is a copy that was checked as it was made, block by block: nobody who later writes to the file or
    cuts it changes an answer or ends a process.

    Raises:
        CacheError: Not this format, cut short, changed, made from something else, or writable by other users.
    """
    with path.open("rb") as file:
        check_owner(path, os.fstat(file.fileno()))
        return read_panel_at(path, file, 0, key, threads=threads)


def read_panel_at(path: Path, file: BinaryIO, start: int, key: Key, *, threads: int = 1) -> Panel:
    """The panel that was written there under the same key.

    Raises:
        CacheError: Not this format, cut short, changed, or made from something else.
    """
    file.seek(start)
    header, at = _read_header(path, file)
    if header["key"] != dict(key):
        raise CacheError(f"made from something else: {_difference(header['key'], key)}", path=path)
    sections = {
        name: _Section(start + at + offset, size, tuple(sums)) for name, offset, size, sums in header["sections"]
    }
    size = os.fstat(file.fileno()).st_size
    if size < max(s.offset + s.n_bytes for s in sections.values()):
        raise CacheError("its content is damaged or cut short", path=path)
    content = {name: _read_section(path, file.fileno(), section, threads) for name, section in sections.items()}
    if "blocks" not in header:
        packed = content["packed"].reshape(header["shape"])
        return _assembled(content, header, DenseBits(packed, len(content["positions"]) // 4))
    table = content["blocks"].view(TABLE)
    begin = start + at + header["blocks"]["offset"]
    if size < begin + int(table["offset"][-1]) + int(table["n_bytes"][-1]):
        raise CacheError("its content is damaged or cut short", path=path)
    store, counts = FileBlocks(path, file, begin, table), content["counts"].view("<u4").astype(np.int64)
    bits = CompactBits(store, header["shape"][0], counts, header["blocks"]["block_sites"])
    return _assembled(content, header, bits)


def check_owner(path: Path, status: os.stat_result) -> None:
    """
    Raises:
        CacheError: Other users may change the file.
    """
    # Root may read what a service's user wrote, and everybody what root did.
    owners = {os.geteuid(), 0} if os.geteuid() else {status.st_uid}
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(f"other users may change it (mode {stat.S_IMODE(status.st_mode):04o})", path=path)


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and where the sections begin."""
    prefix = file.read(_PREFIX_BYTES)
    if len(prefix) < _PREFIX_BYTES:
        raise CacheError("cut short", path=path)
    if prefix[: len(MAGIC)] not in (MAGIC, MAGIC_OF_BLOCKS):
        raise CacheError("no panel cache of this version", path=path)
    size = int.from_bytes(prefix[len(MAGIC) : len(MAGIC) + 8], "little")
    if size > os.fstat(file.fileno()).st_size:
        raise CacheError("its header is damaged", path=path)
    encoded = file.read(size)
    if bytes.fromhex(checksum(encoded)) != prefix[len(MAGIC) + 8 :]:
        raise CacheError("its header is damaged", path=path)
    header: dict[str, Any] = json.loads(encoded)
    return header, -(-(_PREFIX_BYTES + size) // PAGE) * PAGE


def _read_section(path: Path, descriptor: int, section: _Section, threads: int) -> U8Array:
    """A section's bytes, each block checked."""
    content: U8Array = np.empty(section.n_bytes, dtype=np.uint8)
    blocks = list(_chunks(content.data))

    def read(number: int) -> bool:
        whole = read_fully(descriptor, blocks[number], section.offset + number * _CHUNK_BYTES)
        return whole and checksum(blocks[number]) == section.checksums[number]

    # Reading and hashing let other threads run.
    with ThreadPoolExecutor(threads) as executor:
        if len(blocks) != len(section.checksums) or not all(executor.map(read, range(len(blocks)))):
            raise CacheError("its content is damaged or cut short", path=path)
    return content


def _assembled(content: Mapping[str, U8Array], header: Mapping[str, Any], bits: HaplotypeBits) -> Panel:
    texts = {name: tuple(content[name].tobytes().decode().split("\n")) for name in _TEXTS}
    ploidy = header.get("ploidy")
    panel = Panel(
        ploidy=Ploidy.diploid(len(texts["samples"])) if ploidy is None else Ploidy.parse(ploidy),
        contig=header["contig"],
        contig_length=header["contig_length"],
        source=header["source"],
        counts=header.get("counts", {}),
        positions=content["positions"].view("<i4").astype(np.int32),
        bits=bits,
        **texts,
    )
    # Fills cached properties: they were computed from the very content that the checksums have confirmed.
    vars(panel)["digest"] = header["digest"]
    if "keys" in content:
        vars(panel)["keys"] = content["keys"].view("<u8").astype(np.uint64)
    if header.get("changes_from_maf") == MIN_MAF:
        vars(panel)["allele_changes"] = content["changes"].view("<u4").astype(np.int64).reshape(2, -1)
    return panel


def _chunks(data: memoryview) -> Iterator[memoryview]:
    return (data[i : i + _CHUNK_BYTES] for i in range(0, data.nbytes, _CHUNK_BYTES))


def _known_hashes(panel: Panel) -> tuple[str, U64Array] | None:
    """Digest and keys, where both were computed before."""
    known = vars(panel)
    return (known["digest"], known["keys"]) if "digest" in known and "keys" in known else None


def _view(array: np.ndarray[Any, np.dtype[Any]]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _encode(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _difference(theirs: Mapping[str, Any], ours: Key) -> str:
    names: Sequence[str] = [name for name in ours if theirs.get(name) != ours[name]]
    return ", ".join(f"{name} {theirs.get(name)} instead of {ours[name]}" for name in names) or "unknown"
