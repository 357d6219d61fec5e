"""Counter-based random numbers that are the same on every machine and with every NumPy.

A stream is named by what it is for. Only Philox's raw output is used, which NumPy keeps stable, and only operations
that IEEE 754 rounds exactly are done on it.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.hashing import text_digest
from vcfrag_core.types import F64Array, U64Array

_TO_UNIT = 2.0**-53


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
