"""Bits along the last axis, least significant bit first: bit i of a row is byte i >> 3, bit i & 7."""

from __future__ import annotations

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.types import BoolArray, I64Array, U8Array, U64Array

_ONES: U8Array = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def n_bytes(n_bits: int) -> int:
    """Bytes that hold `n_bits` bits."""
    return (n_bits + 7) // 8


def pack(values: BoolArray | U8Array) -> U8Array:
    """(..., n) zeros and ones to (..., ceil(n / 8)) bytes; padding bits are 0."""
    return np.packbits(values, axis=-1, bitorder="little")


def pack_words(values: BoolArray) -> U64Array:
    """(n,) booleans to (ceil(n / 64),) words; padding bits are 0."""
    packed = np.zeros(8 * ((len(values) + 63) // 64), dtype=np.uint8)
    packed[: n_bytes(len(values))] = pack(values)
    return packed.view("<u8")


def unpack(packed: U8Array, start: int, stop: int) -> U8Array:
    """Bits [start, stop) of (..., bytes) as (..., stop - start) uint8 zeros and ones.

    Raises:
        ShapeError: The rows hold fewer than `stop` bits, or the range is reversed.
    """
    if not 0 <= start <= stop <= 8 * packed.shape[-1]:
        raise ShapeError(f"bits [{start}, {stop}) of rows of {packed.shape[-1]} bytes")
    first = start >> 3
    window = packed[..., first : n_bytes(stop)]
    bits = np.unpackbits(window, axis=-1, bitorder="little")
    return bits[..., start - 8 * first : stop - 8 * first]


def count(packed: U8Array) -> I64Array:
    """(n,) ones of (n, bytes) rows."""
    return np.asarray(_ONES[packed].sum(axis=1, dtype=np.int64))
