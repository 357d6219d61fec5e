"""Compiled loops over panel bits: haplotype by haplotype, eight sites to a row, and in compact blocks.

*Columns* are (ceil(M / 8), n) bytes: site m of M chosen ones is bit m & 7 of row m >> 3, a haplotype a column.
"""

# Scalars are of the arrays' own types, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import itertools

import numpy as np

from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import I32Array, I64Array, U8Array, U64Array

TILE = 64
# Carriers are written as 16 bits within runs of so many haplotypes.
RUN_BITS = 16
MAX_PATTERNS = 65_535
# So many bits are within eight bytes wherever they begin.
_RUN_SITES = 56
# A run is read in the time of so many single sites, or less.
_SITES_PER_RUN = 4


@kernel
def observed_columns(packed: U8Array, rows: I64Array, sites: I64Array) -> U8Array:
    """(ceil(M / 8), n) columns of n panel rows at the M panel sites given.

    A few haplotypes at a time, whose bytes stay at hand while one site after the other is read of all of them; sites
    of one byte after each other read it once.
    """
    out = np.zeros(((len(sites) + 7) // 8, len(rows)), dtype=np.uint8)
    few = np.empty(TILE, dtype=np.uint8)
    for begin in range(0, len(rows), TILE):
        n, read = min(TILE, len(rows) - begin), np.int64(-1)
        for m in range(len(sites)):
            byte = sites[m] >> 3
            if byte != read:
                for i in range(n):
                    few[i] = packed[rows[begin + i], byte]
                read = byte
            move_bit(few[:n], sites[m] & 7, m & 7, out[m >> 3, begin : begin + n])
    return out


@leaf
def move_bit(source: U8Array, source_bit: int, bit: int, out: U8Array) -> None:
    """Sets a bit of every byte of `out` where another bit is set in `source`."""
    down, up = np.uint8(source_bit), np.uint8(bit)
    for i in range(len(source)):
        out[i] |= ((source[i] >> down) & np.uint8(1)) << up


@kernel
def move_site(source: U8Array, source_bit: int, bit: int, out: U8Array) -> None:
    """`move_bit` of a whole row."""
    move_bit(source, source_bit, bit, out)


@kernel
def regroup(columns: U8Array, places: I64Array) -> U8Array:
    """(ceil(M / 8), n) the sites at M places of (B, n) columns as columns of their own."""
    out = np.zeros(((len(places) + 7) // 8, columns.shape[1]), dtype=np.uint8)
    for m in range(len(places)):
        move_bit(columns[places[m] >> 3], places[m] & 7, m & 7, out[m >> 3])
    return out


@kernel
def bit_counts(packed: U8Array, rows: I64Array) -> I64Array:
    """(8 B,) ones at each bit of n of the rows (H, B).

    Bit by bit of all bytes of a row, into counters of a byte, which is vector code.
    """
    n_bytes = packed.shape[1]
    counts = np.zeros((n_bytes, 8), dtype=np.int64)
    few = np.zeros((8, n_bytes), dtype=np.uint8)
    for i in range(len(rows)):
        for bit in range(8):
            _count_bit(packed[rows[i]], bit, few[bit])
        if (i + 1) % 255 == 0 or i + 1 == len(rows):
            for bit in range(8):
                for b in range(n_bytes):
                    counts[b, bit] += few[bit, b]
            few[:] = 0
    return counts.reshape(-1)


@leaf
def _count_bit(row: U8Array, bit: int, counts: U8Array) -> None:
    down = np.uint8(bit)
    for b in range(len(row)):
        counts[b] += (row[b] >> down) & np.uint8(1)


def site_words(packed: U8Array, sites: I64Array) -> U64Array:
    """(H, ceil(L / 64)) panel bits at L ascending sites, bit i of a row being that of sites[i]."""
    if len(sites) and sites[-1] - sites[0] == len(sites) - 1:
        return window_words(packed, int(sites[0]), int(sites[-1]) + 1)
    if len(sites) and len((runs := _runs(sites))[0]) * _SITES_PER_RUN < len(sites):
        return words_of_runs(packed, *runs, len(sites))
    return words_of(by_column(observed_columns(packed, np.arange(len(packed)), sites)))


def _runs(sites: I64Array) -> tuple[I64Array, I64Array]:
    """First site and length of all runs of at least one site, cut to at most _RUN_SITES."""
    edges = np.flatnonzero(np.diff(sites, prepend=-2, append=-2) != 1)
    begins = np.concatenate([np.arange(a, b, _RUN_SITES) for a, b in itertools.pairwise(edges.tolist())])
    return sites[begins], np.diff(begins, append=len(sites))


@kernel
def words_of_runs(packed: U8Array, starts: I64Array, lengths: I64Array, n_sites: int) -> U64Array:
    """(H, ceil(n_sites / 64)) panel bits at runs of sites, at most _RUN_SITES each, one run after the other."""
    out = np.zeros((len(packed), (n_sites + 63) // 64), dtype=np.uint64)
    n_bytes = packed.shape[1]
    for h in range(len(packed)):
        row, at = packed[h], 0
        for run in range(len(starts)):
            b, n = starts[run] >> 3, lengths[run]
            word = np.uint64(0)
            if b + 8 <= n_bytes:
                word = _word_at(row, b)
            else:
                for i in range(n_bytes - b):
                    word |= np.uint64(row[b + i]) << np.uint64(8 * i)
            word = (word >> np.uint64(starts[run] & 7)) & ((np.uint64(1) << np.uint64(n)) - np.uint64(1))
            out[h, at >> 6] |= word << np.uint64(at & 63)
            if (at & 63) + n > 64:
                out[h, (at >> 6) + 1] |= word >> np.uint64(64 - (at & 63))
            at += n
    return out


def words_of(rows: U8Array) -> U64Array:
    """(H, ceil(B / 8)) words of (H, B) bytes."""
    padded = np.zeros((len(rows), 8 * ((rows.shape[1] + 7) // 8)), dtype=np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view("<u8")


@kernel
def window_words(packed: U8Array, start: int, stop: int) -> U64Array:
    """(H, ceil((stop - start) / 64)) panel bits of the window's sites, bit 0 of word 0 being site `start`."""
    n_words = (stop - start + 63) // 64
    out = np.empty((len(packed), n_words), dtype=np.uint64)
    first, down, last = start >> 3, np.uint64(start & 7), (stop + 7) >> 3
    up, mask = np.uint64(8) - down, ~np.uint64(0) >> np.uint64(64 * n_words - (stop - start))
    # The words whose nine bytes are all there.
    whole = max(0, (last - first - 1) // 8)
    for h in range(len(packed)):
        row = packed[h]
        for w in range(whole):
            word = _word_at(row, first + 8 * w) >> down
            out[h, w] = word | (np.uint64(row[first + 8 * w + 8]) << up) << np.uint64(56)
        for w in range(whole, n_words):
            out[h, w] = np.uint64(0)
            for i in range(9):
                b = first + 8 * w + i
                byte = np.uint64(row[b]) if b < last else np.uint64(0)
                out[h, w] |= byte >> down if i == 0 else (byte << up) << np.uint64(8 * (i - 1))
        if n_words:
            out[h, n_words - 1] &= mask
    return out


@leaf
def _word_at(row: U8Array, b: int) -> np.uint64:
    """The eight bytes from byte b on, which the compiler reads as one."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(row[b + i]) << np.uint64(8 * i)
    return word


@kernel
def by_column(rows: U8Array) -> U8Array:
    """The transpose of (H, B) bytes, as an array of its own."""
    out = np.empty((rows.shape[1], len(rows)), dtype=np.uint8)
    for begin in range(0, len(rows), TILE):
        stop = min(begin + TILE, len(rows))
        for b in range(rows.shape[1]):
            target = out[b]
            for h in range(begin, stop):
                target[h] = rows[h, b]
    return out


@kernel
def by_row(columns: U8Array, out: U8Array) -> None:
    """The transpose of (B, n) bytes, written to (n, B) bytes that may be part of longer rows."""
    for begin in range(0, columns.shape[1], TILE):
        stop = min(begin + TILE, columns.shape[1])
        for b in range(len(columns)):
            source = columns[b]
            for h in range(begin, stop):
                out[h, b] = source[h]


@kernel
def site_counts(columns: U8Array) -> I64Array:
    """(8 B,) ones at each site of (B, n) columns."""
    counts = np.zeros(8 * len(columns), dtype=np.int64)
    # Of two histograms in turn, a byte that comes twice need not wait for itself.
    bytes_of = np.zeros((2, 256), dtype=np.int64)
    for b in range(len(columns)):
        row = columns[b]
        bytes_of[:] = 0
        for h in range(len(row)):
            bytes_of[h & 1, row[h]] += 1
        for value in range(256):
            n = bytes_of[0, value] + bytes_of[1, value]
            for bit in range(8):
                counts[8 * b + bit] += n * ((value >> bit) & 1)
    return counts


@kernel
def write_carriers(columns: U8Array, rare: U64Array, starts: I64Array, carriers: U64Array) -> None:
    """Lists the carriers of the rarer allele at rare sites.

    Args:
        columns: (B, H) columns of a block.
        rare: (R,) twice the site's number within the block, ascending, and 1 where REF is the rarer allele.
        starts: (R * runs + 1,) where the carriers of each site and run of 2**16 haplotypes begin; those of every first
            run are given, the others are written.
        carriers: Receives each site's, ascending, within their run.
    """
    n_runs = (len(starts) - 1) // max(1, len(rare))
    at = np.empty(len(rare), dtype=np.int64)
    for r in range(len(rare)):
        at[r] = starts[r * n_runs]
    numbers = np.full(8 * len(columns), -1, dtype=np.int64)
    masks, flips = np.zeros(len(columns), dtype=np.uint8), np.zeros(len(columns), dtype=np.uint8)
    for r in range(len(rare)):
        site = int(rare[r] >> 1)
        numbers[site] = r
        masks[site >> 3] |= np.uint8(1 << (site & 7))
        flips[site >> 3] |= np.uint8(int(rare[r] & 1) << (site & 7))
    for run in range(n_runs):
        begin, stop = run << RUN_BITS, min((run + 1) << RUN_BITS, columns.shape[1])
        for r in range(len(rare)):
            starts[r * n_runs + run] = at[r]
        for b in range(len(columns)):
            row, mask, flip = columns[b], masks[b], flips[b]
            for h in range(begin, stop):
                here = (row[h] ^ flip) & mask
                if here == 0:
                    continue
                for bit in range(8):
                    if (here >> bit) & 1:
                        r = numbers[8 * b + bit]
                        carriers[at[r]] = h - begin
                        at[r] += 1


@kernel
def site_word(columns: U8Array, sites: I64Array, out: U64Array) -> None:
    """(H,) alleles of each haplotype at up to 64 sites of a block, site i as bit i."""
    out[:] = 0
    for i in range(len(sites)):
        row, bit, shift = columns[sites[i] >> 3], np.uint8(sites[i] & 7), np.uint64(i)
        for h in range(len(row)):
            out[h] |= np.uint64((row[h] >> bit) & np.uint8(1)) << shift


@kernel
def distinct(keys: U64Array, ids: I32Array, first: I32Array) -> int:
    """Numbers equal keys alike, in the order in which they first come; -1 where more than MAX_PATTERNS differ.

    Args:
        keys: (H,) what is compared.
        ids: (H,) receives the numbers.
        first: (MAX_PATTERNS,) receives where each first comes.
    """
    bits = 4
    while (1 << bits) < 2 * min(len(keys), MAX_PATTERNS + 1):
        bits += 1
    table = np.full(1 << bits, -1, dtype=np.int32)
    shift, last = np.uint64(64 - bits), np.int64((1 << bits) - 1)
    n = 0
    for h in range(len(keys)):
        key = keys[h]
        slot = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while table[slot] >= 0 and keys[first[table[slot]]] != key:
            slot = (slot + 1) & last
        if table[slot] < 0:
            if n == MAX_PATTERNS:
                return -1
            table[slot], first[n] = n, h
            n += 1
        ids[h] = table[slot]
    return n


@kernel
def read_carriers(
    rare: U64Array, starts: I64Array, carriers: U64Array, where: I32Array, place: I32Array, span: I64Array, out: U8Array
) -> None:
    """Adds what is known by carriers to columns of zeros.

    Args:
        rare, starts, carriers: As for `write_carriers`.
        where: (sites of the block,) which of the chosen sites each is, -1 for those not chosen.
        place: (H,) column of each haplotype, -1 for those not chosen.
        span: The first haplotype that is chosen, and the one after the last.
        out: (ceil(M / 8), n) columns.
    """
    n_runs = (len(starts) - 1) // max(1, len(rare))
    first, stop = span[0], span[1]
    for r in range(len(rare)):
        position = where[rare[r] >> 1]
        if position < 0:
            continue
        row, bit = out[position >> 3], np.uint8(1 << (position & 7))
        if rare[r] & 1:
            for column in range(len(row)):
                row[column] ^= bit
        for run in range(first >> RUN_BITS, ((stop - 1) >> RUN_BITS) + 1):
            base = run << RUN_BITS
            begin, end = np.int64(starts[r * n_runs + run]), np.int64(starts[r * n_runs + run + 1])
            if base < first:
                begin = _lower_bound(carriers, begin, end, first - base)
            for i in range(begin, end):
                h = base + np.int64(carriers[i])
                if h >= stop:
                    break
                column = place[h]
                if column >= 0:
                    row[column] ^= bit


@leaf
def _lower_bound(values: U64Array, begin: int, end: int, wanted: int) -> int:
    """The first place in ascending values[begin:end] that holds `wanted` or more."""
    while begin < end:
        middle = (begin + end) >> 1
        if values[middle] < wanted:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel
def read_patterns(patterns: U8Array, index: U64Array, positions: I32Array, out: U8Array) -> None:
    """Adds a group of sites to columns that have zeros there.

    Args:
        patterns: (ceil(C / 8), D) columns of the group's C sites, of distinct patterns.
        index: (n,) pattern of each chosen haplotype.
        positions: (C,) which of the chosen sites each is, ascending, -1 for those not chosen.
        out: (ceil(M / 8), n) columns.
    """
    table = np.empty(patterns.shape[1], dtype=np.uint8)
    j, n_sites = 0, len(positions)
    while j < n_sites:
        if positions[j] < 0:
            j += 1
            continue
        octet = positions[j] >> 3
        table[:] = 0
        while j < n_sites and (positions[j] < 0 or positions[j] >> 3 == octet):
            if positions[j] >= 0:
                move_bit(patterns[j >> 3], j & 7, positions[j] & 7, table)
            j += 1
        row = out[octet]
        for h in range(len(index)):
            row[h] |= table[index[h]]


@kernel
def ascends(starts: I64Array, carriers: U64Array) -> bool:
    """Whether starts do not fall and carriers rise from each start to the next."""
    for s in range(len(starts) - 1):
        if starts[s] > starts[s + 1] or starts[s + 1] > len(carriers):
            return False
        for i in range(starts[s] + 1, starts[s + 1]):
            if carriers[i - 1] >= carriers[i]:
                return False
    return True


@kernel
def count_changes(columns: U8Array, places: I64Array, order: I32Array, ones: I32Array, out: I64Array) -> None:
    """`pbwt.count_changes` of some sites, which are these of the columns; takes the order on."""
    for number in range(len(places)):
        out[number] = _sort_by(columns[places[number] >> 3], np.uint8(places[number] & 7), order, ones)


@kernel
def _sort_by(column: U8Array, bit: np.uint8, order: I32Array, ones: I32Array) -> int:
    """Moves those with a zero before those with a one; returns the changes of allele along the order before."""
    n_zeros, n_ones, changes = np.uint32(0), np.uint32(0), 0
    before = (column[np.uint32(order[0])] >> bit) & np.uint8(1) if len(order) else np.uint8(0)
    # Zeros move up in place, which never overtakes the reading.
    for i in range(len(order)):
        h = order[i]
        allele = (column[np.uint32(h)] >> bit) & np.uint8(1)
        changes += allele ^ before
        before = allele
        order[n_zeros], ones[n_ones] = h, h
        n_zeros += np.uint32(1 - allele)
        n_ones += np.uint32(allele)
    order[n_zeros:] = ones[:n_ones]
    return changes
