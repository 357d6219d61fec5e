"""A block of consecutive sites in little space: what is distinct in it, written once.

A site whose rarer allele few haplotypes carry is the ascending list of them. The other sites stand in groups; a group
is its distinct patterns, and for each haplotype the number of its pattern: neighbouring common sites of even 200,000
haplotypes have thousands of patterns, not 2**64. Groups begin as 64 sites and grow while that saves space. A group
with as many patterns as haplotypes is its bits.

Written little-endian, each array from a multiple of 8 bytes on:

    uint32[8]   sites, haplotypes, rare sites, carriers, common sites, groups, 0, 0
    uint32      rare sites: twice the number within the block, and 1 where REF is the rarer allele
    uint32      where the carriers of each rare site and run of 65,536 haplotypes begin, and the number of all
    uint16      carriers, within their run
    uint32      common sites
    uint32      of each group: sites, patterns (0: its bits)
    each group  uint16 pattern of each haplotype, if it has patterns; then columns of the patterns, or of haplotypes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from vcfrag_core.types import I32Array, I64Array, U8Array, U64Array

# A carrier takes 16 bits, a haplotype in a group of 64 sites a 64th of 16 bits.
HAPLOTYPES_PER_CARRIER = 64
WORD_SITES = 64
_HEADER_WORDS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Common sites that share their patterns.

    Attributes:
        sites: (C,) numbers within the block, ascending.
        patterns: (ceil(C / 8), D) columns of the patterns, or (ceil(C / 8), H) of the haplotypes.
        index: (H,) pattern of each haplotype; None where `patterns` are the haplotypes'.
    """

    sites: I64Array
    patterns: U8Array
    index: U64Array | None


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A block as it is read.

    Attributes:
        n_sites: Its sites.
        n_haplotypes: H.
        rare, starts, carriers: See `kernels.write_carriers`.
        groups: The common sites.
        n_bytes: Of all arrays.
    """

    n_sites: int
    n_haplotypes: int
    rare: U64Array
    starts: I64Array
    carriers: U64Array
    groups: tuple[Group, ...]
    n_bytes: int

    def columns(self, sites: I64Array, rows: I64Array | None, out: U8Array, offset: int) -> None:
        """Adds some sites to columns that have zeros there.

        Args:
            sites: (m,) numbers within the block, ascending.
            rows: (n,) different haplotypes; all of them where None.
            out: (ceil(M / 8), n) columns.
            offset: Which of the M sites the first of these is.
        """
        from vcfrag_core.panel import kernels

        where = np.full(self.n_sites, -1, dtype=np.int32)
        where[sites] = np.arange(offset, offset + len(sites), dtype=np.int32)
        place, span = places(self.n_haplotypes, rows)
        if len(self.rare) and out.shape[1]:
            kernels.read_carriers(self.rare, self.starts, self.carriers, where, place, span, out)
        for group in self.groups:
            positions = where[group.sites]
            if (positions < 0).all():
                continue
            if group.index is not None:
                index = group.index if rows is None else group.index[rows]
                kernels.read_patterns(group.patterns, index, positions, out)
                continue
            patterns = group.patterns if rows is None else group.patterns[:, rows]
            for j in np.flatnonzero(positions >= 0).tolist():
                position = int(positions[j])
                kernels.move_site(patterns[j >> 3], j & 7, position & 7, out[position >> 3])


def places(n_haplotypes: int, rows: I64Array | None) -> tuple[I32Array, I64Array]:
    """(H,) column of each haplotype, -1 for those not chosen; the first chosen, and the one after the last."""
    if rows is None:
        return np.arange(n_haplotypes, dtype=np.int32), np.array([0, n_haplotypes], dtype=np.int64)
    place = np.full(n_haplotypes, -1, dtype=np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    span = [int(rows.min()), int(rows.max()) + 1] if len(rows) else [0, 0]
    return place, np.array(span, dtype=np.int64)


def encode(columns: U8Array, n_sites: int) -> tuple[U8Array, I64Array]:
    """A block of (ceil(n_sites / 8), H) columns as bytes, and the (n_sites,) ALT alleles of its sites."""
    from vcfrag_core.panel import kernels

    h = columns.shape[1]
    counts = kernels.site_counts(columns)[:n_sites]
    fewer = np.minimum(counts, h - counts)
    is_rare = fewer * HAPLOTYPES_PER_CARRIER <= h
    sites, n_runs = np.flatnonzero(is_rare), _runs(h)
    rare = (2 * sites + (2 * counts[sites] > h)).astype("<u4")
    starts = np.zeros(len(rare) * n_runs + 1, dtype="<u4")
    starts[n_runs::n_runs] = np.cumsum(fewer[sites])
    carriers = np.empty(int(starts[-1]), dtype="<u2")
    kernels.write_carriers(columns, rare, starts, carriers)
    common = np.flatnonzero(~is_rare)
    groups = _grouped(columns, common)
    shapes = np.array([[len(g.sites), 0 if g.index is None else g.patterns.shape[1]] for g in groups], dtype="<u4")
    header = np.array([n_sites, h, len(rare), len(carriers), len(common), len(groups), 0, 0], dtype="<u4")
    arrays: list[Any] = [header, rare, starts, carriers, common.astype("<u4"), shapes]
    for group in groups:
        arrays += [group.patterns] if group.index is None else [group.index, group.patterns]
    return _joined(arrays), counts


def decode(content: U8Array) -> Block:
    """The block of these bytes, which arrays of it share.

    Raises:
        ValueError: They are not a block.
    """
    from vcfrag_core.panel import kernels

    take = _taker(content)
    n_sites, h, n_rare, n_carriers, n_common, n_groups, _, _ = (int(n) for n in take("<u4", _HEADER_WORDS))
    n_runs = _runs(h)
    rare, starts = take("<u4", n_rare), take("<u4", n_rare * n_runs + 1)
    carriers, common = take("<u2", n_carriers), take("<u4", n_common).astype(np.int64)
    shapes = take("<u4", 2 * n_groups).reshape(-1, 2).tolist()
    groups, at = [], 0
    for n_here, n_patterns in shapes:
        index = take("<u2", h) if n_patterns else None
        height, width = -(-n_here // 8), n_patterns or h
        patterns = take("u1", height * width).reshape(height, width)
        if index is not None and int(index.max(initial=0)) >= n_patterns:
            raise ValueError("a pattern that is none")
        groups.append(Group(common[at : at + n_here], patterns, index))
        at += n_here
    sites = np.sort(np.concatenate([rare.astype(np.int64) >> 1, common]))
    if at != n_common or not np.array_equal(sites, np.arange(n_sites)) or int(starts[-1]) != n_carriers:
        raise ValueError("sites that are none, or twice there")
    if not kernels.ascends(starts, carriers) or not _last_runs_fit(starts, carriers, n_runs, h):
        raise ValueError("carriers that are none")
    return Block(n_sites, h, rare, starts, carriers, tuple(groups), content.nbytes)


def _last_runs_fit(starts: I64Array, carriers: U64Array, n_runs: int, n_haplotypes: int) -> bool:
    """Whether the carriers of the last run, which may be shorter than others, are haplotypes."""
    begin, stop = starts[n_runs - 1 : -1 : n_runs].astype(np.int64), starts[n_runs::n_runs].astype(np.int64)
    last = carriers[stop[stop > begin] - 1]
    return int(last.max(initial=0)) < n_haplotypes - ((n_runs - 1) << 16)


def _runs(n_haplotypes: int) -> int:
    return max(1, -(-n_haplotypes // (1 << 16)))


def _joined(arrays: list[Any]) -> U8Array:
    sizes = [-(-array.nbytes // 8) * 8 for array in arrays]
    content = np.zeros(sum(sizes), dtype=np.uint8)
    at = 0
    for array, size in zip(arrays, sizes, strict=True):
        content[at : at + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        at += size
    return content


def _taker(content: U8Array) -> Callable[[str, int], Any]:
    """What gives the next array of a block."""
    at = 0

    def take(kind: str, n: int) -> Any:
        nonlocal at
        n_bytes = n * np.dtype(kind).itemsize
        if at + n_bytes > len(content):
            raise ValueError("cut short")
        found = content[at : at + n_bytes].view(kind)
        at += -(-n_bytes // 8) * 8
        return found

    return take


@dataclasses.dataclass(slots=True)
class _Growing:
    """A group while it grows: which haplotypes are alike at its sites.

    Attributes:
        sites: Its sites.
        ids: (H,) number of each haplotype's pattern.
        first: (D,) a haplotype of each pattern; None where there are too many.
    """

    sites: I64Array
    ids: I32Array
    first: I32Array | None

    def n_bytes(self) -> int:
        height, h = -(-len(self.sites) // 8), len(self.ids)
        return height * h if self.first is None else min(height * h, 2 * h + height * len(self.first))

    def with_next(self, other: _Growing) -> _Growing | None:
        """Both as one group, where that takes less space."""
        if self.first is None or other.first is None:
            return None
        keys = (self.ids.astype(np.uint64) << np.uint64(32)) | other.ids.astype(np.uint64)
        both = _alike(np.concatenate([self.sites, other.sites]), keys)
        return both if both.first is not None and both.n_bytes() <= self.n_bytes() + other.n_bytes() else None

    def group(self, columns: U8Array) -> Group:
        height, h = -(-len(self.sites) // 8), len(self.ids)
        if self.first is None or height * h <= self.n_bytes():
            return Group(self.sites, _chosen(columns, self.sites), None)
        return Group(self.sites, _chosen(columns[:, self.first], self.sites), self.ids.astype("<u2"))


def _grouped(columns: U8Array, sites: I64Array) -> list[Group]:
    from vcfrag_core.panel import kernels

    groups: list[_Growing] = []
    keys = np.empty(columns.shape[1], dtype=np.uint64)
    for start in range(0, len(sites), WORD_SITES):
        mine = sites[start : start + WORD_SITES]
        kernels.site_word(columns, mine, keys)
        word = _alike(mine, keys)
        both = groups[-1].with_next(word) if groups else None
        if both is None:
            groups.append(word)
        else:
            groups[-1] = both
    return [growing.group(columns) for growing in groups]


def _alike(sites: I64Array, keys: U64Array) -> _Growing:
    from vcfrag_core.panel import kernels

    ids, first = np.empty(len(keys), dtype=np.int32), np.empty(kernels.MAX_PATTERNS, dtype=np.int32)
    n = kernels.distinct(keys, ids, first)
    return _Growing(sites, ids, first[:n].copy() if n >= 0 else None)


def _chosen(columns: U8Array, sites: I64Array) -> U8Array:
    """(ceil(C / 8), n) columns of some sites of (B, n) ones."""
    from vcfrag_core.panel import kernels

    out = np.zeros((-(-len(sites) // 8), columns.shape[1]), dtype=np.uint8)
    for i, site in enumerate(sites.tolist()):
        kernels.move_site(columns[site >> 3], site & 7, i & 7, out[i >> 3])
    return out
