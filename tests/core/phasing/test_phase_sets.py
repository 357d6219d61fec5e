"""Phase sets of one sample that lie within each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.phasing.phase_sets import set_starts, without_overlaps
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.types import I32Array

U = UNPHASED


@pytest.mark.parametrize(
    ("sets", "kept"),
    [
        ([], []),
        ([U, U], [U, U]),
        ([1, U, 1, 2, U, 2], [1, U, 1, 2, U, 2]),
        ([1, 2, 1, 1, 2, 1], [1, U, 1, 1, U, 1]),
        ([1, 2, 1, 2, 2], [1, 2, U, 2, 2]),
        ([7, 0, 7, 0], [7, 0, U, 0]),
        ([3, 1, 2, 1, 3, 3, 3], [3, U, U, U, 3, 3, 3]),
    ],
)
def test_without_overlaps__keeps_the_larger_set(sets: list[int], kept: list[int]) -> None:
    assert without_overlaps(np.array(sets, dtype=np.int32)).tolist() == kept


@given(st.lists(st.integers(-1, 5), max_size=30).map(lambda sets: np.array(sets, dtype=np.int32)))
def test_without_overlaps__of_any_sets_the_largest_stays_whole_and_no_two_overlap(sets: I32Array) -> None:
    made = without_overlaps(sets)
    changed = made != sets
    assert (made[changed] == UNPHASED).all()
    starts = [*set_starts(made).tolist(), len(made)]
    for start, stop in zip(starts, starts[1:], strict=False):
        run = made[start:stop]
        assert len(set(run[run != UNPHASED].tolist())) == 1
    known = sets[sets != UNPHASED]
    if len(known):
        numbers, sizes = np.unique(known, return_counts=True)
        largest = numbers[np.argmax(sizes)]
        assert not changed[sets == largest].any()
    if not changed.any():
        return
    spans = [(np.flatnonzero(sets == n)[0], np.flatnonzero(sets == n)[-1]) for n in np.unique(known)]
    assert any(a < c <= b for a, b in spans for c, _ in spans)
