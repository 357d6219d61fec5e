"""Words of samples' cells as arrays of bytes, from which compiled loops join lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from vcfrag_core.output.genotypes import N_PAIRS, pair_key
from vcfrag_core.types import I16Array, I32Array, I64Array, U8Array

_CHUNK = 16
_FEWEST = 1024

# (n, W) bytes of words and (n,) lengths.
Words = tuple[U8Array, U8Array]


def packed(words: Sequence[bytes], width: int = 0) -> Words:
    """Words as rows of bytes, of which there are as many as copying by chunks asks for, at least `width`."""
    lengths = np.array([len(word) for word in words], dtype=np.uint8)
    width = -(-max([1, width, *map(len, words)]) // _CHUNK) * _CHUNK
    rows = np.zeros((len(words), width), dtype=np.uint8)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = np.frombuffer(word, dtype=np.uint8)
    return rows, lengths


class WordTable:
    """The word of every pair of dosages, made once, when it first occurs. Safe in threads.

    Args:
        make: Words of the pairs that `pair_key` made these numbers of.
        width: Bytes of the longest word at most; a multiple of 16 is kept for each.
    """

    def __init__(self, make: Callable[[I64Array], list[bytes]], width: int) -> None:
        self._make, self._width = make, -(-width // _CHUNK) * _CHUNK
        self._row_of = np.full(N_PAIRS, -1, dtype=np.int32)
        self._words = np.zeros((_FEWEST, self._width), dtype=np.uint8)
        self._lengths = np.zeros(_FEWEST, dtype=np.uint8)
        self._n = 0
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """W."""
        return self._width

    @property
    def words(self) -> Words:
        """All words made so far, in room for more."""
        with self._lock:
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
            if not len(new):
                return
            words, lengths = packed(self._make(new), self._width)
            stop = self._n + len(new)
            if stop > len(self._words):
                # Others may be reading the old ones.
                room = max(stop, 2 * len(self._words)) - len(self._words)
                self._words = np.concatenate([self._words, np.zeros((room, self._width), dtype=np.uint8)])
                self._lengths = np.concatenate([self._lengths, np.zeros(room, dtype=np.uint8)])
            self._words[self._n : stop], self._lengths[self._n : stop] = words, lengths
            self._row_of[new] = np.arange(self._n, stop, dtype=np.int32)
            self._n = stop
