"""Alleles of the sites to impute, rare ones as lists: a haplotype carries few of them, whatever their number.

Most sites of a panel are carried by few. To sum posteriors over all candidates at each of them is to add up zeros; to
walk the lists of the candidates once finds the same carriers. What follows is of one window, the same for all queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from vcfrag_core.panel.kernels import observed_bits
from vcfrag_core.types import FloatArray, I32Array, I64Array, U8Array, U64Array

# Of haplotypes, up to which a site is kept as carriers.
RARE_SHARE = 1 / 32
_BYTE_COUNTS = 255


class SiteAlleles(NamedTuple):
    """Who carries ALT at L sites.

    Attributes:
        common: (C,) ascending numbers among the L of the sites that are kept as bits.
        bits: (H, ceil(C / 8)) bits at these, a haplotype's after each other.
        starts: (H + 1,) where each haplotype's entries in `rare` begin, and their number.
        rare: ascending numbers among the L of the other sites that a haplotype carries, all haplotypes' in turn.
    """

    common: I32Array
    bits: U8Array
    starts: I64Array
    rare: I32Array


def site_alleles(words: U64Array, n_sites: int) -> SiteAlleles:
    """From (H, ceil(L / 64)) bits, those beyond L being 0."""
    rows = words.view(np.uint8)
    counts = np.zeros(rows.shape[1] * 8, dtype=np.int64)
    for start in range(0, len(rows), _BYTE_COUNTS):
        bits = np.unpackbits(rows[start : start + _BYTE_COUNTS], axis=1, bitorder="little")
        counts += bits.sum(axis=0, dtype=np.uint8)
    is_common = counts > RARE_SHARE * len(words)
    common = np.flatnonzero(is_common[:n_sites]).astype(np.int32)
    starts = np.zeros(len(words) + 1, dtype=np.int64)
    rare = np.empty(int(counts[~is_common].sum()), dtype=np.int32)
    list_sites(rows, np.packbits(~is_common, bitorder="little"), starts, rare)
    return SiteAlleles(common, observed_bits(rows, np.arange(len(words)), common), starts, rare)


@numba.njit(cache=True, nogil=True)
def list_sites(rows: U8Array, mask: U8Array, starts: I64Array, sites: I32Array) -> None:
    """Fills the numbers of the masked bits that are set in each row, and where each row's begin."""
    n = 0
    for h in range(len(rows)):
        row = rows[h]
        starts[h] = n
        for b in range(len(mask)):
            byte = row[b] & mask[b]
            if byte:
                for bit in range(8):
                    if (byte >> bit) & 1:
                        sites[n] = (b << 3) + bit
                        n += 1
    starts[len(rows)] = n


@numba.njit(cache=True, nogil=True)
def rare_carriers(
    alleles: SiteAlleles, candidates: I32Array, wanted: U8Array, n_sites: int
) -> tuple[I64Array, I32Array]:
    """(L + 1,) where each site's carriers begin, and the carriers' numbers among the candidates, ascending.

    Args:
        alleles: Of the L sites; those kept as bits have no carriers here.
        candidates: (K,) panel rows.
        wanted: (ceil(L / 8),) bits of the sites that matter; others have no carriers here.
        n_sites: L.
    """
    starts, rare = alleles.starts, alleles.rare
    first = np.zeros(n_sites + 2, dtype=np.int64)
    for j in range(len(candidates)):
        for e in range(starts[candidates[j]], starts[candidates[j] + 1]):
            first[rare[e] + 2] += (wanted[rare[e] >> 3] >> (rare[e] & 7)) & 1
    for site in range(n_sites):
        first[site + 2] += first[site + 1]
    carriers = np.empty(first[n_sites + 1], dtype=np.int32)
    for j in range(len(candidates)):
        for e in range(starts[candidates[j]], starts[candidates[j] + 1]):
            site = rare[e]
            if (wanted[site >> 3] >> (site & 7)) & 1:
                carriers[first[site + 1]] = j
                first[site + 1] += 1
    return first[: n_sites + 1], carriers


@numba.njit(cache=True, nogil=True)
def fill_rare(
    first: I64Array, carriers: I32Array, begin: int, end: int, fraction: FloatArray,
    a: FloatArray, a_scale: float, b: FloatArray, b_scale: float, dosage: FloatArray,
) -> None:  # fmt: skip
    """`copying.kernels.fill_dosage` of the rare sites in [begin, end); others are left as they are."""
    one = a.dtype.type(1)
    for site in range(begin, end):
        if first[site] == first[site + 1]:
            continue
        low, high = one - one, one - one
        for e in range(first[site], first[site + 1]):
            low += a[carriers[e]]
            high += b[carriers[e]]
        low, high = low * a_scale, high * b_scale
        dosage[site] = min(low + fraction[site] * (high - low), one)


@numba.njit(cache=True, nogil=True)
def wanted_of(wanted: U8Array, sites: I32Array) -> U8Array:
    """(ceil(C / 8),) the bits of `wanted` at some sites."""
    out = np.zeros((len(sites) + 7) // 8, dtype=np.uint8)
    for n in range(len(sites)):
        out[n >> 3] |= np.uint8(((wanted[sites[n] >> 3] >> (sites[n] & 7)) & 1) << (n & 7))
    return out
