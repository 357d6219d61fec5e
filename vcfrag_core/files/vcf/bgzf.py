"""BGZF: gzip in independent blocks, so that a file can be written in pieces and read from the middle.

Format: the SAM specification, section 4.1. The pieces are compressed here with zlib-ng rather than through htslib,
because cyvcf2 offers no writer for raw bytes; equal bytes give equal blocks for any number of threads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from zlib_ng import zlib_ng

from vcfrag_core.types import I64Array

BLOCK_BYTES = 65_280
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_HEADER = struct.Struct("<4BI2BH2sHH")
# A block's size has 16 bits; what does not become smaller is stored as it is.
_MOST_DEFLATED = 65_536 - _HEADER.size - 8
_LEVEL = 5


def compress(data: bytes, *, executor: Executor | None = None, level: int = _LEVEL) -> tuple[bytes, I64Array]:
    """Blocks of `BLOCK_BYTES` bytes each but the last, without the end marker.

    Args:
        data: What is compressed.
        executor: Threads that compress (zlib-ng releases the interpreter's lock); none compresses here.
        level: zlib-ng's level, 1 to 9.

    Returns:
        The blocks, and (n + 1,) the compressed offset of every block and the end.
    """
    return joined(begin(data, executor=executor, level=level))


def begin(data: bytes, *, executor: Executor | None = None, level: int = _LEVEL) -> Iterator[bytes]:
    """The blocks of `compress`, which an executor's threads already make while they are not yet asked for."""
    pieces = [(data[i : i + BLOCK_BYTES], level) for i in range(0, len(data), BLOCK_BYTES)]
    return map(_block, pieces) if executor is None else executor.map(_block, pieces)


def joined(blocks: Iterable[bytes]) -> tuple[bytes, I64Array]:
    """What `compress` returns, from the blocks that were begun."""
    made = list(blocks)
    sizes = np.array([0, *(len(block) for block in made)], dtype=np.int64)
    return b"".join(made), np.cumsum(sizes)


def virtual_offsets(offsets: I64Array, blocks: I64Array, base: int) -> I64Array:
    """Virtual file offsets of uncompressed `offsets` in a piece that starts at byte `base` of the file.

    Args:
        offsets: (n,) offsets in the uncompressed piece; its end is allowed.
        blocks: (m + 1,) what `compress` returned.
        base: Where in the file the piece begins.
    """
    number, within = np.divmod(offsets, BLOCK_BYTES)
    return np.asarray((blocks[number] + base) << 16 | within, dtype=np.int64)


def ends_at(path: Path, offset: int) -> bool:
    """Whether the data of a BGZF file end at a virtual offset: no block but empty ones lies behind it."""
    block, within = offset >> 16, offset & 0xFFFF
    with path.open("rb") as file:
        size = file.seek(0, 2)
        while block < size:
            file.seek(block)
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or head[:4] != EOF_BLOCK[:4]:
                return False
            n_bytes = _HEADER.unpack(head)[-1] + 1
            file.seek(block + n_bytes - 4)
            unpacked = int.from_bytes(file.read(4), "little")
            if unpacked != within:
                return False
            block, within = block + n_bytes, 0
    return (block, within) == (size, 0)


def _deflated(data: bytes, level: int) -> bytes:
    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    return bytes(compressor.compress(data) + compressor.flush())


def _block(piece: tuple[bytes, int]) -> bytes:
    data, level = piece
    body = _deflated(data, level)
    if len(body) > _MOST_DEFLATED:
        body = _deflated(data, 0)
    size = _HEADER.size + len(body) + 8
    header = _HEADER.pack(31, 139, 8, 4, 0, 0, 255, 6, b"BC", 2, size - 1)
    return b"".join((header, body, struct.pack("<II", zlib_ng.crc32(data), len(data))))
