"""Bits in memory and in compact blocks answer alike, and a panel is the same however they are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compact_panels import compact, every_panel_is_large
from tests.conftest import mosaic_panel
from vcfrag_core.errors import ShapeError
from vcfrag_core.panel import compact as compact_bits
from vcfrag_core.panel.bits import pack
from vcfrag_core.panel.compact import CompactBits, RecentBlocks
from vcfrag_core.panel.growing_bits import sites_per_block
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel, alleles_at, frequency_at
from vcfrag_core.panel.pbwt import pbwt_changes
from vcfrag_core.panel.storage import DenseBits


def rare_panel(seed: int, n_samples: int, n_sites: int) -> Panel:
    """Sites of all frequencies, many of one or two carriers."""
    rng = np.random.default_rng(seed)
    return Panel.from_haplotypes(rng.random((2 * n_samples, n_sites)) < rng.beta(0.1, 0.4, n_sites))


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(1, 40),
    n_sites=st.integers(1, 300),
    block_sites=st.sampled_from([8, 64, 128]),
)
def test_compact_bits__answer_like_bits_in_memory(seed: int, n_samples: int, n_sites: int, block_sites: int) -> None:
    panel = rare_panel(seed, n_samples, n_sites)
    other, rng = compact(panel, block_sites), np.random.default_rng(seed)
    ours, theirs = other.bits, panel.bits
    sites = np.flatnonzero(rng.random(n_sites) < 0.4)
    rows = rng.integers(0, panel.n_haplotypes, 5)
    np.testing.assert_array_equal(ours.packed(), theirs.packed())
    np.testing.assert_array_equal(ours.rows(slice(1, 3)), theirs.rows(slice(1, 3)))
    np.testing.assert_array_equal(ours.words(sites), theirs.words(sites))
    np.testing.assert_array_equal(ours.counts(), theirs.counts())
    np.testing.assert_array_equal(ours.counts_at(sites[::-1]), theirs.counts_at(sites[::-1]))
    for chosen in (None, rows, rng.permutation(panel.n_haplotypes)):
        np.testing.assert_array_equal(ours.columns(sites, chosen), theirs.columns(sites, chosen))
        np.testing.assert_array_equal(ours.counts(chosen), theirs.counts(chosen))
        mixed = rng.permutation(sites)
        np.testing.assert_array_equal(ours.alleles(mixed, chosen), theirs.alleles(mixed, chosen))
    np.testing.assert_array_equal(alleles_at(other, sites, slice(0, 2)), alleles_at(panel, sites, slice(0, 2)))
    np.testing.assert_array_equal(frequency_at(other, sites), frequency_at(panel, sites))
    np.testing.assert_array_equal(other.alt_frequency(rows), panel.alt_frequency(rows))
    start, stop = sorted(rng.integers(0, n_sites + 1, 2).tolist())
    np.testing.assert_array_equal(other.haplotypes(rows, start, stop), panel.haplotypes(rows, start, stop))


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_haplotypes=st.integers(1, 600),
    n_rows=st.integers(0, 600),
    n_sites=st.integers(1, 70),
)
def test_dense_bits__answer_like_an_array(seed: int, n_haplotypes: int, n_rows: int, n_sites: int) -> None:
    rng = np.random.default_rng(seed)
    alleles = (rng.random((n_haplotypes, n_sites)) < rng.random(n_sites)).astype(np.uint8)
    bits = DenseBits(pack(alleles), n_sites)
    sites = np.flatnonzero(rng.random(n_sites) < 0.5)
    rows = rng.integers(0, n_haplotypes, n_rows)
    np.testing.assert_array_equal(bits.counts(), alleles.sum(axis=0))
    np.testing.assert_array_equal(bits.counts(rows), alleles[rows].sum(axis=0))
    np.testing.assert_array_equal(bits.counts_at(sites[::-1]), alleles[:, sites[::-1]].sum(axis=0))
    np.testing.assert_array_equal(bits.columns(sites), pack(alleles[:, sites]).T)
    np.testing.assert_array_equal(bits.columns(sites, rows), pack(alleles[np.ix_(rows, sites)]).T)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_sites=st.integers(1, 200), share=st.floats(0, 1))
def test_keep_columns__answers_stay_what_they_were(seed: int, n_sites: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    packed = pack((rng.random((50, n_sites)) < 0.3).astype(np.uint8))
    bits, plain = DenseBits(packed, n_sites), DenseBits(packed, n_sites)
    rows = rng.integers(0, 50, 20)
    for _ in range(2):
        kept = np.flatnonzero(rng.random(n_sites) < share)
        bits.keep_columns(kept)
        for sites in (kept, kept[rng.random(len(kept)) < 0.5], np.flatnonzero(rng.random(n_sites) < 0.5)):
            np.testing.assert_array_equal(bits.words(sites), plain.words(sites))
            for chosen in (None, np.arange(50), rows):
                np.testing.assert_array_equal(bits.columns(sites, chosen), plain.columns(sites, chosen))


def test_keep_columns__reads_the_panel_once() -> None:
    packed = pack(np.ones((20, 64), dtype=np.uint8))
    bits = DenseBits(packed, 64)
    bits.keep_columns(np.arange(0, 64, 2))
    packed[:] = 0
    assert bits.columns(np.arange(0, 64, 4)).all()
    assert not bits.columns(np.arange(0, 64, 3)).any()


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_samples=st.integers(1, 12), n_sites=st.integers(1, 200))
def test_panel__is_the_same_however_it_is_kept(seed: int, n_samples: int, n_sites: int) -> None:
    panel, rng = rare_panel(seed, n_samples, n_sites), np.random.default_rng(seed)
    other = compact(panel)
    assert other.digest == panel.digest
    np.testing.assert_array_equal(haplotype_keys(other), haplotype_keys(panel))
    names = [panel.samples[i] for i in rng.permutation(n_samples)[: rng.integers(1, n_samples + 1)]]
    start = int(rng.integers(0, n_sites))
    some = np.flatnonzero(np.append(True, rng.random(n_sites - 1) < 0.5))
    with every_panel_is_large():
        assert other.select_samples(names).digest == panel.select_samples(names).digest
        assert other.select_sites(some).digest == panel.select_sites(some).digest
        part = other.select_sites(np.arange(start, n_sites))
    assert part.digest == panel.select_sites(np.arange(start, n_sites)).digest
    assert isinstance(part.bits, CompactBits)
    np.testing.assert_array_equal(part.alt_frequency(), panel.alt_frequency()[start:])
    assert part.bits.whole().packed().tobytes() == part.packed.tobytes()


def test_panel__hashes_some_haplotypes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = rare_panel(4, 30, 150)
    monkeypatch.setattr(compact_bits, "_ROWS_BYTES", 7 * 19)
    other = compact(panel)
    slices = list(other.bits.row_slices())
    assert len(slices) > 5
    assert all((part.stop - part.start) % 2 == 0 for part in slices)
    assert other.digest == panel.digest
    np.testing.assert_array_equal(other.keys, panel.keys)


def test_pbwt_changes__do_not_depend_on_how_the_panel_is_kept() -> None:
    panel = mosaic_panel(n_samples=60, n_sites=900, seed=3)
    rows = np.arange(7, 110)
    frequency = panel.alt_frequency(rows)
    found = pbwt_changes(compact(panel).bits, rows, frequency)
    np.testing.assert_array_equal(found, pbwt_changes(panel.bits, rows, frequency))


def test_recent_blocks__keep_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = compact(rare_panel(1, 10, 400)).bits
    assert isinstance(bits, CompactBits)
    blocks = [bits.store.block(number) for number in range(5)]
    monkeypatch.setattr(compact_bits, "_KEPT_BYTES", 2 * max(block.n_bytes for block in blocks))
    kept = RecentBlocks()
    for number, block in enumerate(blocks):
        kept.put(number, block)
        kept.put(number, block)
        assert kept.get(number) is block
    assert kept.get(0) is None
    assert kept.get(3) is blocks[3]


def test_dense_bits__of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="20 sites"):
        DenseBits(np.zeros((3, 2), dtype=np.uint8), 20)


def test_sites_per_block__fewer_of_more_haplotypes() -> None:
    assert [sites_per_block(n) for n in (2, 5_008, 50_000, 200_000, 2_000_000)] == [16_384, 16_384, 4_096, 1_024, 1_024]
