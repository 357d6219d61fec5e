"""How well the haplotypes around a site foretell its alleles, from the panel alone.

Where haplotypes are sorted by what lies beside a site, those that are neighbours share most, and at a good site have
one allele: the number of changes of allele along the order is small. It is large at sites that mutated often or are
called badly, whatever the query. The order is that of the positional Burrows-Wheeler transform (Durbin,
Bioinformatics 30, 2014, algorithm 1), taken once from the left and once from the right.
"""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel.storage import HaplotypeBits
from vcfrag_core.types import F32Array, F64Array, I64Array, U8Array

# At rarer sites the numbers are small, and few haplotypes have to be told from the others. Panel files name it.
MIN_MAF = 0.005
# By then the order of the rows is forgotten, but for haplotypes that are alike so far.
SITES_TO_SETTLE = 200
_SITES_AT_ONCE = 512
# Columns of so many bytes are read once for both ways.
_MAX_KEPT_BYTES = 32 << 20


def pbwt_changes(bits: HaplotypeBits, rows: I64Array, frequency: F64Array, counted: I64Array | None = None) -> F32Array:
    """(2, V) log of the number of allele changes over its expectation in a random order, from the left and the right.

    0 at sites of minor allele frequency below 0.5 %, which have no part in the order either. An order begins as that of
    the rows, which says nothing; so near the end where it begins, the number from the other side stands for both. Of
    fewer than 400 such sites all are near an end, and the order of the rows shows.

    Args:
        bits: All haplotypes.
        rows: (R,) haplotypes that count.
        frequency: (V,) their ALT frequency.
        counted: (2, V) their `changes_both_ways`, where they are known.
    """
    sites = _common(frequency)
    out = np.zeros((2, len(frequency)), dtype=np.float32)
    if counted is None:
        counted = changes_both_ways(bits, rows, frequency)
    expected = 2 * len(rows) * frequency[sites] * (1 - frequency[sites])
    out[:, sites] = np.log((counted[:, sites] + 1) / (expected + 1))
    settling = min(SITES_TO_SETTLE, len(sites) // 2)
    first, last = sites[:settling], sites[len(sites) - settling :]
    out[0, first], out[1, last] = out[1, first], out[0, last]
    return out


def changes_both_ways(bits: HaplotypeBits, rows: I64Array, frequency: F64Array) -> I64Array:
    """(2, V) `count_changes` from the left and from the right; 0 at rare sites. Arguments as for `pbwt_changes`."""
    sites = _common(frequency)
    out = np.zeros((2, len(frequency)), dtype=np.int64)
    known = bits.columns(sites, rows) if len(rows) * len(sites) <= 8 * _MAX_KEPT_BYTES else None
    for number, way in enumerate((sites, np.ascontiguousarray(sites[::-1]))):
        places = np.searchsorted(sites, way)
        out[number, way] = count_changes(bits, rows, way) if known is None else _changes(known, places)
    return out


def _common(frequency: F64Array) -> I64Array:
    """Sites that have a part in the order."""
    return np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)


def count_changes(bits: HaplotypeBits, rows: I64Array, sites: I64Array) -> I64Array:
    """(M,) changes of allele between neighbours at each of M sites, haplotypes sorted by the sites named before it.

    Args:
        bits, rows: As for `pbwt_changes`.
        sites: (M,) panel sites in the order in which to go, ascending or descending.
    """
    from vcfrag_core.panel import kernels

    order, ones = np.arange(len(rows), dtype=np.int32), np.empty(len(rows), dtype=np.int32)
    out = np.empty(len(sites), dtype=np.int64)
    for start in range(0, len(sites), _SITES_AT_ONCE):
        mine = sites[start : start + _SITES_AT_ONCE]
        places = np.argsort(mine)
        columns = bits.columns(mine[places], rows)
        kernels.count_changes(columns, np.argsort(places), order, ones, out[start : start + _SITES_AT_ONCE])
    return out


def _changes(columns: U8Array, places: I64Array) -> I64Array:
    """`count_changes` at sites that are all among the columns."""
    from vcfrag_core.panel import kernels

    out = np.empty(len(places), dtype=np.int64)
    order = np.arange(columns.shape[1], dtype=np.int32)
    kernels.count_changes(columns, places, order, np.empty_like(order), out)
    return out
