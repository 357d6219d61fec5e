"""Blocks of BGZF and the bins of an index."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.files.vcf import bgzf
from vcfrag_core.files.vcf import index as vcf_index


@given(data=st.binary(max_size=200_000), cut=st.integers(1, 1000))
def test_bgzf__is_gzip_and_its_offsets_lead_back(data: bytes, cut: int) -> None:
    packed, blocks = bgzf.compress(data)
    whole = packed + bgzf.EOF_BLOCK
    assert gzip.decompress(whole) == data
    offsets = np.arange(0, len(data) + 1, cut, dtype=np.int64)
    for offset, place in zip(offsets.tolist(), bgzf.virtual_offsets(offsets, blocks, 0).tolist(), strict=True):
        rest = gzip.decompress(whole[place >> 16 :])
        assert rest[place & 0xFFFF :] == data[offset:]


@pytest.mark.parametrize("level", range(1, 10))
def test_bgzf__what_cannot_be_compressed_fits_into_blocks(level: int) -> None:
    data = np.random.default_rng(1).bytes(3 * bgzf.BLOCK_BYTES + 17)
    packed, blocks = bgzf.compress(data, level=level)
    assert gzip.decompress(packed) == data
    assert (np.diff(blocks) <= 65_536).all()


@given(st.lists(st.tuples(st.integers(0, 2**29 - 2), st.integers(1, 10**6)), min_size=1, max_size=30))
def test_vcf_index__bins_are_those_of_the_specification(intervals: list[tuple[int, int]]) -> None:
    def reg2bin(begin: int, end: int) -> int:
        """The function of the SAM specification, section 5.3."""
        end -= 1
        for shift, first in ((14, 4681), (17, 585), (20, 73), (23, 9), (26, 1)):
            if begin >> shift == end >> shift:
                return first + (begin >> shift)
        return 0

    begins = np.array([b for b, _ in intervals], dtype=np.int64)
    ends = np.minimum(begins + np.array([n for _, n in intervals]), 2**29)
    wanted = [reg2bin(b, e) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
    assert vcf_index.bins_of(begins, ends, vcf_index.TBI_DEPTH).tolist() == wanted
