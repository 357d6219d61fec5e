"""Distinct patterns of rows, against NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.hashing import splitmix64
from vcfrag_core.search.blocks import Blocks, halves
from vcfrag_core.search.distinct import HEAD, bring_heads_forward, join_few_patterns, join_patterns
from vcfrag_core.search.pattern_scan import fill_distances
from vcfrag_core.search.strips import Strip
from vcfrag_core.types import I32Array, U8Array


def by_first_row(alleles: U8Array) -> I32Array:
    """(R,) number of each row's pattern, patterns numbered as they come."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), len(seen)) for row in alleles], dtype=np.int32)


def strip_of(alleles: U8Array) -> Strip:
    """(R, M) alleles as a strip without gaps."""
    bits = np.packbits(alleles, axis=1, bitorder="little").T.copy()
    places = np.arange(alleles.shape[1], dtype=np.int64)
    return Strip(places, places, bits)


@given(data=st.data())
def test_blocks__patterns_and_their_distances_are_those_of_the_rows(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_sites, n_rows = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 40))
    alleles = rng.integers(0, 2, (6, n_sites), dtype=np.uint8)[rng.integers(0, 6, n_rows)]
    alleles ^= (rng.random(alleles.shape) < 0.02).astype(np.uint8)
    strip = strip_of(alleles)
    weights = np.zeros(8 * len(strip.bits), dtype=np.int32)
    weights[:n_sites] = rng.integers(0, 4, n_sites)
    borders = sorted({0, n_sites, *rng.integers(0, n_sites + 1, 5).tolist()})
    blocks = Blocks(strip, weights.reshape(-1, 8), borders, most=n_rows)
    n_queries = data.draw(st.sampled_from([3, 16, 35]))
    query, called = rng.integers(0, 2, (2, n_queries, n_sites), dtype=np.uint8)
    counted = weights[:n_sites] > 0
    for start in range(len(borders) - 1):
        for stop in range(start + 1, len(borders)):
            node = blocks.node(range(start, stop))
            sites = slice(borders[start], borders[stop])
            np.testing.assert_array_equal(node.of, by_first_row(alleles[:, sites][:, counted[sites]]))
            first = blocks.first_entry(node)
            program = blocks.program()
            found = np.empty((n_queries, len(program.lefts)), dtype=np.int32)
            packed = strip.pack_queries(query), strip.pack_queries(called)
            fill_distances(*packed, program.nodes, program.costs, program.lefts, program.rights, found)
            differs = (alleles[None, :, sites] != query[:, None, sites]) & (called[:, None, sites] == 1)
            np.testing.assert_array_equal(found[:, first + node.of], differs @ weights[:n_sites][sites])


def test_blocks__one_with_too_many_patterns_is_given_up() -> None:
    alleles = np.random.default_rng(1).integers(0, 2, (200, 60), dtype=np.uint8)
    alleles[:, :10] = 0
    strip = strip_of(alleles)
    blocks = Blocks(strip, np.ones((len(strip.bits), 8), dtype=np.int32), [0, 10, 60], most=100)
    assert blocks.block(0) is not None
    assert blocks.block(1) is None


@given(start=st.integers(0, 50), n=st.integers(2, 40))
def test_halves__make_up_the_whole_of_two_that_are_not_empty(start: int, n: int) -> None:
    left, right = halves(range(start, start + n))
    assert [*left, *right] == list(range(start, start + n))
    assert len(left) >= len(right) > 0


@given(data=st.data())
def test_bring_heads_forward__first_by_hash_and_row(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sizes = data.draw(st.lists(st.integers(1, 3 * HEAD), min_size=1, max_size=4))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    # Few different keys, so that hashes are equal, too.
    keys = rng.integers(0, data.draw(st.integers(1, 300)), starts[-1]).astype(np.uint64)
    before = rng.permutation(starts[-1]).astype(np.int32)
    for a, b in zip(starts, starts[1:], strict=False):
        before[a:b].sort()
    rows = before.copy()
    bring_heads_forward(rows, starts, keys, np.uint64(77))
    for a, b in zip(starts, starts[1:], strict=False):
        hashes = splitmix64(keys[before[a:b]] ^ np.uint64(77))
        expected = before[a:b][np.lexsort((before[a:b], hashes))[:HEAD]]
        assert sorted(rows[a : a + HEAD][: b - a]) == sorted(expected)
        assert sorted(rows[a:b]) == before[a:b].tolist()


@pytest.mark.parametrize(("n_left", "n_right"), [(1, 1), (7, 3), (40, 100)])
def test_join__by_a_table_and_by_hashes_numbers_pairs_as_they_come(n_left: int, n_right: int) -> None:
    random = np.random.default_rng(n_left)
    left, right = (random.integers(0, n, 300).astype(np.int32) for n in (n_left, n_right))
    numbers: dict[tuple[int, int], int] = {}
    expected = [numbers.setdefault(pair, len(numbers)) for pair in zip(left.tolist(), right.tolist(), strict=True)]
    table = np.full(n_left * n_right, -1, dtype=np.int32)
    of, (lefts, rights) = np.empty(300, dtype=np.int32), np.empty((2, 300), dtype=np.int32)
    hashed = np.empty(1024, dtype=np.uint64), np.empty(1024, dtype=np.int32)
    n = join_few_patterns(left, right, n_right, table, of, lefts, rights)
    assert (of.tolist(), n) == (expected, len(numbers))
    assert list(zip(lefts[:n].tolist(), rights[:n].tolist(), strict=True)) == list(numbers)
    n = join_patterns(left, right, *hashed, of, lefts, rights)
    assert (of.tolist(), n) == (expected, len(numbers))
    assert list(zip(lefts[:n].tolist(), rights[:n].tolist(), strict=True)) == list(numbers)
    assert (table == -1).all()
