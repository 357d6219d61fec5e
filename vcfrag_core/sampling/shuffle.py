"""A random order of the numbers below n that takes no memory, however large n is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.hashing import splitmix64
from vcfrag_core.types import I64Array, IntArray, U64Array

ROUNDS = 8
# Up to here sorting is quicker, and reaches every order of a handful of numbers.
MAX_SORTED = 1024


class Shuffle:
    """A bijection of [0, n) onto itself, chosen by a key.

    Up to 1,024 numbers are sorted by a random number each. More are run through a Feistel network over an even number
    of bits that holds n, again and again until they fall below n: fewer than four times on average (Black and
    Rogaway, CT-RSA 2002, method 3).

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
        first, second = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
        steps = [(first + i * (second | 1)) % (1 << 64) for i in range(ROUNDS)]
        self._round_keys = splitmix64(np.array(steps, dtype=np.uint64))
        self._half_bits = np.uint64(((n - 1).bit_length() + 1) // 2)
        self._low = np.uint64((1 << int(self._half_bits)) - 1)
        self._sorted = self._sort() if n <= MAX_SORTED else None

    def __call__(self, places: IntArray) -> I64Array:
        """The numbers that stand at these places of the order, in an array of the same length.

        Raises:
            RangeError: A place is outside [0, n).
        """
        self._check(places)
        return self._walk(places, self._encrypt) if self._sorted is None else self._sorted[places]

    def at(self, place: int) -> int:
        """The number that stands at one place."""
        return int(self(np.array([place]))[0])

    def inverse(self, numbers: IntArray) -> I64Array:
        """The places at which these numbers stand.

        Raises:
            RangeError: A number is outside [0, n).
        """
        self._check(numbers)
        return self._walk(numbers, self._decrypt) if self._sorted is None else np.argsort(self._sorted)[numbers]

    def _check(self, values: IntArray) -> None:
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < self.n:
            raise RangeError(f"a place outside [0, {self.n})")

    def _sort(self) -> I64Array:
        numbers = splitmix64(np.arange(self.n, dtype=np.uint64) + self._round_keys[0]) ^ self._round_keys[1]
        return np.argsort(splitmix64(numbers), kind="stable").astype(np.int64)

    def _walk(self, values: IntArray, step: Callable[[U64Array], U64Array]) -> I64Array:
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
        for key in self._round_keys[::-1]:
            left, right = right ^ self._mix(left, key), left
        return (left << self._half_bits) | right

    def _mix(self, half: U64Array, key: np.uint64) -> U64Array:
        return splitmix64(half + key) & self._low
