"""Compact blocks: any matrix comes back, whatever is asked of it, and what is no block is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcfrag_core.panel.blocks import HAPLOTYPES_PER_CARRIER, decode, encode
from vcfrag_core.types import I64Array, U8Array


@dataclasses.dataclass(frozen=True)
class Matrix:
    """(V, H) zeros and ones, and their columns."""

    alleles: U8Array

    @property
    def columns(self) -> U8Array:
        return np.packbits(self.alleles, axis=0, bitorder="little")


def mosaic(seed: int, n_sites: int, n_haplotypes: int, n_founders: int, changed: float) -> Matrix:
    """Haplotypes that copy founders at sites of all frequencies, some alleles changed."""
    rng = np.random.default_rng(seed)
    founders = rng.random((n_sites, n_founders)) < rng.beta(0.3, 0.3, n_sites)[:, None]
    copied = founders[:, rng.integers(0, n_founders, n_haplotypes)]
    return Matrix((copied ^ (rng.random(copied.shape) < changed)).astype(np.uint8))


def slowly_decoded(content: U8Array) -> U8Array:
    """(V, H) alleles of a block, read number by number as its description says."""
    data, at = content.tobytes(), 0

    def take(width: int, n: int) -> list[int]:
        nonlocal at
        found = [int.from_bytes(data[at + width * i : at + width * (i + 1)], "little") for i in range(n)]
        at += -(-width * n // 8) * 8
        return found

    n_sites, n_haplotypes, n_rare, n_carriers, n_common, n_groups, _, _ = take(4, 8)
    n_runs = -(-n_haplotypes // 65_536)
    rare, starts = take(4, n_rare), take(4, n_rare * n_runs + 1)
    carriers, common, shapes = take(2, n_carriers), take(4, n_common), take(4, 2 * n_groups)
    out = np.zeros((n_sites, n_haplotypes), dtype=np.uint8)
    for r, code in enumerate(rare):
        for run in range(n_runs):
            for i in range(starts[r * n_runs + run], starts[r * n_runs + run + 1]):
                out[code >> 1, 65_536 * run + carriers[i]] = 1
        if code & 1:
            out[code >> 1] = 1 - out[code >> 1]
    for here, n_patterns in zip(shapes[::2], shapes[1::2], strict=True):
        index = take(2, n_haplotypes) if n_patterns else list(range(n_haplotypes))
        width = n_patterns or n_haplotypes
        patterns = take(1, -(-here // 8) * width)
        for j in range(here):
            site = common.pop(0)
            for h in range(n_haplotypes):
                out[site, h] = (patterns[(j >> 3) * width + index[h]] >> (j & 7)) & 1
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_sites=st.integers(1, 150),
    n_haplotypes=st.integers(1, 70),
    n_founders=st.integers(1, 8),
    changed=st.sampled_from([0.0, 0.003, 0.5]),
)
def test_encode__any_matrix_comes_back(
    seed: int, n_sites: int, n_haplotypes: int, n_founders: int, changed: float
) -> None:
    matrix = mosaic(seed, n_sites, n_haplotypes, n_founders, changed)
    content, counts = encode(matrix.columns, n_sites)
    np.testing.assert_array_equal(counts, matrix.alleles.sum(axis=1))
    np.testing.assert_array_equal(slowly_decoded(content), matrix.alleles)
    rng = np.random.default_rng(seed)
    sites = np.flatnonzero(rng.random(n_sites) < 0.5)
    rows = rng.permutation(n_haplotypes)[: rng.integers(1, n_haplotypes + 1)]
    for chosen in (None, rows):
        assert_read(content, matrix, sites, chosen, offset=int(rng.integers(0, 20)))


def assert_read(content: U8Array, matrix: Matrix, sites: I64Array, rows: I64Array | None, offset: int) -> None:
    wanted = matrix.alleles[sites] if rows is None else matrix.alleles[sites][:, rows]
    out = np.zeros((-(-(offset + len(sites)) // 8), wanted.shape[1]), dtype=np.uint8)
    decode(content).columns(sites, rows, out, offset)
    found = np.unpackbits(out, axis=0, bitorder="little")
    np.testing.assert_array_equal(found[offset : offset + len(sites)], wanted)
    assert not found[:offset].any()
    assert not found[offset + len(sites) :].any()


def test_encode__more_haplotypes_than_a_carrier_of_sixteen_bits_tells_apart() -> None:
    n, rng = 140_000, np.random.default_rng(3)
    alleles = (rng.random((20, n)) < np.array([0, 1e-5, 1e-3, 0.01, 0.3] * 4)[:, None]).astype(np.uint8)
    alleles[7] = 1 - alleles[7]
    alleles[:, [0, 65_535, 65_536, 131_071, 131_072, n - 1]] ^= 1
    matrix = Matrix(alleles)
    content, _ = encode(matrix.columns, 20)
    sites = np.arange(20)
    assert_read(content, matrix, sites, None, 0)
    for rows in (np.arange(60_000, 70_001), np.array([n - 1, 65_536, 0]), np.arange(131_072, n)):
        assert_read(content, matrix, sites, rows, 0)


def test_encode__takes_the_space_of_what_is_distinct() -> None:
    matrix = mosaic(1, 256, 20_000, 50, 0.0)
    content, _ = encode(matrix.columns, 256)
    frequency = matrix.alleles.mean(axis=1)
    common = np.minimum(frequency, 1 - frequency) > 1 / HAPLOTYPES_PER_CARRIER
    assert common.sum() > 100
    block = decode(content)
    assert len(block.groups) == 1
    assert block.groups[0].patterns.shape[1] <= 50
    # Two bytes for each haplotype's pattern, and two for every carrier of a rare allele.
    assert content.nbytes < 2 * 20_000 + 2 * len(block.carriers) + 50_000


def harmed(content: U8Array, at: int, value: int) -> U8Array:
    changed = content.copy()
    changed.view("<u4")[at] = value
    return changed


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda content, block: content[:-8], "cut short"),
        (lambda content, block: harmed(content, 0, 500), "sites that are none"),
        (lambda content, block: harmed(content, 1, 1), "none"),
        (lambda content, block: harmed(content, 2, 1 << 30), "cut short"),
        (lambda content, block: harmed(content, 8, 9_999), "sites that are none"),
        (lambda content, block: harmed(content, 8 + (len(block.rare) + 1) // 2 * 2 + 1, 1 << 31), "carriers"),
    ],
)
def test_decode__refuses_what_is_no_block(harm: Any, told: str) -> None:
    content, _ = encode(mosaic(2, 100, 400, 8, 0.002).columns, 100)
    block = decode(content)
    assert len(block.carriers) > 8
    assert len(block.groups) == 1
    with pytest.raises(ValueError, match=told):
        decode(harm(content, block))
    for name in ("carriers", "index"):
        changed = content.copy()
        places = decode(changed).carriers if name == "carriers" else decode(changed).groups[0].index
        assert places is not None
        places[-1] = 65_535
        with pytest.raises(ValueError, match="none"):
            decode(changed)
