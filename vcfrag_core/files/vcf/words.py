"""Words of samples' cells as arrays of bytes, from which compiled loops join lines."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from vcfrag_core.output.genotypes import N_PAIRS, pair_key
from vcfrag_core.types import I16Array, I32Array, I64Array, U8Array

_CHUNK = 16

# (n, W) bytes of words and (n,) lengths.
Words = tuple[U8Array, U8Array]


def padded(width: int) -> int:
    """The width of rows for words of at most so many bytes."""
    return -(-max(1, width) // _CHUNK) * _CHUNK


class WordTable:
    """The word of every pair of dosages, made once, when it first occurs. Safe in threads.

    Args:
        make: Words of the pairs that `pair_key` made these numbers of, in rows of the padded width.
        width: Bytes of the longest word at most.
    """

    def __init__(self, make: Callable[[I64Array], Words], width: int) -> None:
        self._make = make
        self._row_of = np.full(N_PAIRS, -1, dtype=np.int32)
        # Room for all, of which the system gives what is written to.
        self._words = np.zeros((N_PAIRS, padded(width)), dtype=np.uint8)
        self._lengths = np.zeros(N_PAIRS, dtype=np.uint8)
        self._n = 0
        self._lock = threading.Lock()

    @property
    def words(self) -> Words:
        """All words made so far, in room for more."""
        return self._words, self._lengths

    def rows(self, dosage: I16Array) -> I32Array:
        """(L, S) row among `words` of each sample's pair of (L, S, 2) dosages in thousandths."""
        from vcfrag_core.files.vcf.kernels import look_up

        dosage = np.ascontiguousarray(dosage)
        rows = np.empty(dosage.shape[:2], dtype=np.int32)
        if look_up(dosage, self._row_of, rows):
            missing = dosage[rows < 0]
            self._add(np.unique(pair_key(missing[:, 0], missing[:, 1])))
            look_up(dosage, self._row_of, rows)
        return rows

    def _add(self, keys: I64Array) -> None:
        with self._lock:
            new = keys[self._row_of[keys] < 0]
            stop = self._n + len(new)
            self._words[self._n : stop], self._lengths[self._n : stop] = self._make(new)
            # Last: another thread may look for the same words.
            self._row_of[new] = np.arange(self._n, stop, dtype=np.int32)
            self._n = stop
