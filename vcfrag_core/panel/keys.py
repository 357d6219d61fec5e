"""Keys that order equally near haplotypes, whatever their place in the file."""

from __future__ import annotations

import hashlib

import numpy as np

from vcfrag_core.hashing import update_strings
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import U64Array


def haplotype_keys(panel: Panel) -> U64Array:
    """(H,) tie-breaking keys: a keyed hash of each haplotype's content and its sample's name.

    Independent of the order of the panel's samples. Haplotypes of one sample with equal content share a key.
    """
    contiguous = np.ascontiguousarray(panel.packed)
    keys = np.empty(panel.n_haplotypes, dtype=np.uint64)
    for h, name in enumerate(panel.ploidy.of_haplotypes(panel.samples)):
        hasher = hashlib.blake2b(digest_size=8, key=b"vcfrag.tie.1")
        update_strings(hasher, [name])
        hasher.update(contiguous[h].data)
        keys[h] = int.from_bytes(hasher.digest(), "little")
    return keys
