"""A random order of the numbers below n that takes no memory: a Feistel network with cycle walking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.nearest import splitmix64
from vcfrag_core.types import I64Array, IntArray, U64Array

ROUNDS = 8
# Fewer bits would leave few of the orders of a handful of numbers within reach.
LEAST_HALF_BITS = 4


class Shuffle:
    """A bijection of [0, n) onto itself, chosen by a key.

    The numbers are run through a Feistel network over an even number of bits that holds n, again and again until they
    fall below n: fewer than four times on average once n exceeds 64 (Black and Rogaway, CT-RSA 2002, method 3).
    Rounds mix with SplitMix64.

    Args:
        n: How many numbers, 1 to 2**62.
        key: 16 bytes that choose the order; see `vcfrag_core.streams.stream_key`.

    Raises:
        RangeError: n is outside its range.
    """

    def __init__(self, n: int, key: bytes) -> None:
        if not 1 <= n <= 1 << 62:
            raise RangeError(f"a shuffle of {n} numbers")
        self.n = n
        self._half_bits = np.uint64(max(LEAST_HALF_BITS, ((n - 1).bit_length() + 1) // 2))
        self._low = np.uint64((1 << int(self._half_bits)) - 1)
        first, second = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
        self._round_keys = [np.uint64((first + r * (second | 1)) % (1 << 64)) for r in range(ROUNDS)]

    def __call__(self, places: IntArray) -> I64Array:
        """The numbers that stand at these places of the order, in an array of the same length.

        Raises:
            RangeError: A place is outside [0, n).
        """
        return self._walk(places, self._encrypt)

    def at(self, place: int) -> int:
        """The number that stands at one place."""
        return int(self(np.array([place]))[0])

    def inverse(self, numbers: IntArray) -> I64Array:
        """The places at which these numbers stand.

        Raises:
            RangeError: A number is outside [0, n).
        """
        return self._walk(numbers, self._decrypt)

    def _walk(self, values: IntArray, step: Callable[[U64Array], U64Array]) -> I64Array:
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < self.n:
            raise RangeError(f"a place outside [0, {self.n})")
        out = step(values.astype(np.uint64))
        outside = np.flatnonzero(out >= self.n)
        while outside.size:
            out[outside] = step(out[outside])
            outside = outside[out[outside] >= self.n]
        return out.astype(np.int64)

    def _encrypt(self, values: U64Array) -> U64Array:
        left, right = values >> self._half_bits, values & self._low
        for key in self._round_keys:
            left, right = right, left ^ self._mix(right, key)
        return (left << self._half_bits) | right

    def _decrypt(self, values: U64Array) -> U64Array:
        left, right = values >> self._half_bits, values & self._low
        for key in reversed(self._round_keys):
            left, right = right ^ self._mix(left, key), left
        return (left << self._half_bits) | right

    def _mix(self, half: U64Array, key: np.uint64) -> U64Array:
        return splitmix64(half + key) & self._low
