"""Dosages of the sites to impute from posteriors of the candidates: compiled.

Candidates' alleles are turned 64 sites at a time, so that a site's carriers are bits, in the order of the posteriors:
16 of them are the mask of one addition. Sums are taken in 16 lanes and in one order, whatever the machine. All
functions release the GIL.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.vectors import LANES, lowest, prefetch, sum_four, sum_one, sum_two, transpose
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import FloatArray, I32Array, I64Array, U64Array

SITES = 64
# Words of a cache line: a candidate's lie together, but every candidate's elsewhere.
AHEAD = 8


@kernel
def padded(count: int) -> int:
    """Columns that posteriors of so many candidates need, of which the last ones are read and never added."""
    return (count + LANES - 1) // LANES * LANES


@kernel
def scratch(words: U64Array, n_candidates: int, like: FloatArray) -> tuple[U64Array, U64Array, I64Array, FloatArray]:
    """`bits`, `turned`, `sites` and `sums` for `fill_dosage`."""
    bits = np.empty(((n_candidates + 63) // 64, SITES), dtype=np.uint64)
    turned = np.full(2, words.shape[1], dtype=np.uint64)
    return bits, turned, np.empty(SITES, dtype=np.int64), np.empty((2, 4), dtype=like.dtype)


@leaf
def turn(words: U64Array, candidates: I32Array, word: int, bits: U64Array) -> int:
    """Fills (G, 64) bits of 64 sites: bit j of bits[g, s] is that of candidate 64 g + j at site s; 0 beyond the last.

    Args:
        words: (H, W) panel bits, a haplotype's after each other.
        candidates: (K,) panel rows.
        word: Which of the W.
        bits: Of G = ceil(K / 64) groups.

    Returns:
        The sites at which any candidate carries ALT, as 64 bits.
    """
    k, carried = len(candidates), np.uint64(0)
    for g in range(len(bits)):
        for j in range(min(64, k - 64 * g)):
            row = np.uint32(candidates[64 * g + j])
            bits[g, j] = words[row, word]
            # The sites before are turned next.
            prefetch(words, row, word - AHEAD)
        for j in range(k - 64 * g, 64):
            bits[g, j] = 0
        carried |= transpose(bits, g)
    return carried


@leaf
def fill_dosage(
    words: U64Array, candidates: I32Array, wanted: U64Array, turned: U64Array, bits: U64Array, begin: int, end: int,
    fraction: FloatArray, posteriors: FloatArray, left: int, left_scale: float, right: int, right_scale: float,
    sites: I64Array, sums: FloatArray, dosage: FloatArray,
) -> None:  # fmt: skip
    """Dosages of sites [begin, end), which lie between two observed sites.

    Args:
        words, candidates: As of `turn`.
        wanted: (W,) bits of the sites whose dosage is asked for.
        turned: (2,) which word `bits` holds, and the sites that candidates carry there; none yet if it is none of W.
        bits: (G, 64) as `turn` fills them; scratch.
        begin, end: Sites, by their number among the L.
        fraction: (L,) as in `CopyingSites`.
        posteriors: (R, >= padded(K)) rows of posteriors.
        left, left_scale: The row of the observed site on the left, and what it is to be multiplied by.
        right, right_scale: The same of the next observed site.
        sites, sums: (64,) and (2, 4) scratch.
        dosage: (L,) written at [begin, end); left as it is where no candidate carries ALT or nothing is asked for.
    """
    one, k = posteriors.dtype.type(1), len(candidates)
    while end > begin:
        word = (end - 1) >> 6
        first = max(begin, word << 6)
        here = wanted[word] & _between(first & 63, ((end - 1) & 63) + 1)
        if here and np.int64(turned[0]) != word:
            turned[0], turned[1] = np.uint64(word), turn(words, candidates, word, bits)
        n = _places(here & turned[1], sites) if here else 0
        at = 0
        while at < n:
            some = _sum_some(bits, sites, at, n - at, posteriors, left, right, k, sums)
            for s in range(some):
                i = (word << 6) + sites[at + s]
                low, high = sums[0, s] * left_scale, sums[1, s] * right_scale
                dosage[i] = min(low + fraction[i] * (high - low), one)
            at += some
        end = first


@leaf
def _sum_some(
    bits: U64Array, sites: I64Array, at: int, n: int, posteriors: FloatArray, left: int, right: int, k: int,
    sums: FloatArray,
) -> int:  # fmt: skip
    """Sums of both rows at as many of the next n sites as are taken at once; returns how many."""
    if n >= 4:
        sum_four(bits, sites, at, posteriors, left, right, k, sums)
        return 4
    if n >= 2:
        sum_two(bits, sites, at, posteriors, left, right, k, sums)
        return 2
    sum_one(bits, sites, at, posteriors, left, right, k, sums)
    return 1


@kernel
def _between(first: int, stop: int) -> int:
    """Bits [first, stop) of 64, of which there is one at least."""
    return (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - (stop - first))) << np.uint64(first)


@leaf
def _places(some: np.uint64, places: I64Array) -> int:
    """Writes the numbers of the bits that are set, ascending, and returns how many they are."""
    n = 0
    while some:
        places[n] = lowest(some)
        some &= some - np.uint64(1)
        n += 1
    return n
