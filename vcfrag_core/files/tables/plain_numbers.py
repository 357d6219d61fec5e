"""Tables of plain numbers, all of whose lines are read at once: line by line takes two or three times as long."""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.types import F64Array, I64Array

_NEWLINE, _POINT, _ZERO, _MOST = *b"\n.0", 9
# Powers of ten up to this, and whole numbers of so many digits, are exact in double precision: their quotient is the
# nearest number to the decimal that is written (Clinger, PLDI 1990).
_MAX_DIGITS: Final = 15
_POWERS: Final = np.array([10.0**n for n in range(_MAX_DIGITS + 1)])


class PlainTable:
    """Lines of `n_fields` fields each, in ASCII, between spaces and tabs; blank lines may lie among them.

    Args:
        text: The lines.
        n_fields: Fields of every line.

    Attributes:
        numbers: (n,) number of each line, from 1.

    Raises:
        ValueError: The text is of another kind.
    """

    def __init__(self, text: bytes, n_fields: int) -> None:
        self._bytes = np.frombuffer(text, dtype=np.uint8)
        is_blank = self._bytes <= ord(" ")
        n_plain = sum(int(np.count_nonzero(self._bytes == blank)) for blank in b"\t\n ")
        if int(np.count_nonzero(is_blank)) != n_plain or bool((self._bytes > ord("~")).any()):
            raise ValueError("no plain text")
        borders = np.flatnonzero(np.diff(is_blank, prepend=True, append=True))
        if not len(borders) or len(borders) % (2 * n_fields):
            raise ValueError("no table")
        self._starts, self._stops = (borders[side::2].reshape(-1, n_fields) for side in (0, 1))
        ends = np.flatnonzero(self._bytes == _NEWLINE)
        first, last = (np.searchsorted(ends, self._starts[:, field]) for field in (0, -1))
        self.numbers: I64Array = first + 1
        if bool((first != last).any()) or bool((np.diff(first) == 0).any()):
            raise ValueError("no table")

    def word(self, field: int) -> str:
        """What all lines have in a field.

        Raises:
            ValueError: They differ.
        """
        start, stop = self._starts[:, field], self._stops[:, field]
        width = int(stop[0] - start[0])
        if bool((stop - start != width).any()):
            raise ValueError("they differ")
        for place in range(width):
            letters = self._bytes[start + place]
            if bool((letters != letters[0]).any()):
                raise ValueError("they differ")
        return self._bytes[start[0] : stop[0]].tobytes().decode()

    def whole(self, field: int) -> I64Array:
        """(n,) whole numbers of a field.

        Raises:
            ValueError: There is something else than digits, or more than 15.
        """
        digits, n_after = self._decimals(field)
        if bool((n_after >= 0).any()):
            raise ValueError("no whole numbers")
        return digits.astype(np.int64)

    def decimal(self, field: int) -> F64Array:
        """(n,) numbers of a field: digits, and perhaps a point between or beside them.

        Raises:
            ValueError: There is something else, or more than 15 digits.
        """
        digits, n_after = self._decimals(field)
        numbers: F64Array = digits / _POWERS[np.maximum(n_after, 0)]
        return numbers

    def _decimals(self, field: int) -> tuple[F64Array, I64Array]:
        """(n,) digits of a field as a whole number, and how many stand behind a point; -1 where there is none."""
        start, length = self._starts[:, field], self._stops[:, field] - self._starts[:, field]
        digits, n_after = np.zeros(len(start)), np.full(len(start), -1)
        for place in range(int(length.max())):
            here = np.flatnonzero(length > place) if bool((length <= place).any()) else slice(None)
            letter = self._bytes[start[here] + place]
            value = letter - np.uint8(_ZERO)
            is_point, before = letter == _POINT, n_after[here]
            if bool(((value > _MOST) & ~is_point).any()) or bool((is_point & (before >= 0)).any()):
                raise ValueError("no number")
            digits[here] = np.where(is_point, digits[here], 10 * digits[here] + value)
            n_after[here] = before + (is_point | (before >= 0))
        n_digits = length - (n_after >= 0)
        if not 1 <= int(n_digits.min()) <= int(n_digits.max()) <= _MAX_DIGITS:
            raise ValueError("no number, or a long one")
        return digits, n_after
