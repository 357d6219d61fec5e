"""The observed sites of an index as bits: where each lies, and tiles of them that are built once and kept.

A tile holds the observed sites of a fixed run of panel sites, as many as half a shortest segment (or several halves
where those would leave most of a byte unused). Tiles begin at a byte, so the borders of most segments do too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.engine import IndexSource
from vcfrag_core.types import I32Array, I64Array, IntArray, U8Array

SITES_PER_BYTE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class StripMap:
    """Where the observed sites of one index lie in its strip of bits.

    Attributes:
        sites: (m,) observed sites of the contig.
        bit_index: (m,) place of each: 8 * byte + bit.
        tile_sites: Panel sites of a tile.
        tile_bytes: (tiles + 1,) first byte of each tile, and the number of bytes.
    """

    sites: I64Array
    bit_index: I64Array
    tile_sites: int
    tile_bytes: I64Array

    @classmethod
    def of(cls, source: IndexSource) -> StripMap:
        sites = np.flatnonzero(source.observed).astype(np.int64)
        half = source.layout.lengths[0] // 2
        expected = max(half * len(sites) / max(1, source.layout.n_sites), 1e-9)
        tile_sites = min(half * max(1, int(np.ceil(SITES_PER_BYTE / expected))), max(1, source.layout.n_sites))
        n_tiles = -(-source.layout.n_sites // tile_sites)
        tile = sites // tile_sites
        counts = np.bincount(tile, minlength=n_tiles)
        tile_bytes = np.concatenate([[0], np.cumsum((counts + 7) // 8)]).astype(np.int64)
        first = np.concatenate([[0], np.cumsum(counts)])[:-1]
        bit_index = 8 * tile_bytes[tile] + np.arange(len(sites)) - first[tile]
        return cls(sites, bit_index.astype(np.int64), tile_sites, tile_bytes)

    def tiles_of(self, start: int, stop: int) -> range:
        """Numbers of the tiles that hold sites [start, stop)."""
        return range(start // self.tile_sites, (stop - 1) // self.tile_sites + 1)

    def bytes_of(self, tiles: range) -> int:
        """Bytes per haplotype of consecutive tiles."""
        return int(self.tile_bytes[tiles.stop] - self.tile_bytes[tiles.start])

    def observed_within(self, start: int, stop: int) -> slice:
        """The observed sites in [start, stop), as a slice of `sites`."""
        return slice(*(int(i) for i in np.searchsorted(self.sites, [start, stop])))

    def build_tile(self, source: IndexSource, tile: int) -> U8Array:
        """(bytes, R) the bits of one tile."""
        mine = self.observed_within(tile * self.tile_sites, (tile + 1) * self.tile_sites)
        return source.bits.columns(self.sites[mine], source.rows)


@dataclasses.dataclass(frozen=True, slots=True)
class Strip:
    """The bits of one context.

    Attributes:
        sites: (M,) observed sites of the context.
        bit_index: (M,) place of each in `bits`: 8 * byte + bit.
        bits: (B, R) reference haplotypes.
    """

    sites: I64Array
    bit_index: I64Array
    bits: U8Array

    @classmethod
    def assemble(cls, where: StripMap, start: int, stop: int, tile_of: Callable[[int], U8Array], n_rows: int) -> Strip:
        """The strip of sites [start, stop) from tiles."""
        tiles = where.tiles_of(start, stop)
        first_byte = int(where.tile_bytes[tiles.start])
        bits = np.empty((where.bytes_of(tiles), n_rows), dtype=np.uint8)
        for tile in tiles:
            bits[where.tile_bytes[tile] - first_byte : where.tile_bytes[tile + 1] - first_byte] = tile_of(tile)
        mine = where.observed_within(start, stop)
        return cls(where.sites[mine], where.bit_index[mine] - 8 * first_byte, bits)

    def pack_queries(self, values: U8Array) -> U8Array:
        """(Q, M) zeros and ones as (Q, B) bytes."""
        spread = np.zeros((len(values), 8 * len(self.bits)), dtype=np.uint8)
        spread[:, self.bit_index] = values
        return np.packbits(spread, axis=1, bitorder="little")

    def bit_range(self, start: int, stop: int) -> I64Array:
        """(2,) first bit of the observed sites in [start, stop), and the bit after their last; equal when none."""
        a, b = np.searchsorted(self.sites, [start, stop])
        if a == b:
            return np.zeros(2, dtype=np.int64)
        return np.array([self.bit_index[a], self.bit_index[b - 1] + 1], dtype=np.int64)

    def byte_weights(self, steps: I32Array) -> I32Array:
        """(B, 8) weight of every bit; 0 for one that is not used."""
        weights = np.zeros((len(self.bits), 8), dtype=np.int32)
        weights.reshape(-1)[self.bit_index] = steps[self.sites]
        return weights


@dataclasses.dataclass(frozen=True, slots=True)
class ScanPass:
    """Segments that one run of prefix sums answers; see `vcfrag_core.search.scan.scan` for the arrays."""

    numbers: I64Array
    step_byte: I32Array
    step_mask: U8Array
    piece_steps: I32Array
    base: I32Array
    pieces: I32Array


def plan_passes(
    strip: Strip,
    weights: I32Array,
    segments: Sequence[Segment],
    wide: Sequence[tuple[int, int]],
    numbers: Sequence[int],
    max_borders: int,
    *,
    by_count: bool = False,
) -> list[ScanPass]:
    """Groups segments so that the borders of each group, enclosing ones included, number at most `max_borders`.

    Args:
        strip: The bits of the context.
        weights: (B, 8) weight of every bit.
        segments: All segments of the search.
        wide: The enclosing range of each.
        numbers: Which of them are meant.
        max_borders: Bounds the memory of the prefix sums; a single segment needs four.
        by_count: Bits are to be counted, so that no table of costs is needed.
    """
    passes: list[ScanPass] = []
    group: list[int] = []
    borders: set[int] = set()
    for g in numbers:
        mine = {segments[g].start, segments[g].stop, *wide[g]}
        if group and len(borders | mine) > max_borders:
            passes.append(_pass(strip, weights, segments, wide, group, borders, by_count))
            group, borders = [], set()
        group.append(g)
        borders |= mine
    if group:
        passes.append(_pass(strip, weights, segments, wide, group, borders, by_count))
    return passes


def _pass(
    strip: Strip,
    weights: I32Array,
    segments: Sequence[Segment],
    wide: Sequence[tuple[int, int]],
    group: list[int],
    borders: set[int],
    by_count: bool,
) -> ScanPass:
    edges = np.array(sorted(borders), dtype=np.int64)
    a, b = np.searchsorted(strip.sites, [edges[0], edges[-1]])
    piece = np.searchsorted(edges, strip.sites[a:b], side="right") - 1
    byte, bit = strip.bit_index[a:b] >> 3, strip.bit_index[a:b] & 7
    step_key, step = np.unique(piece * len(strip.bits) + byte, return_inverse=True)
    masked = np.zeros((len(step_key), 8), dtype=np.int32)
    masked[step, bit] = weights[byte, bit]
    ranges = [(segments[g].start, segments[g].stop, *wide[g]) for g in group]
    return ScanPass(
        numbers=np.array(group, dtype=np.int64),
        step_byte=(step_key % len(strip.bits)).astype(np.int32),
        step_mask=np.packbits(masked > 0, axis=1, bitorder="little").reshape(-1),
        piece_steps=np.searchsorted(step_key // len(strip.bits), np.arange(len(edges))).astype(np.int32),
        base=costs(masked[:0] if by_count else masked, 8),
        pieces=np.searchsorted(edges, np.array(ranges, dtype=np.int64)).astype(np.int32),
    )


def costs(weights: IntArray, n_bits: int) -> I32Array:
    """(n, n_bits) bit weights to (n, 2**n_bits) costs of every pattern of differing bits."""
    patterns = (np.arange(1 << n_bits)[:, None] >> np.arange(n_bits)) & 1
    return np.asarray(weights @ patterns.T.astype(np.int32), dtype=np.int32)
