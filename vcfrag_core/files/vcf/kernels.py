"""Cells of samples joined to lines: compiled loops that look words up and copy them 16 bytes at a time."""

# Scalars are of the arrays' own type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,operator"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcfrag_core.kernel import kernel
from vcfrag_core.output.genotypes import NONE, ONE
from vcfrag_core.types import I16Array, I32Array, I64Array, U8Array

CHUNK = 16
_BYTES = ir.VectorType(ir.IntType(8), CHUNK)


def _copy_chunk(_: Any, source: Any, row: Any, column: Any, target: Any, at: Any) -> Any:
    """target[at : at + CHUNK] = source[row, column : column + CHUNK], of bytes that follow each other."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 3))
        _, row, column, _, at = arguments
        width = cgutils.unpack_tuple(builder, source.shape)[1]
        start = builder.add(builder.mul(row, width), column)
        places = [
            builder.bitcast(builder.gep(data, [place]), _BYTES.as_pointer())
            for data, place in ((source.data, start), (target.data, at))
        ]
        builder.store(builder.load(places[0], align=1), places[1], align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp), generate


_copy: Any = intrinsic(_copy_chunk)


@kernel
def put_together(numbers: I16Array, before: U8Array, texts: U8Array, text_lengths: U8Array, words: U8Array) -> U8Array:
    """Writes words that are made of texts, and returns their lengths.

    Args:
        numbers: (n, C) texts of each word, below 0 where there is none.
        before: (C,) the byte before each.
        texts: (T, W') bytes of the texts.
        text_lengths: (T,) how many of them are the text's.
        words: (n, W) filled.
    """
    lengths = np.empty(len(words), dtype=np.uint8)
    for i in range(numbers.shape[0]):
        at = 0
        for c in range(numbers.shape[1]):
            number = numbers[i, c]
            if number >= 0:
                words[i, at] = before[c]
                at += 1
                for b in range(text_lengths[number]):
                    words[i, at + b] = texts[number, b]
                at += np.int64(text_lengths[number])
        lengths[i] = at
    return lengths


@kernel
def look_up(dosage: I16Array, row_of: I32Array, rows: I32Array) -> int:
    """Finds the row of each pair of dosages, by `pair_key`; returns how many have none yet, which is -1.

    Args:
        dosage: (L, S, 2) in thousandths.
        row_of: (N_PAIRS,) row of each pair's word, or -1.
        rows: (L, S) filled.
    """
    n_missing = 0
    for i in range(dosage.shape[0]):
        for s in range(dosage.shape[1]):
            first, second = np.int64(dosage[i, s, 0]), np.int64(dosage[i, s, 1])
            key = first + (ONE + 1) ** 2 if second == NONE else first * (ONE + 1) + second
            rows[i, s] = row_of[key]
            n_missing += rows[i, s] < 0
    return n_missing


@kernel
def join_words(
    rows: I32Array, words: U8Array, lengths: U8Array, others: U8Array, other_lengths: U8Array, ends: I64Array
) -> U8Array:
    """The words of L lines after each other, and where each line ends.

    Args:
        rows: (L, S) row of each word among `words`, or of `others` as -1 - row.
        words: (n, W) bytes of each word, W a multiple of CHUNK.
        lengths: (n,) how many of them are the word's.
        others, other_lengths: More of them, of the same W.
        ends: (L,) filled.
    """
    total = 0
    for i in range(rows.shape[0]):
        for s in range(rows.shape[1]):
            r = rows[i, s]
            total += lengths[r] if r >= 0 else other_lengths[-1 - r]
        ends[i] = total
    # A last word's chunks may go beyond its end.
    out = np.empty(total + words.shape[1], dtype=np.uint8)
    at = 0
    for i in range(rows.shape[0]):
        for s in range(rows.shape[1]):
            r = rows[i, s]
            if r >= 0:
                length = np.int64(lengths[r])
                for piece in range(0, length, CHUNK):
                    _copy(words, r, piece, out, at + piece)
            else:
                length = np.int64(other_lengths[-1 - r])
                for piece in range(0, length, CHUNK):
                    _copy(others, -1 - r, piece, out, at + piece)
            at += length
    return out[:total]
