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
    """Forward values of sites [first, stop), each up to a factor, into rows[: stop - first]."""
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(states.shape[1])
    rows[0, :] = checkpoint
    total = one
    for i in range(first + 1, stop):
        keep, add = (one - switch[i]) / total, switch[i] / count
        total = _step(
            rows[i - first - 1], rows[i - first], states[i >> 3], i & 7, query[i], mismatch[i], keep, add
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def carriers(rows: U8Array, candidates: I32Array, wanted: U8Array, first: int, stop: int) -> tuple[U8Array, U8Array]:
    """(B, >= K) bytes [first, stop) of the candidates, byte by byte, and the (B,) bits that any candidate has.

    A candidate's bytes lie together in a panel of any size; those of one byte of all candidates do not. Rows are filled
    up to a multiple of eight, with what is no candidate's.

    Args:
        rows: (H, bytes) panel bits, a haplotype's after each other.
        candidates: (K,) panel rows.
        wanted: (bytes,) bits of the sites that matter; bytes without any are not filled.
        first, stop: Which bytes.
    """
    k = len(candidates)
    begin, end = first >> 3, (stop + 7) >> 3
    eights = np.empty((8 * (end - begin), (k + 7) >> 3), dtype=np.uint64)
    out, carried = eights.view(np.uint8)[first - 8 * begin : stop - 8 * begin], np.zeros(stop - first, dtype=np.uint8)
    mine = first + np.flatnonzero(wanted[first:stop])
    if len(mine) == stop - first and rows.shape[1] & 7 == 0:
        words = rows.view(np.uint64)
        for g in range(eights.shape[1]):
            _turn(words, candidates, g, begin, end, eights)
    else:
        for j in range(k):
            row = rows[candidates[j]]
            for b in mine:
                out[b - first, j] = row[b]
    for b in mine:
        carried[b - first] = _any_of(out[b - first, :k]) & wanted[b]
    return out, carried


@numba.njit(cache=True, nogil=True)
def _swap(a: np.uint64, b: np.uint64, mask: np.uint64, shift: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The parts of a under the mask with those of b above them, and the parts of a above them with those of b."""
    return (a & mask) | ((b & mask) << shift), ((a >> shift) & mask) | (b & ~mask)


@numba.njit(cache=True, nogil=True)
def _turn(words: U64Array, candidates: I32Array, g: int, begin: int, end: int, out: U64Array) -> None:
    """Words [begin, end) of candidates 8 g to 8 g + 7, byte by byte, as column g: transpositions of eight by eight."""
    one, two, four = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0x00000000FFFFFFFF)
    by_one, by_two, by_four = np.uint64(8), np.uint64(16), np.uint64(32)
    j, last = 8 * g, len(candidates) - 1
    r0, r1, r2 = candidates[j], candidates[min(j + 1, last)], candidates[min(j + 2, last)]
    r3, r4, r5 = candidates[min(j + 3, last)], candidates[min(j + 4, last)], candidates[min(j + 5, last)]
    r6, r7 = candidates[min(j + 6, last)], candidates[min(j + 7, last)]
    for w in range(begin, end):
        to = 8 * (w - begin)
        a0, a1 = _swap(words[r0, w], words[r1, w], one, by_one)
        a2, a3 = _swap(words[r2, w], words[r3, w], one, by_one)
        a4, a5 = _swap(words[r4, w], words[r5, w], one, by_one)
        a6, a7 = _swap(words[r6, w], words[r7, w], one, by_one)
        a0, a2 = _swap(a0, a2, two, by_two)
        a1, a3 = _swap(a1, a3, two, by_two)
        a4, a6 = _swap(a4, a6, two, by_two)
        a5, a7 = _swap(a5, a7, two, by_two)
        out[to, g], out[to + 4, g] = _swap(a0, a4, four, by_four)
        out[to + 1, g], out[to + 5, g] = _swap(a1, a5, four, by_four)
        out[to + 2, g], out[to + 6, g] = _swap(a2, a6, four, by_four)
        out[to + 3, g], out[to + 7, g] = _swap(a3, a7, four, by_four)


@numba.njit(cache=True, nogil=True)
def _any_of(values: U8Array) -> int:
    """The bits that any of the bytes has."""
    found = np.uint8(0)
    for j in range(len(values)):
        found = np.uint8(found | values[j])
    return found


@numba.njit(cache=True, nogil=True, fastmath=True)
def _carried(alleles: U8Array, bit: int, a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Sums of a and of b over the candidates that carry ALT."""
    zero = a.dtype.type(0)
    x, y = zero, zero
    mask = np.uint8(1 << bit)
    for j in range(len(a)):
        x += a[j] if np.uint8(alleles[j] & mask) else zero
        y += b[j] if np.uint8(alleles[j] & mask) else zero
    return x, y


@numba.njit(cache=True, nogil=True, fastmath=True)
def _carried_by_four(alleles: U8Array, shift: int, a: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """`_carried` of bits shift to shift + 3 in one reading of a and b, into (2, 4) sums."""
    zero = a.dtype.type(0)
    x0, x1, x2, x3, y0, y1, y2, y3 = zero, zero, zero, zero, zero, zero, zero, zero
    m0, m1, m2, m3 = np.uint8(1 << shift), np.uint8(2 << shift), np.uint8(4 << shift), np.uint8(8 << shift)
    for j in range(len(a)):
        c, u, v = alleles[j], a[j], b[j]
        x0 += u if np.uint8(c & m0) else zero
        y0 += v if np.uint8(c & m0) else zero
        x1 += u if np.uint8(c & m1) else zero
        y1 += v if np.uint8(c & m1) else zero
        x2 += u if np.uint8(c & m2) else zero
        y2 += v if np.uint8(c & m2) else zero
        x3 += u if np.uint8(c & m3) else zero
        y3 += v if np.uint8(c & m3) else zero
    out[0, 0], out[0, 1], out[0, 2], out[0, 3] = x0, x1, x2, x3
    out[1, 0], out[1, 1], out[1, 2], out[1, 3] = y0, y1, y2, y3


@numba.njit(cache=True, nogil=True)
def fill_dosage(
    alleles: U8Array, carried: U8Array, first_byte: int, begin: int, end: int, fraction: FloatArray,
    a: FloatArray, a_scale: float, b: FloatArray, b_scale: float, sums: FloatArray, dosage: FloatArray,
) -> None:  # fmt: skip
    """Dosages of sites [begin, end), which lie between an observed site with posteriors a and the next with b.

    Args:
        alleles: (B, K) bytes of the candidates from byte `first_byte` on.
        carried: (B,) bits that any of them has, of the sites that matter.
        first_byte: Number of the byte that is row 0 of `alleles`.
        begin, end: Sites, by their number among the L.
        fraction: (L,) as in `CopyingSites`.
        a, a_scale: (K,) posteriors and what they are to be multiplied by.
        b, b_scale: The same of the next observed site.
        sums: (2, 4) scratch.
        dosage: (L,) written at [begin, end); left as it is where no candidate carries ALT or no site nearby matters.
    """
    one = a.dtype.type(1)
    site = begin
    while site < end:
        row, some = alleles[(site >> 3) - first_byte], carried[(site >> 3) - first_byte]
        stop = min(end, (site | 3) + 1)
        if (some >> (site & 4)) & 15 == 0:
            pass
        elif stop - site >= 3:
            _carried_by_four(row, site & 4, a, b, sums)
            for i in range(site, stop):
                low, high = sums[0, i & 3] * a_scale, sums[1, i & 3] * b_scale
                dosage[i] = min(low + fraction[i] * (high - low), one)
        else:
            for i in range(site, stop):
                x, y = _carried(row, i & 7, a, b)
                low, high = x * a_scale, y * b_scale
                dosage[i] = min(low + fraction[i] * (high - low), one)
        site = stop


@numba.njit(cache=True, nogil=True)
def copy_dosage(
    observed: U8Array,
    panel_rows: U8Array,
    candidates: I32Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    left: I32Array,
    fraction: FloatArray,
    wanted: U8Array,
    dosage: FloatArray,
) -> None:
    """Imputed dosages of one query haplotype.

    Args:
        observed: (ceil(M / 8), H) panel bits at the context's observed sites, site m being bit m & 7 of row m >> 3.
        panel_rows: (H, bytes) panel bits at the sites to impute, a haplotype's after each other.
        candidates: (K,) panel rows, K >= 1.
        query: (M,) alleles, -1 where there is no call.
        mismatch: (M,) exp(-w): the emission of a mismatch.
        switch: (M,) probability of a switch before each site.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`.
        wanted: (ceil(L / 8),) bits of the sites whose dosage is asked for.
        dosage: (L,) filled with the dosages; those that are not asked for are dosages too, or 0.
    """
    m, k = len(query), len(candidates)
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    states = gather(observed, candidates, 0, len(observed))
    checkpoints = forward_checkpoints(states, query, mismatch, switch)
    rows = np.empty((BLOCK, k), dtype=mismatch.dtype)
    after = np.empty(k, dtype=mismatch.dtype)
    backward = np.full(k, one / count, dtype=mismatch.dtype)
    sums = np.empty((2, 4), dtype=mismatch.dtype)
    keep, add, after_scale = one, one - one, one
    dosage[:] = 0
    end = len(left)
    for block in range(len(checkpoints) - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        forward_block(states, query, mismatch, switch, first, stop, checkpoints[block], rows)
        begin = np.searchsorted(left[:end], first)
        first_byte = begin >> 3
        last_byte = (end + 7) >> 3 if end > begin else first_byte
        mine, carried = carriers(panel_rows, candidates, wanted, first_byte, last_byte)
        following = after
        for i in range(stop - 1, first - 1, -1):
            row = rows[i - first]
            joint, total = _step_back(row, backward, states[i >> 3], i & 7, query[i], mismatch[i], keep, add)
            keep, add = (one - switch[i]) / total, switch[i] / count
            scale = one / joint
            if i == m - 1:
                following, after_scale = row, scale
            at = end
            while at > begin and left[at - 1] == i:
                at -= 1
            fill_dosage(
                mine, carried, first_byte, at, end, fraction, row, scale, following, after_scale, sums, dosage
            )  # fmt: skip
            end, following, after_scale = at, row, scale
        after[:] = rows[0]
