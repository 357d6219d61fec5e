"""Lines joined from words of bytes, beside Python's own joining."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.files.vcf.kernels import join_words
from vcfrag_core.files.vcf.words import Words, WordTable, padded
from vcfrag_core.output.genotypes import NONE, ONE, pair_of
from vcfrag_core.types import I16Array, I64Array

WIDTH = len(b"\t1000|1000")


def cell(first: int, second: int) -> bytes:
    return b"\t%d" % first if second == NONE else b"\t%d|%d" % (first, second)


def packed(words: Sequence[bytes], width: int) -> Words:
    rows = np.zeros((len(words), padded(width)), dtype=np.uint8)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = list(word)
    return rows, np.array([len(word) for word in words], dtype=np.uint8)


def words_of(keys: I64Array) -> Words:
    first, second = pair_of(keys)
    return packed([cell(*pair) for pair in zip(first.tolist(), second.tolist(), strict=True)], WIDTH)


def dosages(rng: np.random.Generator, n_sites: int, n_samples: int) -> I16Array:
    found = rng.integers(0, ONE + 1, (n_sites, n_samples, 2)).astype(np.int16)
    found[rng.random((n_sites, n_samples)) < 0.2, 1] = NONE
    return found


def said_slowly(dosage: I16Array) -> list[bytes]:
    return [b"".join(b"\t%d" % a if b == NONE else b"\t%d|%d" % (a, b) for a, b in site) for site in dosage.tolist()]


def lines_of(table: WordTable, dosage: I16Array) -> list[bytes]:
    rows, ends = table.rows(dosage), np.empty(len(dosage), dtype=np.int64)
    joined = join_words(rows, *table.words, *packed([], WIDTH), ends)
    assert len(joined) == (ends[-1] if len(ends) else 0)
    return [part.tobytes() for part in np.split(joined, ends[:-1])] if len(ends) else []


@given(seed=st.integers(0, 2**32 - 1), n_sites=st.integers(1, 6), n_samples=st.integers(1, 40))
def test_word_table__says_what_is_said_slowly(seed: int, n_sites: int, n_samples: int) -> None:
    table, rng = WordTable(words_of, WIDTH), np.random.default_rng(seed)
    for _ in range(2):
        dosage = dosages(rng, n_sites, n_samples)
        assert lines_of(table, dosage) == said_slowly(dosage)


def test_word_table__grows_while_threads_read_it() -> None:
    table = WordTable(words_of, WIDTH)
    parts = [dosages(np.random.default_rng(seed), 4, 300) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda dosage: lines_of(table, dosage), parts))
    assert found == [said_slowly(dosage) for dosage in parts]


@pytest.mark.parametrize("longest", [1, 15, 16, 17, 48])
def test_join_words__takes_other_words_among_those_of_the_table(longest: int) -> None:
    rng = np.random.default_rng(longest)
    kinds = [
        [bytes(rng.integers(65, 91, rng.integers(0, longest + 1)).astype(np.uint8)) for _ in range(9)] for _ in "ab"
    ]
    words, others = (packed(kind, longest) for kind in kinds)
    rows = rng.integers(-9, 9, (5, 20)).astype(np.int32)
    ends = np.empty(5, dtype=np.int64)
    joined = join_words(rows, *words, *others, ends).tobytes()
    slowly = [b"".join(kinds[0][r] if r >= 0 else kinds[1][-1 - r] for r in line) for line in rows.tolist()]
    assert joined == b"".join(slowly)
    assert ends.tolist() == np.cumsum([len(line) for line in slowly]).tolist()
