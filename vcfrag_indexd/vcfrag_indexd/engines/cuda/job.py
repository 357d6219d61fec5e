"""What the kernels are given: the arguments' layout, and the words that the host makes of masks, queries and borders.

Structures and numbers mirror those of `nearest.cu`.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.engine import IndexSource
from vcfrag_core.search.tiled import place_of, segment_hashes
from vcfrag_core.types import BoolArray, I32Array, I64Array, U8Array

WORD_BITS = 32
ROWS = 4  # of a thread at a time
QUERIES = 8  # of a block
GROUPS = 7  # look-ups in a word
TABLE_BYTES = 4 * 32 * GROUPS  # of a word
TILE_WORDS = 32
TILE_SITES = WORD_BITS * TILE_WORDS
KEY_BYTES = 32
ENTRY_BYTES = 28  # of a list

# A step of the ladder costs a pass over one row in MAX_STEP; without it, lists would be that much longer.
MAX_STEP = 12
FIRST_ROWS_PER_NEIGHBOUR = 8
MIN_FIRST_ROWS = 64
# A list holds k MAX_STEP rows on average; few are half as long again.
LIST_MARGIN = 2.5

PIECE = np.dtype([("word", "<u4"), ("mask", "<u4"), ("place", "<u4")])
SEGMENT = np.dtype(
    [(name, "<u4") for name in ("first", "last", "first_mask", "last_mask")]
    + [(name, "<u4") for name in ("wide_first", "wide_last", "wide_first_mask", "wide_last_mask")]
    + [("hash", "<u8")]
)


class SearchArgument(ctypes.Structure):
    """`Search` of nearest.cu."""

    _fields_ = (
        *(
            (name, ctypes.c_uint64)
            for name in (
                "strip", "queries", "tables", "segments", "keys", "ids", "excluded", "excluded_starts", "limits",
                "bounds", "counts", "list_near", "list_wide", "list_hash", "list_row", "out_ids", "out_distances",
                "n_unsettled",
            )
        ),
        ("unit", ctypes.c_double),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "n_rows", "row_stride", "n_queries", "query_stride", "k", "capacity", "stride", "quads_per_block",
            )
        ),
    )  # fmt: skip


class PackArgument(ctypes.Structure):
    """`Pack` of nearest.cu."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("tiles", "rows", "pieces", "first_piece", "strip")),
        *((name, ctypes.c_uint32) for name in ("n_haplotypes", "n_rows", "row_stride", "n_pieces")),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Ladder:
    """How a search climbs from few rows to all of them.

    Attributes:
        strides: Every how-manieth four rows each pass looks at; the last is 1.
        capacity: Rows that a list holds, a power of two.
    """

    strides: tuple[int, ...]
    capacity: int

    @classmethod
    def of(cls, n_rows: int, k: int) -> Ladder:
        """The first pass lists all of its rows; each other one about k times the step from the stride before it."""
        first = max(MIN_FIRST_ROWS, FIRST_ROWS_PER_NEIGHBOUR * k)
        capacity = 1 << math.ceil(math.log2(max(LIST_MARGIN * MAX_STEP * k, first)))
        widest = max(1, -(-n_rows // ROWS) * ROWS // first)
        n_steps = math.ceil(math.log(widest) / math.log(MAX_STEP))
        strides = [round(widest ** (1 - i / n_steps)) for i in range(n_steps)]
        return cls((*strides, 1), capacity)


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What searches of one range of an index have in common.

    Attributes:
        segments: G segments.
        pieces: (P,) PIECE records: the panel's words that have observed sites.
        first_piece: (W + 1,) the piece that holds the first bit of each of the strip's W words, and the last piece.
        steps: (M,) their weights.
        weighted: Whether weights differ.
        unit: The weight that all bits have, those of none aside; 1 where weights differ.
        long: Whether a sum of weights may exceed 32 bits.
        described: (G,) SEGMENT records.
    """

    segments: list[Segment]
    pieces: NDArray[Any]
    first_piece: I32Array
    steps: I32Array
    weighted: bool
    unit: int
    long: bool
    described: NDArray[Any]

    @classmethod
    def of(cls, source: IndexSource, start: int, stop: int, shard: tuple[int, int]) -> Context:
        """Sites [start, stop) of an index, and the segments that belong to the shard."""
        laid = source.layout.segments_within(start, stop, source.observed)
        segments = [segment for segment in laid if place_of(segment, shard[1]) == shard[0]]
        sites = start + np.flatnonzero(source.observed[start:stop])
        steps = np.ascontiguousarray(source.steps[sites], dtype=np.int32)
        weights = np.unique(steps[steps > 0])
        pieces = pieces_of(source.observed, start, stop)
        first_piece = np.searchsorted(pieces["place"], np.arange(0, len(sites), WORD_BITS), side="right") - 1
        wide = [source.layout.enclosing(segment, start, stop) for segment in segments]
        return cls(
            segments=segments,
            pieces=pieces,
            first_piece=np.append(first_piece, len(pieces) - 1).astype(np.int32),
            steps=steps,
            weighted=len(weights) > 1,
            unit=int(weights[0]) if len(weights) == 1 else 1,
            long=int(steps.sum(dtype=np.int64)) >= 2**32,
            described=describe(segments, wide, sites),
        )

    @property
    def n_words(self) -> int:
        """W, words of the strip."""
        return len(self.first_piece) - 1


def pieces_of(observed: BoolArray, start: int, stop: int) -> NDArray[Any]:
    """(P,) PIECE records of the observed sites in [start, stop); words count from the first of the tile of `start`."""
    first = start // TILE_SITES * TILE_SITES
    bits = np.zeros(-(-(stop - first) // WORD_BITS) * WORD_BITS, dtype=np.uint8)
    bits[start - first : stop - first] = observed[start:stop]
    masks = np.packbits(bits, bitorder="little").view("<u4")
    counts = bits.reshape(-1, WORD_BITS).sum(axis=1)
    present = np.flatnonzero(masks)
    out = np.zeros(len(present), dtype=PIECE)
    out["word"], out["mask"], out["place"] = present, masks[present], (np.cumsum(counts) - counts)[present]
    return out


def describe(segments: list[Segment], wide: list[tuple[int, int]], sites: I64Array) -> NDArray[Any]:
    """(G,) SEGMENT records: the words and bits of each segment and of its enclosing one, a bit to an observed site."""
    out = np.zeros(len(segments), dtype=SEGMENT)
    borders = np.array([(s.start, s.stop, *w) for s, w in zip(segments, wide, strict=True)]).reshape(-1, 4)
    bits = np.searchsorted(sites, borders)
    for prefix, (begin, end) in (("", bits[:, :2].T), ("wide_", bits[:, 2:].T)):
        out[f"{prefix}first"], out[f"{prefix}last"] = begin // WORD_BITS, (end - 1) // WORD_BITS
        out[f"{prefix}first_mask"] = (0xFFFFFFFF << (begin % WORD_BITS)) & 0xFFFFFFFF
        out[f"{prefix}last_mask"] = 0xFFFFFFFF >> (WORD_BITS - 1 - (end - 1) % WORD_BITS)
    out["hash"] = segment_hashes(segments)
    return out


def words(values: U8Array) -> I32Array:
    """(Q, M) zeros and ones as (Q, ceil(M / 32)) words, the first site in the lowest bit."""
    packed = np.packbits(values, axis=1, bitorder="little")
    padded = np.zeros((len(values), 4 * -(-values.shape[1] // WORD_BITS)), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<i4")


def query_words(alleles: U8Array, counted: U8Array, stride: int) -> I32Array:
    """(words, stride, 2) alleles and counted bits of (Q, M) queries; 0 beyond the last query."""
    a, b = words(alleles), words(counted)
    out = np.zeros((a.shape[1], stride, 2), dtype=np.int32)
    out[:, : len(a), 0], out[:, : len(b), 1] = a.T, b.T
    return out


def ascending(excluded: I64Array, starts: I64Array) -> I32Array:
    """Each query's excluded rows in order, as the kernels look them up."""
    query = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return excluded[np.lexsort((excluded, query))].astype(np.int32)
