"""Search of segments by the distinct patterns of their references: when it is worth it, and how it is done.

The segments of one scale are cut into blocks at their borders and those of their enclosing ranges, which are the same
for most. What `vcfrag_core.retrieval.order` says slowly is answered, to the bit.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.blocks import Blocks, Node, Pairs, halves
from vcfrag_core.search.distinct import arrange, bring_heads_forward
from vcfrag_core.search.lanes import LANES
from vcfrag_core.search.pattern_scan import SegmentPatterns, fill_distances, scan_patterns
from vcfrag_core.search.strips import Strip
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U8Array, U64Array

QUERIES_AT_ONCE = 64
# The most that the patterns of a segment take, and beside all of them what they are joined from.
SEGMENT_BYTES_PER_ROW = 60
BLOCK_BYTES_PER_ROW = 100
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PatternLimits:
    """When segments are searched by patterns: by counts alone, so that a search is done in one way wherever it runs.

    Attributes:
        queries: From so many on, finding the patterns costs less than they spare.
        rows_per_pattern: A segment with more patterns than one for so many rows is scanned row by row.
        rooms: Patterns take at most so many times the least room: more are found again at the borders of what there is
            room for, by less than a tenth of a search.
    """

    queries: int = 96
    rows_per_pattern: int = 2
    rooms: int = 8

    def room(self, n_rows: int, n_queries: int) -> int:
        """Bytes without which no patterns are looked for; 0 where they never are."""
        return 2 * (SEGMENT_BYTES_PER_ROW + BLOCK_BYTES_PER_ROW) * n_rows if n_queries >= self.queries else 0


def runs_of(segments: Sequence[Segment], n: int) -> list[list[int]]:
    """Numbers of the segments, those of each scale in at most n runs."""
    found = []
    for _, numbers in itertools.groupby(range(len(segments)), lambda g: segments[g].scale):
        of_scale = list(numbers)
        size = -(-len(of_scale) // n)
        found += [of_scale[i : i + size] for i in range(0, len(of_scale), size)]
    return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class References:
    """What is searched.

    Attributes:
        strip: The bits.
        weights: (B, 8) weight of every bit, in whole numbers of `unit`.
        unit: Steps of one of them.
        keys: (R,) tie-breaking keys.
        ids: (R,) panel haplotype ids.
        segments: G segments, those of a scale one after the other and ascending.
        wide: The enclosing range of each.
        hashes: (G,) hash of each.
    """

    strip: Strip
    weights: I32Array
    unit: int
    keys: U64Array
    ids: I32Array
    segments: Sequence[Segment]
    wide: Sequence[tuple[int, int]]
    hashes: U64Array

    def countable(self) -> bool:
        """Whether every distance is a number that the loops hold."""
        return int(self.weights.sum(dtype=np.int64)) < _LARGEST


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Queries:
    """Q queries; see `vcfrag_core.search.scan.scan`.

    Attributes:
        wanted: (G, Q) whether a query is searched for in a segment; see `vcfrag_core.search.alike`.
    """

    alleles: U8Array
    called: U8Array
    excluded: I64Array
    excluded_starts: I64Array
    wanted: BoolArray

    def pieces(self, size: int) -> Iterator[tuple[slice, Queries]]:
        """Consecutive queries, at most `size` together."""
        for begin in range(0, len(self.alleles), size):
            some = slice(begin, min(begin + size, len(self.alleles)))
            starts = self.excluded_starts[some.start : some.stop + 1]
            excluded = self.excluded[starts[0] : starts[-1]]
            yield (
                some,
                Queries(
                    alleles=self.alleles[some],
                    called=self.called[some],
                    excluded=excluded,
                    excluded_starts=starts - starts[0],
                    wanted=self.wanted[:, some],
                ),
            )


class PatternGroup:
    """The patterns of as many segments as there is room for.

    Args:
        references: What is searched.
        numbers: Which segments are wanted, of one scale and ascending.
        room: Bytes for their patterns and for distances from these.
        most: A segment with more patterns is scanned.

    Attributes:
        n_taken: How many of the segments there was room for, from the first on; at least one.
        scanned: Numbers of those taken whose rows are to be scanned.
    """

    def __init__(self, references: References, numbers: Sequence[int], room: int, most: int) -> None:
        segments, wide = references.segments, references.wide
        borders = {x for g in numbers for x in (segments[g].start, segments[g].stop, *wide[g])}
        blocks = Blocks(references.strip, references.weights, borders, most)
        self._references, self._room = references, room // 2
        self._found: dict[int, SegmentPatterns] = {}
        self.scanned: list[int] = []
        self.n_taken, taken = 0, 0
        reserve = (SEGMENT_BYTES_PER_ROW + BLOCK_BYTES_PER_ROW) * len(references.ids)
        for g in numbers:
            if self.n_taken and taken + 8 * blocks.n_entries + reserve > self._room:
                break
            near, enclosing = blocks.between(segments[g].start, segments[g].stop), blocks.between(*wide[g])
            blocks.forget_before(enclosing.start)
            found = _arranged(blocks, near, enclosing, most, references.keys, references.hashes[g])
            if found is None:
                self.scanned.append(g)
            else:
                self._found[g] = found
                taken += sum(array.nbytes for array in found if isinstance(array, np.ndarray))
            self.n_taken += 1
        self._program = blocks.program() if self._found else None

    def search(self, queries: Queries, ids: I32Array, distances: F32Array, checkpoint: Callable[[], None]) -> None:
        """The k nearest of every query in the segments that were taken and are not to be scanned.

        Args:
            queries: Q queries.
            ids, distances: (G, Q, K), filled for these segments.
            checkpoint: Raises where the call is no longer wanted.
        """
        references, program = self._references, self._program
        if program is None:
            return
        n_entries = len(program.lefts)
        size = max(1, min(QUERIES_AT_ONCE, self._room // (4 * n_entries) - LANES))
        of_patterns = np.empty((size, n_entries), dtype=np.int32)
        for which, some in queries.pieces(size):
            of_some = of_patterns[: len(some.alleles)]
            fill_distances(
                some.alleles, some.called, program.nodes, program.costs, program.lefts, program.rights, of_some
            )
            for g, found in self._found.items():
                checkpoint()
                scan_patterns(
                    of_some, some.excluded, some.excluded_starts, some.wanted[g], found, references.hashes[g],
                    references.keys, references.ids, references.unit, ids[g, which], distances[g, which],
                )  # fmt: skip


def _arranged(
    blocks: Blocks, near: range, enclosing: range, most: int, keys: U64Array, segment_hash: np.uint64
) -> SegmentPatterns | None:
    """The patterns of a segment; None where there are too many."""
    nodes = [node for node in map(blocks.block, enclosing) if node is not None]
    if len(nodes) < len(enclosing):
        return None
    left, right, pairs = _parts(blocks, near)
    if len(pairs.lefts) > most:
        return None
    wide_of = blocks.rows_over(enclosing)
    n_rows, n_near, n_wide = len(wide_of), len(pairs.lefts), int(wide_of.max()) + 1
    sizes = left.count + 1, n_near, n_near, n_near + 1, n_wide, n_wide + 1, n_rows, n_rows, n_wide
    left_starts, rights, counts, wide_starts, near_of_wide, row_starts, rows, wide_of_row, one_of = (
        np.empty(size, dtype=np.int32) for size in sizes
    )
    arrange(
        pairs.of, pairs.lefts, pairs.rights, wide_of, left_starts, rights, counts, wide_starts, near_of_wide,
        row_starts, rows, wide_of_row, one_of,
    )  # fmt: skip
    bring_heads_forward(rows, row_starts, keys, segment_hash)
    wide_parts = np.empty((n_wide, len(nodes)), dtype=np.int32)
    for column, node in enumerate(nodes):
        np.add(node.of[one_of], blocks.first_entry(node), out=wide_parts[:, column])
    entries = blocks.first_entry(left), blocks.first_entry(right), right.count
    return SegmentPatterns(
        *entries, left_starts, rights, counts, wide_starts, wide_parts, near_of_wide, row_starts, rows, wide_of_row
    )


def _parts(blocks: Blocks, near: range) -> tuple[Node, Node, Pairs]:
    """The two parts of a segment, and its patterns; one block's other part is nothing."""
    if len(near) > 1:
        left, right = (blocks.node(part) for part in halves(near))
        return left, right, blocks.pairs(near)
    node = blocks.node(near)
    numbers = np.arange(node.count, dtype=np.int32)
    return node, blocks.nothing, Pairs(node.of, numbers, np.zeros_like(numbers))
