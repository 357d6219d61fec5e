"""Digests of what things were made from, and the hash that orders equals.

Each digest is BLAKE2b of 16 bytes, in hexadecimal, of a stated byte string under its own personalisation, so that
no two kinds of thing can share one. Changing a byte string means a new personalisation and new golden tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from vcfrag_core.types import U64Array

DIGEST_BYTES = 16


def text_digest(kind: str, *parts: str | bytes) -> str:
    """Digest of anything that a record names (a genetic map, a configuration), under its own kind."""
    made = hasher(kind)
    for part in parts:
        update_part(made, part)
    return made.hexdigest()


def update_part(made: hashlib.blake2b, part: str | bytes) -> None:
    """Takes in how long a part is, and its bytes."""
    data = part.encode() if isinstance(part, str) else part
    made.update(len(data).to_bytes(8, "little"))
    made.update(data)


def hasher(kind: str) -> hashlib.blake2b:
    """A new hasher of this kind of thing."""
    return hashlib.blake2b(digest_size=DIGEST_BYTES, person=f"vcfrag.{kind}.1".encode())


def update_strings(made: hashlib.blake2b, strings: Iterable[str]) -> None:
    """Takes in how many strings there are, how long each is, and their bytes."""
    encoded = [s.encode() for s in strings]
    made.update(len(encoded).to_bytes(8, "little"))
    made.update(np.array([len(s) for s in encoded], dtype="<i8").tobytes())
    made.update(b"".join(encoded))


def checksum(data: bytes | memoryview) -> str:
    """BLAKE2b of a piece of a file, in hexadecimal: that it is as it was written."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def splitmix64(x: U64Array) -> U64Array:
    """The SplitMix64 output function of x, element by element (Steele, Lea and Flood, OOPSLA 2014)."""
    z = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
