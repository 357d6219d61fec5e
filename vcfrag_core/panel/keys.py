"""Keys that order equally near haplotypes, whatever their place in the file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np

from vcfrag_core.panel.panel import Panel, digest_without_bits
from vcfrag_core.types import U64Array


def haplotype_keys(panel: Panel) -> U64Array:
    """(H,) tie-breaking keys: a keyed hash of each haplotype's content and its sample's name.

    Independent of the order of the panel's samples. Haplotypes of one sample with equal content share a key.
    """
    return _hashed(panel, None)


def digest_and_keys(panel: Panel) -> tuple[str, U64Array]:
    """The panel's digest and `haplotype_keys`, from one reading of a panel whose bits are not in memory."""
    made = digest_without_bits(panel)
    keys = _hashed(panel, made)
    return made.hexdigest(), keys


def _named(sample: str) -> bytes:
    """What `hashing.update_strings` takes in of one string."""
    encoded = sample.encode()
    return struct.pack("<qq", 1, len(encoded)) + encoded


def _hashed(panel: Panel, digest: hashlib.blake2b | None) -> U64Array:
    """`haplotype_keys`; the digest takes in the same bits."""
    keys = np.empty(panel.n_haplotypes, dtype=np.uint64)
    names = panel.ploidy.of_haplotypes(map(_named, panel.samples))
    for rows in panel.bits.row_slices():
        # In a function of its own, so that these bits are gone before the next are made.
        _hash_some(panel, rows, names, digest, keys)
    return keys


def _hash_some(
    panel: Panel, rows: slice, names: Sequence[bytes], digest: hashlib.blake2b | None, keys: U64Array
) -> None:
    contiguous = np.ascontiguousarray(panel.bits.rows(rows))
    if digest is not None:
        digest.update(contiguous.data)
    for h, row in enumerate(contiguous, start=rows.start):
        hasher = hashlib.blake2b(names[h], digest_size=8, key=b"vcfrag.tie.1")
        hasher.update(row.data)
        keys[h] = int.from_bytes(hasher.digest(), "little")
