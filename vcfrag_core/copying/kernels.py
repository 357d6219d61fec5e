"""The compiled copying layer: forward-backward over the candidates of one query haplotype.

Alleles stay bits: eight sites of all candidates are one row of bytes, gathered from a panel that lies the same way.
A pass keeps one vector of K values every BLOCK sites and recomputes the rest inside the block while it goes backward,
so that memory is K * (M / BLOCK + BLOCK) and not K * M. The loops over candidates are all of one form, which the
compiler turns into vector code: test a mask in eight bits, select one of two floats, multiply.
Kernels work in the type of `mismatch`: float32 in use, float64 in tests. Every kernel handles one query, releases the
GIL and depends on nothing but its arguments, so that any number of threads gives the same bytes. To that end a loop
either writes or adds up. Of a loop that writes, the compiler makes two forms, and takes the one without vectors where
arrays lie so close together that they might overlap; a sum in such a loop would be taken in another order now and
then, by the place of its arrays in memory. So only functions that add up and write nothing may reorder (`fastmath`).
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.copying.carriers import fill_dosage, padded, scratch
from vcfrag_core.types import FloatArray, I8Array, I32Array, U8Array, U64Array

BLOCK = 32


@numba.njit(cache=True, nogil=True)
def gather(columns: U8Array, candidates: I32Array, first: int, stop: int) -> U8Array:
    """(stop - first, K) bytes of the candidates in rows [first, stop) of (bytes, H) columns."""
    out = np.empty((stop - first, len(candidates)), dtype=np.uint8)
    for b in range(first, stop):
        _pick(columns[b], candidates, out[b - first])
    return out


@numba.njit(cache=True, nogil=True)
def _pick(source: U8Array, candidates: I32Array, target: U8Array) -> None:
    """The candidates' bytes of one row."""
    for j in range(len(candidates)):
        # An unsigned index cannot count from the end, which saves the test for it.
        target[j] = source[np.uint32(candidates[j])]


@numba.njit(cache=True, nogil=True, fastmath=True)
def total_of(values: FloatArray) -> float:
    """The sum of the values."""
    total = values.dtype.type(0)
    for k in range(len(values)):
        total += values[k]
    return total


@numba.njit(cache=True, nogil=True, inline="always")
def _step(
    source: FloatArray, target: FloatArray, states: U8Array, bit: int, allele: int, mismatch: float,
    keep: float, add: float,
) -> float:  # fmt: skip
    """target = (source * keep + add) * emission of one site; returns the sum of target."""
    one = source.dtype.type(1)
    mask = np.uint8(1 << bit) if allele >= 0 else np.uint8(0)
    ref = mismatch if allele == 1 else one
    alt = mismatch if allele == 0 else one
    for k in range(len(source)):
        target[k] = (source[k] * keep + add) * (alt if np.uint8(states[k] & mask) else ref)
    return total_of(target)


@numba.njit(cache=True, nogil=True, inline="always")
def _step_back(
    values: FloatArray, backward: FloatArray, states: U8Array, bit: int, allele: int, mismatch: float,
    keep: float, add: float,
) -> tuple[float, float]:  # fmt: skip
    """Turns forward values into posteriors times their sum, and takes `backward` to before this site's emission.

    Returns the sum of the one and of the other.
    """
    one = values.dtype.type(1)
    mask = np.uint8(1 << bit) if allele >= 0 else np.uint8(0)
    ref = mismatch if allele == 1 else one
    alt = mismatch if allele == 0 else one
    for k in range(len(values)):
        b = backward[k] * keep + add
        values[k] *= b
        backward[k] = b * (alt if np.uint8(states[k] & mask) else ref)
    return total_of(values), total_of(backward)


@numba.njit(cache=True, nogil=True)
def forward_checkpoints(states: U8Array, query: I8Array, mismatch: FloatArray, switch: FloatArray) -> FloatArray:
    """(ceil(M / BLOCK), K) forward values, summing to 1, at the first site of each block."""
    m, k = len(query), states.shape[1]
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    checkpoints = np.empty(((m + BLOCK - 1) // BLOCK, k), dtype=mismatch.dtype)
    current = np.full(k, one / count, dtype=mismatch.dtype)
    keep, add = one, one - one
    for i in range(m):
        total = _step(current, current, states[i >> 3], i & 7, query[i], mismatch[i], keep, add)
        if i % BLOCK == 0:
            scale, row = one / total, checkpoints[i // BLOCK]
            for j in range(k):
                row[j] = current[j] * scale
        if i + 1 < m:
            keep, add = (one - switch[i + 1]) / total, switch[i + 1] / count
    return checkpoints


@numba.njit(cache=True, nogil=True)
def forward_block(
    states: U8Array, query: I8Array, mismatch: FloatArray, switch: FloatArray, first: int, stop: int,
    checkpoint: FloatArray, rows: FloatArray,
) -> None:  # fmt: skip
    """Forward values of sites [first, stop), each up to a factor, into rows[: stop - first, :K]."""
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(states.shape[1])
    k = len(checkpoint)
    rows[0, :k] = checkpoint
    total = one
    for i in range(first + 1, stop):
        keep, add = (one - switch[i]) / total, switch[i] / count
        total = _step(
            rows[i - first - 1][:k], rows[i - first][:k], states[i >> 3], i & 7, query[i], mismatch[i], keep, add
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
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
    """Imputed dosages of one query haplotype.

    Args:
        observed: (ceil(M / 8), H) panel bits at the context's observed sites, site m being bit m & 7 of row m >> 3.
        words: (H, ceil(L / 64)) panel bits at the sites to impute, a haplotype's after each other.
        candidates: (K,) panel rows, K >= 1.
        query: (M,) alleles, -1 where there is no call.
        mismatch: (M,) exp(-w): the emission of a mismatch.
        switch: (M,) probability of a switch before each site.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`.
        wanted: (ceil(L / 64),) bits of the sites whose dosage is asked for.
        dosage: (L,) filled with the dosages; 0 where it is not asked for.
    """
    m, k = len(query), len(candidates)
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    states = gather(observed, candidates, 0, len(observed))
    checkpoints = forward_checkpoints(states, query, mismatch, switch)
    # The last row is that of the site after the block.
    rows = np.empty((BLOCK + 1, padded(k)), dtype=mismatch.dtype)
    backward = np.full(k, one / count, dtype=mismatch.dtype)
    bits, turned, sites, sums = scratch(words, k, mismatch)
    keep, add, after_scale = one, one - one, one
    dosage[:] = 0
    end = len(left)
    for block in range(len(checkpoints) - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        forward_block(states, query, mismatch, switch, first, stop, checkpoints[block], rows)
        following = BLOCK
        for i in range(stop - 1, first - 1, -1):
            row = i - first
            joint, total = _step_back(rows[row][:k], backward, states[i >> 3], i & 7, query[i], mismatch[i], keep, add)
            keep, add = (one - switch[i]) / total, switch[i] / count
            scale = one / joint
            if i == m - 1:
                following, after_scale = row, scale
            at = end
            while at > 0 and left[at - 1] == i:
                at -= 1
            fill_dosage(
                words, candidates, wanted, turned, bits, at, end, fraction, rows, row, scale, following, after_scale,
                sites, sums, dosage,
            )  # fmt: skip
            end, following, after_scale = at, row, scale
        rows[BLOCK, :k] = rows[0, :k]
