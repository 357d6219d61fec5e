"""Counter-based random numbers that are the same on every machine and with every NumPy.

A stream is named by what it is for. Only Philox's raw output is used, which NumPy keeps stable, and only operations
that IEEE 754 rounds exactly are done on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vcfrag_core.hashing import hasher, text_digest, update_part
from vcfrag_core.types import F64Array, U64Array

_TO_UNIT = 2.0**-53
# Philox4x64-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
_PHILOX_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_KEY_STEPS = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], dtype=np.uint64)


class Stream:
    """Random numbers keyed by the BLAKE2b digest of the stream's name.

    Args:
        parts: What the numbers are for; equal parts give equal numbers.
    """

    def __init__(self, *parts: str | int) -> None:
        key = np.frombuffer(stream_key(*parts), dtype="<u8").astype(np.uint64)
        self._philox = np.random.Philox(key=key)

    def raw(self, n: int) -> U64Array:
        """(n,) next 64-bit numbers."""
        return np.asarray(self._philox.random_raw(n), dtype=np.uint64)

    def uniform(self, n: int) -> F64Array:
        """(n,) next numbers in [0, 1), multiples of 2**-53."""
        return np.asarray((self.raw(n) >> np.uint64(11)) * _TO_UNIT, dtype=np.float64)


def stream_key(*parts: str | int) -> bytes:
    """16 bytes that name a stream; a number and its decimal text are the same part."""
    return bytes.fromhex(text_digest("stream", *(str(part) for part in parts)))


def first_numbers(*parts: str | int, last: Sequence[str]) -> U64Array:
    """(n,) the first raw number of each of the streams that are named by these parts and one more, without making them.

    Args:
        parts: The first parts of all names.
        last: (n,) the last part of each.
    """
    shared = hasher("stream")
    for part in parts:
        update_part(shared, str(part))
    keys = bytearray()
    for name in last:
        own = shared.copy()
        update_part(own, name)
        keys += own.digest()
    return _first_of_philox(np.frombuffer(keys, dtype="<u8").astype(np.uint64).reshape(-1, 2))


def _first_of_philox(keys: U64Array) -> U64Array:
    """(n,) first number of the generators of (n, 2) keys, whose counters begin at 1."""
    counter = [np.full(len(keys), start, dtype=np.uint64) for start in (1, 0, 0, 0)]
    for _ in range(_PHILOX_ROUNDS):
        (high_0, low_0), (high_1, low_1) = (
            _multiply(factor, counter[at]) for factor, at in zip(_MULTIPLIERS, (0, 2), strict=True)
        )
        counter = [high_1 ^ counter[1] ^ keys[:, 0], low_1, high_0 ^ counter[3] ^ keys[:, 1], low_0]
        keys = keys + _KEY_STEPS
    return counter[0]


def _multiply(factor: np.uint64, numbers: U64Array) -> tuple[U64Array, U64Array]:
    """The upper and the lower 64 bits of each product."""
    half, low_bits = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = factor >> half, factor & low_bits, numbers >> half, numbers & low_bits
    crossed = a_low * b_high + (a_low * b_low >> half)
    middle = a_high * b_low + (crossed & low_bits)
    return a_high * b_high + (crossed >> half) + (middle >> half), factor * numbers
