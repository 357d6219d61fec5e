"""Bit order, padding and ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel import bits
from vcfrag_core.types import BoolArray

rows = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40))


@given(values=rows)
def test_pack__unpack_gives_the_values_back(values: BoolArray) -> None:
    packed = bits.pack(values)
    assert packed.shape == (*values.shape[:-1], bits.n_bytes(values.shape[-1]))
    np.testing.assert_array_equal(bits.unpack(packed, 0, values.shape[-1]), values)


@given(values=hnp.arrays(np.bool_, (3, 70)), ends=st.tuples(st.integers(0, 70), st.integers(0, 70)))
def test_unpack__any_range_is_a_slice(values: BoolArray, ends: tuple[int, int]) -> None:
    start, stop = sorted(ends)
    np.testing.assert_array_equal(bits.unpack(bits.pack(values), start, stop), values[:, start:stop])


@given(values=hnp.arrays(np.bool_, 21))
def test_pack__bit_i_is_byte_i_over_8_bit_i_mod_8(values: BoolArray) -> None:
    packed = bits.pack(values)
    assert [bool(packed[i >> 3] >> (i & 7) & 1) for i in range(21)] == values.tolist()
    assert packed[2] >> 5 == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 17)])
def test_unpack__ranges_outside_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ShapeError, match="2 bytes"):
        bits.unpack(np.zeros((1, 2), dtype=np.uint8), start, stop)
