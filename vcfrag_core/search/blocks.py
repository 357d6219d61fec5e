"""Distinct patterns over consecutive blocks of sites, and what is computed from them for each query.

A block's patterns are joined from those of 16 observed sites at a time, a longer range's from those of its two parts.
Patterns are numbered by the first row of each, so that a range has the same numbers however it is made up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from vcfrag_core.search.distinct import N_LEAF_PATTERNS, join_few_patterns, join_patterns, patterns_of_bytes
from vcfrag_core.search.strips import Strip, costs
from vcfrag_core.types import I32Array

# Pairs of patterns of two ranges, up to which a table has a place for each.
TABLE_PAIRS = N_LEAF_PATTERNS


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """P patterns whose distances are computed for each query, once these are asked for.

    Attributes:
        of: (R,) pattern of each row; let go of where a longer range alone asks.
        lefts, rights: (P,) of a leaf the bits of each pattern and nothing, else the patterns of `parts`.
        parts: The two nodes that distances are sums over; None for a leaf.
        leaf: Of a leaf, its two bytes of the strip, and (2, 256) the cost of the differences of each.
        first: Entry of pattern 0 among all distances; -1 as long as these are not asked for.
    """

    of: I32Array
    lefts: I32Array
    rights: I32Array
    parts: tuple[Node, Node] | None
    leaf: tuple[int, int, I32Array] | None = None
    first: int = -1

    @property
    def count(self) -> int:
        return len(self.lefts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """P patterns over two ranges together.

    Attributes:
        of: (R,) pattern of each row.
        lefts, rights: (P,) patterns of the two ranges that each is made of.
    """

    of: I32Array
    lefts: I32Array
    rights: I32Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Program:
    """How distances from all patterns follow from a query; see `pattern_scan.fill_distances`."""

    nodes: I32Array
    costs: I32Array
    lefts: I32Array
    rights: I32Array


class Blocks:
    """Finds patterns over ranges of blocks, and notes how their distances are computed.

    Args:
        strip: The references' bits.
        weights: (B, 8) weight of every bit.
        borders: Sites that blocks begin or end at.
        most: A block with more patterns is given up.
    """

    def __init__(self, strip: Strip, weights: I32Array, borders: Iterable[int], most: int) -> None:
        self._strip, self._weights, self._most = strip, weights, most
        self._edges = np.array(sorted(borders), dtype=np.int64)
        n_rows = strip.bits.shape[1]
        n_slots = 1 << (2 * n_rows).bit_length()
        self._slots = np.empty(n_slots, dtype=np.uint64), np.empty(n_slots, dtype=np.int32)
        self._table = np.full(N_LEAF_PATTERNS, -1, dtype=np.int32)
        self._scratch = np.empty((2, n_rows), dtype=np.int32)
        self._blocks: dict[int, Node | None] = {}
        self._nodes: dict[tuple[int, int], Node] = {}
        self._pairs: dict[tuple[int, int], Pairs] = {}
        self._described: list[tuple[int, int, int, int, int]] = []
        self._costs: list[I32Array] = []
        self._lefts: list[I32Array] = []
        self._rights: list[I32Array] = []
        self.n_entries = 0
        self.nothing = self._leaf([])

    def between(self, start: int, stop: int) -> range:
        """Numbers of the blocks that sites [start, stop) are made of."""
        return range(*np.searchsorted(self._edges, [start, stop]).tolist())

    def block(self, number: int) -> Node | None:
        """The patterns over one block; None where they are too many."""
        if number not in self._blocks:
            self._blocks[number] = self._of_bytes(self._bytes_of(number))
        return self._blocks[number]

    def node(self, blocks: range) -> Node:
        """The patterns over at least one block, none of which was given up."""
        if len(blocks) == 1:
            found = self.block(blocks.start)
            if found is None:
                raise ValueError(f"block {blocks.start} has too many patterns")
            return found
        key = blocks.start, blocks.stop
        if key not in self._nodes:
            left, right = (self.node(part) for part in halves(blocks))
            self._nodes[key] = _sum(left, right, self.pairs(blocks))
        return self._nodes[key]

    def pairs(self, blocks: range) -> Pairs:
        """The patterns over at least two blocks, none of which was given up, from those of the two `halves`."""
        key = blocks.start, blocks.stop
        if key not in self._pairs:
            (left, n_left), (right, n_right) = (self._rows_over(part) for part in halves(blocks))
            self._pairs[key] = self._join(left, n_left, right, n_right)
        return self._pairs[key]

    def rows_over(self, blocks: range) -> I32Array:
        """(R,) pattern of each row over at least one block, none of which was given up."""
        return self._rows_over(blocks)[0]

    def forget_before(self, block: int) -> None:
        """Lets go of the rows' patterns over all ranges that begin before this block."""
        self._blocks = {key: kept for key, kept in self._blocks.items() if key >= block}
        self._nodes = {key: kept for key, kept in self._nodes.items() if key[0] >= block}
        self._pairs = {key: kept for key, kept in self._pairs.items() if key[0] >= block}

    def first_entry(self, node: Node) -> int:
        """The entry of a node's pattern 0 among all distances, which are computed from now on."""
        if node.first < 0:
            left, right = (self.first_entry(part) for part in node.parts) if node.parts else (0, 0)
            node.first, self.n_entries = self.n_entries, self.n_entries + node.count
            kind = -1, 0, 0
            if node.leaf is not None:
                kind = len(self._costs), *node.leaf[:2]
                self._costs.append(node.leaf[2])
            self._described.append((node.first, self.n_entries, *kind))
            self._lefts.append(left + node.lefts)
            self._rights.append(right + node.rights)
        return node.first

    def program(self) -> Program:
        """How all distances that were asked for are computed."""
        return Program(
            np.array(self._described, dtype=np.int32),
            np.stack(self._costs),
            np.concatenate(self._lefts),
            np.concatenate(self._rights),
        )

    def _rows_over(self, blocks: range) -> tuple[I32Array, int]:
        """(R,) pattern of each row, and the number of patterns."""
        if len(blocks) == 1:
            node = self.node(blocks)
            return node.of, node.count
        pairs = self.pairs(blocks)
        return pairs.of, len(pairs.lefts)

    def _of_bytes(self, some: Sequence[tuple[int, int]]) -> Node | None:
        if len(some) <= 2:
            made = self._leaf(some)
        else:
            middle = (len(some) + 2) // 4 * 2
            left = self._of_bytes(some[:middle])
            right = self._of_bytes(some[middle:]) if left is not None else None
            if left is None or right is None:
                return None
            made = _sum(left, right, self._join(left.of, left.count, right.of, right.count))
            left.of = right.of = made.of
        return made if made.count <= self._most else None

    def _leaf(self, some: Sequence[tuple[int, int]]) -> Node:
        """Of at most two bytes of the strip, each with its bits that count."""
        bits, patterns = self._strip.bits, self._scratch[0]
        (low, low_mask), (high, high_mask) = (*some, (0, 0), (0, 0))[:2]
        of = np.empty(bits.shape[1], dtype=np.int32)
        n = patterns_of_bytes(bits[low], low_mask, bits[high], high_mask, self._table, of, patterns)
        masks = np.array([[low_mask], [high_mask]], dtype=np.uint8)
        counted = self._weights[[low, high]] * np.unpackbits(masks, axis=1, bitorder="little")
        return Node(of, patterns[:n].copy(), np.zeros(n, dtype=np.int32), None, (low, high, costs(counted, 8)))

    def _join(self, left_of: I32Array, n_left: int, right_of: I32Array, n_right: int) -> Pairs:
        of, (lefts, rights) = np.empty_like(left_of), self._scratch
        if n_left * n_right <= TABLE_PAIRS:
            n = join_few_patterns(left_of, right_of, n_right, self._table, of, lefts, rights)
        else:
            n = join_patterns(left_of, right_of, *self._slots, of, lefts, rights)
        return Pairs(of, lefts[:n].copy(), rights[:n].copy())

    def _bytes_of(self, block: int) -> list[tuple[int, int]]:
        """The bytes of the strip that a block's observed sites lie in, and the bits of each that have a weight."""
        mine = self._strip.bit_index[slice(*np.searchsorted(self._strip.sites, self._edges[block : block + 2]))]
        mine = mine[self._weights.reshape(-1)[mine] > 0]
        masks = np.bincount(mine >> 3, weights=1 << (mine & 7), minlength=1).astype(np.int64)
        return [(number, int(masks[number])) for number in np.flatnonzero(masks).tolist()]


def halves(blocks: range) -> tuple[range, range]:
    """A range of at least two blocks in two, cut so that ranges that begin apart have parts in common."""
    middle = blocks.start + (1 << (len(blocks) - 1).bit_length() - 1)
    return range(blocks.start, middle), range(middle, blocks.stop)


def _sum(left: Node, right: Node, pairs: Pairs) -> Node:
    return Node(pairs.of, pairs.lefts, pairs.rights, (left, right))
