"""The panel as one binary file that is mapped into memory and believed only after its checksums.

    8 bytes   magic, which carries the format's version
    8 bytes   length of the header, little endian
    16 bytes  BLAKE2b of the header
    header    JSON: key, contig, contig_length, source, digest, shape, ploidy where not everybody is diploid, sections
              (name, offset, bytes, checksums)
    sections  each from a multiple of 4096 bytes on; a checksum for every 4 MiB of it

Sections: positions (int32), refs, alts, site_ids, samples (UTF-8 lines), packed (bits as in `Panel.packed`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import CacheError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy

MAGIC = b"vcfragP1"
_CHECKSUM_BYTES = 16
_CHUNK_BYTES = 4 << 20
_PAGE = 4096
_PREFIX_BYTES = len(MAGIC) + 8 + _CHECKSUM_BYTES
_TEXTS = ("refs", "alts", "site_ids", "samples")

Key = Mapping[str, str | int | None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Section:
    offset: int
    n_bytes: int
    checksums: tuple[str, ...]


def write_panel_file(path: Path, panel: Panel, key: Key, *, threads: int = 1) -> None:
    """Writes the panel and its digest under `key`, which says what it was made from; appears whole or not at all."""
    data: dict[str, memoryview] = {"positions": _view(np.asarray(panel.positions, dtype="<i4"))}
    data |= {name: memoryview("\n".join(getattr(panel, name)).encode()) for name in _TEXTS}
    data["packed"] = _view(panel.packed)
    with ThreadPoolExecutor(threads) as executor:
        checksums = {name: list(executor.map(_checksum, _chunks(part))) for name, part in data.items()}
    sections, offset = [], 0
    for name, part in data.items():
        sections.append([name, offset, part.nbytes, checksums[name]])
        offset += -(-part.nbytes // _PAGE) * _PAGE
    described = {
        "key": dict(key),
        "contig": panel.contig,
        "contig_length": panel.contig_length,
        "source": panel.source,
        "digest": panel.digest,
        "shape": panel.packed.shape,
        "sections": sections,
    }
    if not panel.ploidy.is_diploid:
        described["ploidy"] = str(panel.ploidy)
    header = _encode(described)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + bytes.fromhex(_checksum(header)) + header)
        for part in data.values():
            file.seek(-(-file.tell() // _PAGE) * _PAGE)
            file.write(part)


def read_panel_file(path: Path, key: Key, *, threads: int = 1) -> Panel:
    """The panel of a file written under the same key; its bits are mapped, private to this process if written to.

    Raises:
        CacheError: Not this format, cut short, changed, or made from something else.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) < _PREFIX_BYTES:
            raise CacheError("cut short", path=path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped.madvise(mmap.MADV_WILLNEED)
    header, start = _read_header(path, mapped)
    if header["key"] != dict(key):
        raise CacheError(f"made from something else: {_difference(header['key'], key)}", path=path)
    sections = {name: _Section(start + offset, size, tuple(sums)) for name, offset, size, sums in header["sections"]}
    _verify(path, memoryview(mapped), sections, threads)
    return _assembled(mapped, sections, header)


def _read_header(path: Path, mapped: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header, and where the sections begin."""
    if mapped[: len(MAGIC)] != MAGIC:
        raise CacheError("no panel cache of this version", path=path)
    stop = _PREFIX_BYTES + int.from_bytes(mapped[len(MAGIC) : len(MAGIC) + 8], "little")
    encoded = mapped[_PREFIX_BYTES:stop]
    if bytes.fromhex(_checksum(encoded)) != mapped[len(MAGIC) + 8 : _PREFIX_BYTES]:
        raise CacheError("its header is damaged", path=path)
    header: dict[str, Any] = json.loads(encoded)
    return header, -(-stop // _PAGE) * _PAGE


def _verify(path: Path, content: memoryview, sections: Mapping[str, _Section], threads: int) -> None:
    chunks: list[memoryview] = []
    expected: list[str] = []
    for section in sections.values():
        chunks.extend(_chunks(content[section.offset : section.offset + section.n_bytes]))
        expected.extend(section.checksums)
    # hashlib lets other threads run while it works on a chunk.
    with ThreadPoolExecutor(threads) as executor:
        found = list(executor.map(_checksum, chunks))
    if found != expected:
        raise CacheError("its content is damaged or cut short", path=path)


def _assembled(mapped: mmap.mmap, sections: Mapping[str, _Section], header: Mapping[str, Any]) -> Panel:
    def array(name: str, dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
        section = sections[name]
        return np.frombuffer(mapped, dtype, section.n_bytes // np.dtype(dtype).itemsize, section.offset)

    texts = {name: tuple(array(name, "u1").tobytes().decode().split("\n")) for name in _TEXTS}
    ploidy = header.get("ploidy")
    panel = Panel(
        ploidy=Ploidy.diploid(len(texts["samples"])) if ploidy is None else Ploidy.parse(ploidy),
        contig=header["contig"],
        contig_length=header["contig_length"],
        source=header["source"],
        positions=array("positions", "<i4").astype(np.int32),
        packed=array("packed", "u1").reshape(header["shape"]),
        **texts,
    )
    # Fills the cached property: the digest was computed from the very content that the checksums have confirmed.
    vars(panel)["digest"] = header["digest"]
    return panel


def _chunks(data: memoryview) -> Iterator[memoryview]:
    return (data[i : i + _CHUNK_BYTES] for i in range(0, data.nbytes, _CHUNK_BYTES))


def _checksum(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).hexdigest()


def _view(array: np.ndarray[Any, np.dtype[Any]]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _encode(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _difference(theirs: Mapping[str, Any], ours: Key) -> str:
    names: Sequence[str] = [name for name in ours if theirs.get(name) != ours[name]]
    return ", ".join(f"{name} {theirs.get(name)} instead of {ours[name]}" for name in names) or "unknown"
