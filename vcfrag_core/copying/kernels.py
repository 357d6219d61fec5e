"""The compiled copying layer: forward-backward over the candidates of one query haplotype.

Alleles stay bits: eight sites of all candidates are one row of bytes, gathered from a panel that lies the same way.
A pass keeps one vector of K values every BLOCK sites and recomputes the rest inside the block while it goes backward,
so that memory is K * (M / BLOCK + BLOCK) and not K * M. Steps from site to site and sums over carriers are vectors of
candidates (`vcfrag_core.copying.vectors`), which add up in one order.
Kernels work in the type of `mismatch`: float32 in use, float64 in tests. Every kernel handles one query, releases the
GIL and depends on nothing but its arguments, so that any number of threads gives the same bytes.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.carriers import fill_dosage, padded, scratch
from vcfrag_core.copying.vectors import step, step_back
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf
from vcfrag_core.types import FloatArray, I8Array, I32Array, U8Array, U64Array

BLOCK = 32
# Rows beside those of a block: of the site after it, and backward values; and how many there are.
AFTER, BACKWARD, ROWS = BLOCK, BLOCK + 1, BLOCK + 2


@kernel
def gather(columns: U8Array, candidates: I32Array, first: int, stop: int, width: int) -> U8Array:
    """(stop - first, width >= K) bytes of the candidates in rows [first, stop) of (bytes, H) columns."""
    out = np.empty((stop - first, width), dtype=np.uint8)
    for b in range(first, stop):
        _pick(columns[b], candidates, out[b - first])
    return out


@leaf
def _pick(source: U8Array, candidates: I32Array, target: U8Array) -> None:
    """The candidates' bytes of one row."""
    for j in range(len(candidates)):
        # An unsigned index cannot count from the end, which saves the test for it.
        target[j] = source[np.uint32(candidates[j])]


# Element by element: numba takes ten times as long to compile assignments to a row.
@leaf
def copy_row(source: FloatArray, i: int, target: FloatArray, j: int) -> None:
    """target[j] = source[i]."""
    for k in range(target.shape[1]):
        target[j, k] = source[i, k]


@kernel
def mask_of(bit: int, allele: int) -> int:
    """The bit of a byte; none where there is no call, whose emission is 1."""
    return np.uint8(1 << bit) if allele >= 0 else np.uint8(0)


@kernel
def begin(
    observed: U8Array, candidates: I32Array, query: I8Array, mismatch: FloatArray, switch: FloatArray
) -> tuple[U8Array, FloatArray]:
    """What copying under several rates begins with; arguments as for `copy_ways`.

    Returns:
        (ceil(M / 8), padded(K)) bytes of the candidates, and (W, ceil(M / BLOCK), padded(K)) forward values, summing to
        1, at the first site of each block.
    """
    m, k, ways = len(query), len(candidates), len(mismatch)
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    states = gather(observed, candidates, 0, len(observed), padded(k))
    checkpoints = np.empty((ways, (m + BLOCK - 1) // BLOCK, padded(k)), dtype=mismatch.dtype)
    current = np.full((ways, padded(k)), one / count, dtype=mismatch.dtype)
    keeps, adds = np.ones(ways, dtype=mismatch.dtype), np.zeros(ways, dtype=mismatch.dtype)
    for i in range(m):
        mask = mask_of(i & 7, query[i])
        # Steps of one way wait for each other, and those of several do not.
        for w in range(ways):
            ref, alt = mismatch[w, i] if query[i] == 1 else one, mismatch[w, i] if query[i] == 0 else one
            total = step(current, w, current, w, k, states, i >> 3, mask, ref, alt, keeps[w], adds[w])
            if i % BLOCK == 0:
                scale, row = one / total, checkpoints[w, i // BLOCK]
                for j in range(len(row)):
                    row[j] = current[w, j] * scale
            if i + 1 < m:
                keeps[w], adds[w] = (one - switch[w, i + 1]) / total, switch[w, i + 1] / count
    return states, checkpoints


@leaf
def forward_block(
    states: U8Array, k: int, query: I8Array, mismatch: FloatArray, switch: FloatArray, first: int, stop: int,
    checkpoints: FloatArray, totals: FloatArray, rows: FloatArray,
) -> None:  # fmt: skip
    """Forward values of sites [first, stop), in a block, each up to a factor.

    Those of way w go to rows[w * ROWS : w * ROWS + stop - first, :K]; (W,) totals are scratch.
    """
    if stop <= first:
        return
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    for w in range(len(mismatch)):
        copy_row(checkpoints[w], first // BLOCK, rows, w * ROWS)
        totals[w] = one
    for i in range(first + 1, stop):
        mask = mask_of(i & 7, query[i])
        for w in range(len(mismatch)):
            keep, add = (one - switch[w, i]) / totals[w], switch[w, i] / count
            ref, alt = mismatch[w, i] if query[i] == 1 else one, mismatch[w, i] if query[i] == 0 else one
            row = w * ROWS + i - first
            totals[w] = step(rows, row - 1, rows, row, k, states, i >> 3, mask, ref, alt, keep, add)


@kernel
def copy_dosage(
    observed: U8Array,
    words: U64Array,
    candidates: I32Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    left: I32Array,
    fraction: FloatArray,
    wanted: U64Array,
    dosage: FloatArray,
) -> None:
    """Imputed dosages of one query haplotype under each of W pairs of rates.

    Args:
        observed: (ceil(M / 8), H) panel bits at the context's observed sites, site m being bit m & 7 of row m >> 3.
        words: (H, ceil(L / 64)) panel bits at the sites to impute, a haplotype's after each other.
        candidates: (K,) panel rows, K >= 1.
        query: (M,) alleles, -1 where there is no call.
        mismatch: (W, M) exp(-w): the emission of a mismatch.
        switch: (W, M) probability of a switch before each site.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`.
        wanted: (ceil(L / 64),) bits of the sites whose dosage is asked for.
        dosage: (W, L) filled with the dosages; 0 where it is not asked for.
    """
    states, checkpoints = begin(observed, candidates, query, mismatch, switch)
    copy_ways(states, checkpoints, words, candidates, query, mismatch, switch, left, fraction, wanted, dosage)


@kernel
def copy_ways(
    states: U8Array, checkpoints: FloatArray, words: U64Array, candidates: I32Array, query: I8Array,
    mismatch: FloatArray, switch: FloatArray, left: I32Array, fraction: FloatArray, wanted: U64Array,
    dosage: FloatArray,
) -> None:  # fmt: skip
    """The same from what `begin` made.

    States and checkpoints are as `begin` makes them of all else. Where no dosage is asked for, forward values are not
    computed again, nor posteriors made.
    """
    m, k, ways = len(query), len(candidates), len(mismatch)
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    rows = np.empty((ways * ROWS, padded(k)), dtype=mismatch.dtype)
    for w in range(ways):
        for j in range(k):
            rows[w * ROWS + BACKWARD, j] = one / count
    bits, turned, sites, sums = scratch(words, k, mismatch)
    asked, totals = _asked(wanted, left, m), np.empty(ways, dtype=mismatch.dtype)
    keeps, adds = np.ones(ways, dtype=mismatch.dtype), np.zeros(ways, dtype=mismatch.dtype)
    scales, after_scales = np.ones(ways, dtype=mismatch.dtype), np.ones(ways, dtype=mismatch.dtype)
    dosage[:] = 0
    end = len(left)
    for block in range(checkpoints.shape[1] - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        reach = _reach(asked, first, stop)
        forward_block(states, k, query, mismatch, switch, first, reach, checkpoints, totals, rows)
        for i in range(stop - 1, first - 1, -1):
            at = end
            while at > 0 and left[at - 1] == i:
                at -= 1
            mask = mask_of(i & 7, query[i])
            for w in range(ways):
                ref, alt = mismatch[w, i] if query[i] == 1 else one, mismatch[w, i] if query[i] == 0 else one
                row, back = w * ROWS + i - first, w * ROWS + BACKWARD
                if i < reach:
                    joint, total = step_back(
                        rows, row, back, k, states, i >> 3, mask, ref, alt, keeps[w], adds[w]
                    )  # fmt: skip
                    scales[w] = one / joint
                else:
                    total = step(rows, back, rows, back, k, states, i >> 3, mask, ref, alt, keeps[w], adds[w])
                keeps[w], adds[w] = (one - switch[w, i]) / total, switch[w, i] / count
                if asked[i]:
                    right = row if i == m - 1 else w * ROWS + AFTER if i == stop - 1 else row + 1
                    fill_dosage(
                        words, candidates, wanted, turned, bits, at, end, fraction, rows, row, scales[w], right,
                        scales[w] if i == m - 1 else after_scales[w], sites, sums, dosage[w],
                    )  # fmt: skip
                after_scales[w] = scales[w]
            end = at
        if reach > first:
            for w in range(ways):
                copy_row(rows, w * ROWS, rows, w * ROWS + AFTER)


@kernel
def _asked(wanted: U64Array, left: I32Array, m: int) -> U8Array:
    """(M + 1,) 1 at observed sites behind which a dosage is asked for."""
    asked = np.zeros(m + 1, dtype=np.uint8)
    for i in range(len(left)):
        if (wanted[i >> 6] >> np.uint64(i & 63)) & np.uint64(1):
            asked[left[i]] = 1
    return asked


@leaf
def _reach(asked: U8Array, first: int, stop: int) -> int:
    """The site after the last of [first, stop) whose posteriors are needed, on its right or on its left."""
    while stop > first and not asked[stop - 1] and not (stop > 1 and asked[stop - 2]):
        stop -= 1
    return stop
