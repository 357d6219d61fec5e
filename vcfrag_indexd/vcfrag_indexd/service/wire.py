"""How much an encoded message holds, told before protobuf unfolds it into objects many times its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vcfrag_core.errors import RangeError, ShapeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT_BYTES = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """What is allowed of one field.

    Attributes:
        name: As a message calls it.
        most: How often it may come.
        most_bytes: How long each may be.
        inner: Bounds of the fields of the message that it holds.
    """

    name: str
    most: int = 1
    most_bytes: int | None = None
    inner: Mapping[int, Bound] = dataclasses.field(default_factory=dict)


def count_fields(data: bytes, bounds: Mapping[int, Bound]) -> int:
    """The fields of an encoded message that may come more than once, all together.

    Args:
        data: The message.
        bounds: What is allowed, by field number; fields that are not named may come once.

    Raises:
        RangeError: A field comes too often or is too long; says which.
        ShapeError: The bytes are no message.
    """
    return _count(data, 0, len(data), bounds, {})


def _count(data: bytes, at: int, stop: int, bounds: Mapping[int, Bound], seen: dict[Bound, int]) -> int:
    total = 0
    unnamed: dict[int, Bound] = {}
    while at < stop:
        key, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at, stop)
        kind = key & 7
        if kind == VARINT:
            n, (_, begin) = 0, _varint(data, at, stop)
        elif kind == BYTES:
            # Nearly all are short: a look at one byte is enough.
            n, begin = (data[at], at + 1) if at < stop and data[at] < 0x80 else _varint(data, at, stop)
        elif kind in FIXED_BYTES:
            n, begin = FIXED_BYTES[kind], at
        else:
            raise ShapeError(f"{len(data)} bytes that are not the message: wire type {kind}")
        at = begin + n
        if at > stop:
            raise ShapeError(f"{len(data)} bytes that are not the message: a field ends beyond it")
        number = key >> 3
        bound = bounds.get(number) or unnamed.get(number)
        if bound is None:
            bound = unnamed[number] = Bound(name=f"field {number}")
        total += _note(bound, n, seen)
        if bound.inner and kind == BYTES:
            total += _count(data, begin, at, bound.inner, seen)
    return total


def _note(bound: Bound, n_bytes: int, seen: dict[Bound, int]) -> int:
    """Counts one field; 1 if there may be more of it."""
    times = seen[bound] = seen.get(bound, 0) + 1
    if times > bound.most:
        raise RangeError(f"more than {bound.most} {bound.name} in one message")
    if bound.most_bytes is not None and n_bytes > bound.most_bytes:
        raise RangeError(f"{bound.name}: {n_bytes} bytes, more than {bound.most_bytes}")
    return int(bound.most > 1)


def _varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number, and where what follows it begins."""
    value = shift = 0
    while at < stop and shift < 7 * LONGEST_VARINT_BYTES:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ShapeError(f"{len(data)} bytes that are not the message: a number without an end")
