"""The blocks of a large panel in its file: copied one after the other, read and checked when they are used."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vcfrag_core.errors import CacheError
from vcfrag_core.hashing import checksum
from vcfrag_core.panel.blocks import Block, decode
from vcfrag_core.panel.compact import CompactBits, RecentBlocks, read_fully
from vcfrag_core.types import U8Array

# Of each block: where it begins, beginning with 0 for the first, its bytes, and their BLAKE2b.
TABLE = np.dtype([("offset", "<u8"), ("n_bytes", "<u8"), ("checksum", "V16")])


def table_of(bits: CompactBits) -> np.ndarray[Any, np.dtype[Any]]:
    """(blocks,) of type TABLE."""
    made: list[tuple[int, int, bytes]] = []
    at = 0
    for content in contents(bits):
        made.append((at, content.nbytes, bytes.fromhex(checksum(content.data))))
        at += content.nbytes
    return np.array(made, dtype=TABLE)


def contents(bits: CompactBits) -> Iterator[U8Array]:
    """The bytes of all blocks in turn."""
    return (bits.store.content(number) for number in range(-(-bits.n_sites // bits.block_sites)))


class FileBlocks:
    """Blocks of an open file. What is used is a copy that was checked as it was made.

    Args:
        path: The file, for messages.
        file: It, opened; may be closed afterwards.
        start: Where the blocks begin.
        table: (blocks,) of type TABLE.
    """

    def __init__(self, path: Path, file: BinaryIO, start: int, table: np.ndarray[Any, np.dtype[Any]]) -> None:
        self._path, self._start, self._table = path, start, table
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._recent = RecentBlocks()

    def content(self, number: int) -> U8Array:
        """The bytes of a block.

        Raises:
            CacheError: They are not what was written, or cannot be read.
        """
        entry = self._table[number]
        content: U8Array = np.empty(int(entry["n_bytes"]), dtype=np.uint8)
        try:
            whole = read_fully(self._descriptor, content.data, self._start + int(entry["offset"]))
        except OSError as error:
            raise CacheError(f"its block {number} cannot be read: {error.strerror}", path=self._path) from error
        if not whole or bytes.fromhex(checksum(content.data)) != entry["checksum"].tobytes():
            raise CacheError(
                f"its block {number} is damaged or cut short: remove the file, and it can be made again",
                path=self._path,
            )
        return content

    def block(self, number: int) -> Block:
        """The block.

        Raises:
            CacheError: It is not what was written.
        """
        found = self._recent.get(number)
        if found is None:
            content = self.content(number)
            try:
                found = decode(content)
            except ValueError as error:
                raise CacheError(f"its block {number} makes no sense: {error}", path=self._path) from error
            self._recent.put(number, found)
        return found
