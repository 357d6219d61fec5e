"""The order of neighbours: golden hashes, a worked example, and the compiled loops against NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.hashing import splitmix64
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.retrieval.order import distances, nearest, tie_hash
from vcfrag_core.search import select as compiled


def test_splitmix64__golden_values() -> None:
    # The first outputs of the published C code (https://prng.di.unimi.it/splitmix64.c) from seed 1234567.
    state, expected = 1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = np.array([state + i * 0x9E3779B97F4A7C15 for i in range(3)], dtype=object) % 2**64
    assert splitmix64(states.astype(np.uint64)).tolist() == expected


@given(st.integers(0, 2**64 - 1))
def test_splitmix64__compiled_equals_numpy(x: int) -> None:
    assert int(compiled.splitmix64(np.uint64(x))) == int(splitmix64(np.array([x], dtype=np.uint64))[0])


def test_tie_hash__depends_on_the_segment() -> None:
    keys = np.arange(50, dtype=np.uint64)
    assert not np.array_equal(np.argsort(tie_hash(keys, 0, 8)), np.argsort(tie_hash(keys, 8, 16)))


def test_distances__counts_weighted_differences_at_called_observed_sites() -> None:
    query = np.array([0, 1, -1, 1, 0], dtype=np.int8)
    reference = np.array([[0, 1, 1, 1, 0], [1, 0, 1, 1, 1]], dtype=np.uint8)
    observed = np.array([True, True, True, True, False])
    steps = np.array([1, 10, 100, 1000, 10_000], dtype=np.int32)
    assert distances(query, reference, observed, steps).tolist() == [0, 11]


def order(keys: list[int], wide: tuple[int, int]) -> list[int]:
    reference = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    ids, _ = nearest(
        np.zeros(4, dtype=np.int8),
        reference,
        ids=np.array([10, 11, 12, 13], dtype=np.int32),
        keys=np.array(keys, dtype=np.uint64),
        observed=np.ones(4, dtype=np.bool_),
        steps=np.full(4, 1024, dtype=np.int32),
        offset=0,
        segment=Segment(0, 0, 2),
        enclosing=wide,
        k=5,
    )
    return ids.tolist()


def test_nearest__distance_then_enclosing_distance() -> None:
    found = order([1, 2, 3, 4], (0, 4))
    assert set(found[:2]) == {11, 13}
    assert found[2:] == [10, 12, -1]


def test_nearest__equal_distances_go_by_hash_and_equal_keys_by_id() -> None:
    hashed = tie_hash(np.array([1, 2, 4], dtype=np.uint64), 0, 2)
    by_hash = [[10, 11, 13][i] for i in np.argsort(hashed)]
    assert order([1, 2, 3, 4], (0, 2))[:3] == by_hash
    assert order([7, 7, 7, 7], (0, 2)) == [10, 11, 13, 12, -1]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.data())
def test_kth__is_the_kth_smallest(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    assert int(compiled.kth(np.array(values, dtype=np.int64), len(values), k)) == sorted(values)[k]
