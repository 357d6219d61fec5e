"""Streams of random numbers, named by what they are for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.streams import Stream, first_numbers


@given(seed=st.integers(0, 2**64), names=st.lists(st.text(), max_size=20))
def test_first_numbers__are_those_of_the_streams(seed: int, names: list[str]) -> None:
    found = first_numbers("rates", seed, "sample", last=names)
    expected = [int(Stream("rates", seed, "sample", name).raw(1)[0]) for name in names]
    assert found.dtype == np.uint64
    assert found.tolist() == expected
