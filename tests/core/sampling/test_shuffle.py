"""Streams of random numbers and the order that takes no memory."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import RangeError
from vcfrag_core.sampling.shuffle import MAX_SORTED, Shuffle
from vcfrag_core.streams import Stream, stream_key


def key(*parts: str | int) -> bytes:
    return stream_key("test", *parts)


@given(n=st.integers(1, 3000), seed=st.integers(0, 1000))
def test_shuffle__is_a_bijection_with_an_inverse(n: int, seed: int) -> None:
    shuffle = Shuffle(n, key(seed))
    order = shuffle(np.arange(n))
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(shuffle.inverse(order), np.arange(n))


@given(n=st.integers(1, 1 << 62), seed=st.integers(0, 1000), data=st.data())
def test_shuffle__inverts_at_any_size(n: int, seed: int, data: st.DataObject) -> None:
    shuffle = Shuffle(n, key(seed))
    places = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)))
    numbers = shuffle(places)
    assert bool(((numbers >= 0) & (numbers < n)).all())
    np.testing.assert_array_equal(shuffle.inverse(numbers), places)
    assert [shuffle.at(int(place)) for place in places] == numbers.tolist()


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_shuffle__every_order_of_a_handful_is_as_likely(n: int) -> None:
    orders, draws = math.factorial(n), 40 * math.factorial(n)
    counts = collections.Counter(tuple(Shuffle(n, key(i))(np.arange(n)).tolist()) for i in range(draws))
    chi_squared = sum((counts[order] - 40) ** 2 / 40 for order in counts) + 40 * (orders - len(counts))
    assert chi_squared < orders + 5 * math.sqrt(2 * orders)


@pytest.mark.parametrize("n", [24, MAX_SORTED + 76])
def test_shuffle__every_part_of_the_order_holds_every_part_of_the_numbers_as_often(n: int) -> None:
    draws, parts = 500, 24
    counts = np.zeros((parts, parts))
    part_of = np.arange(n) * parts // n
    for i in range(draws):
        np.add.at(counts, (part_of, part_of[Shuffle(n, key(i))(np.arange(n))]), 1)
    sizes = np.bincount(part_of)
    expected = draws * np.outer(sizes, sizes) / n
    chi_squared = float(((counts - expected) ** 2 / expected).sum()) * (n - 1) / n
    assert chi_squared / (parts - 1) ** 2 == pytest.approx(1, abs=5 * math.sqrt(2) / (parts - 1))


def test_shuffle__golden() -> None:
    assert Shuffle(331, key("golden"))(np.arange(6)).tolist() == [5, 246, 282, 201, 110, 57]
    assert Shuffle(10**12, key("golden"))(np.arange(3)).tolist() == [965033473413, 221974225561, 737496818421]


@pytest.mark.parametrize("n", [0, -1, (1 << 62) + 1])
def test_shuffle__sizes_outside_are_refused(n: int) -> None:
    with pytest.raises(RangeError, match="a shuffle of"):
        Shuffle(n, key())


@pytest.mark.parametrize("place", [-1, 10])
def test_shuffle__places_outside_are_refused(place: int) -> None:
    with pytest.raises(RangeError, match=r"outside \[0, 10\)"):
        Shuffle(10, key())(np.array([3, place]))


def test_stream__golden() -> None:
    stream = Stream("test", 1, "a")
    assert stream.raw(2).tolist() == [17300555881391892496, 7459908750935578060]
    assert stream.uniform(2).tolist() == [0.12999834147053535, 0.9828564669685675]


def test_stream__names_do_not_run_together() -> None:
    names: list[tuple[str | int, ...]] = [("a", 1, 2), ("a", 12), ("a1", 2), ("a", "1", "2", ""), ("a", 2, 1)]
    assert len({int(Stream(*name).raw(1)[0]) for name in names}) == len(names)
    assert stream_key("a", 1) == stream_key("a", "1")


def test_stream__uniform_fills_the_unit_interval() -> None:
    numbers = Stream("test").uniform(100_000)
    assert 0 <= float(numbers.min()) < 1e-4
    assert 1 - 1e-4 < float(numbers.max()) < 1
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 50
