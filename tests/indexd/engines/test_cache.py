"""The byte budget: made room for before building, pinned values safe, never exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import OutOfBudgetError
from vcfrag_core.search.cache import SegmentCache


def key(i: int, handle: str = "h"):
    return (handle, "tile", i, i + 1)


def put(cache: SegmentCache[int], i: int, size: int, handle: str = "h") -> int:
    with cache.pinned() as get:
        return get(key(i, handle), size, lambda: i)


def test_cache__least_recently_used_goes_first() -> None:
    cache: SegmentCache[int] = SegmentCache(100)
    for i in range(3):
        put(cache, i, 30)
    put(cache, 0, 30)
    put(cache, 3, 30)
    assert (cache.builds, cache.evictions) == (4, 1)
    put(cache, 0, 30)
    put(cache, 2, 30)
    assert cache.builds == 4
    put(cache, 1, 30)
    assert cache.builds == 5


def test_cache__pinned_values_stay() -> None:
    cache: SegmentCache[int] = SegmentCache(100)
    with cache.pinned() as get:
        get(key(0), 60, lambda: 0)
        with pytest.raises(OutOfBudgetError, match="60 in use"):
            put(cache, 1, 50)
        assert put(cache, 2, 40) == 2
        assert put(cache, 3, 40) == 3
        assert get(key(0), 60, lambda: -1) == 0


def test_cache__dropping_a_value_in_use_frees_it_only_when_it_is_let_go() -> None:
    cache: SegmentCache[int] = SegmentCache(100)
    with cache.pinned() as get:
        get(key(0), 60, lambda: 0)
        cache.drop("h")
        assert cache.used_bytes == 60
    assert cache.used_bytes == 0


def test_cache__room_is_made_before_the_value_is_built() -> None:
    cache: SegmentCache[int] = SegmentCache(100)
    put(cache, 0, 80)

    def build() -> int:
        assert cache.used_bytes <= 100
        assert cache.evictions == 1
        return 1

    with cache.pinned() as get:
        assert get(key(1), 80, build) == 1


def test_cache__a_failed_build_holds_nothing() -> None:
    cache: SegmentCache[int] = SegmentCache(100)

    def build() -> int:
        raise ValueError("no")

    with cache.pinned() as get, pytest.raises(ValueError, match="no"):
        get(key(0), 50, build)
    assert cache.used_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from(["get", "drop", "reserve"]), st.integers(0, 9), st.integers(0, 70)), max_size=60)
)
def test_cache__the_budget_is_never_exceeded(steps: list[tuple[str, int, int]]) -> None:
    cache: SegmentCache[int] = SegmentCache(100)
    sizes: dict[int, int] = {}
    for action, i, size in steps:
        if action == "get":
            put(cache, i, sizes.setdefault(i, size))
        elif action == "drop":
            cache.drop("h")
        else:
            with cache.reserve(size):
                assert cache.used_bytes <= 100
        held = sum(holding.n_bytes for holding in cache.holdings().values())
        assert held == cache.used_bytes <= cache.peak_bytes <= 100
