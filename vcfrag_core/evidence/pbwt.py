"""How well the haplotypes around a site foretell its alleles, from the panel alone.

Where haplotypes are sorted by what lies beside a site, those that are neighbours share most, and at a good site have
one allele: the number of changes of allele along the order is small. It is large at sites that mutated often or are
called badly, whatever the query. The order is that of the positional Burrows-Wheeler transform (Durbin,
Bioinformatics 30, 2014, algorithm 1), taken once from the left and once from the right.
"""

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.panel.storage import HaplotypeBits
from vcfrag_core.types import F32Array, F64Array, I32Array, I64Array, U8Array

# At rarer sites the numbers are small, and few haplotypes have to be told from the others.
MIN_MAF = 0.005
# By then the order of the rows is forgotten, but for haplotypes that are alike so far.
SITES_TO_SETTLE = 200
_SITES_AT_ONCE = 512
# Columns of so many bytes are read once for both ways.
_MAX_KEPT_BYTES = 32 << 20


def pbwt_changes(bits: HaplotypeBits, rows: I64Array, frequency: F64Array) -> F32Array:
    """(2, V) log of the number of allele changes over its expectation in a random order, from the left and the right.

    0 at sites of minor allele frequency below 0.5 %, which have no part in the order either. An order begins as that of
    the rows, which says nothing; so near the end where it begins, the number from the other side stands for both. Of
    fewer than 400 such sites all are near an end, and the order of the rows shows.

    Args:
        bits: All haplotypes.
        rows: (R,) haplotypes that count.
        frequency: (V,) their ALT frequency.
    """
    sites = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)
    out = np.zeros((2, len(frequency)), dtype=np.float32)
    known = bits.columns(sites, rows) if len(rows) * len(sites) <= 8 * _MAX_KEPT_BYTES else None
    for number, way in enumerate((sites, np.ascontiguousarray(sites[::-1]))):
        expected = 2 * len(rows) * frequency[way] * (1 - frequency[way])
        places = np.searchsorted(sites, way)
        changes = count_changes(bits, rows, way) if known is None else _changes(known, places)
        out[number, way] = np.log((changes + 1) / (expected + 1))
    settling = min(SITES_TO_SETTLE, len(sites) // 2)
    first, last = sites[:settling], sites[len(sites) - settling :]
    out[0, first], out[1, last] = out[1, first], out[0, last]
    return out


def count_changes(bits: HaplotypeBits, rows: I64Array, sites: I64Array) -> I64Array:
    """(M,) changes of allele between neighbours at each of M sites, haplotypes sorted by the sites named before it.

    Args:
        bits, rows: As for `pbwt_changes`.
        sites: (M,) panel sites in the order in which to go, ascending or descending.
    """
    order, ones = np.arange(len(rows), dtype=np.int32), np.empty(len(rows), dtype=np.int32)
    out = np.empty(len(sites), dtype=np.int64)
    for start in range(0, len(sites), _SITES_AT_ONCE):
        mine = sites[start : start + _SITES_AT_ONCE]
        places = np.argsort(mine)
        columns = bits.columns(mine[places], rows)
        _count(columns, np.argsort(places), order, ones, out[start : start + _SITES_AT_ONCE])
    return out


def _changes(columns: U8Array, places: I64Array) -> I64Array:
    """`count_changes` at sites that are all among the columns."""
    out = np.empty(len(places), dtype=np.int64)
    order = np.arange(columns.shape[1], dtype=np.int32)
    _count(columns, places, order, np.empty_like(order), out)
    return out


@numba.njit(cache=True, nogil=True)
def _count(columns: U8Array, places: I64Array, order: I32Array, ones: I32Array, out: I64Array) -> None:
    """`count_changes` of some sites, which are these of the columns; takes the order on."""
    for number in range(len(places)):
        out[number] = _sort_by(columns[places[number] >> 3], np.uint8(places[number] & 7), order, ones)


@numba.njit(cache=True, nogil=True)
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
