"""The compiled copying layer: forward-backward over the candidates of one query haplotype, and its gradient.

Alleles stay bits: eight observed sites of all candidates are one row of bytes. A pass keeps one vector of K values
every BLOCK sites and recomputes the rest inside the block while it goes backward, so that memory is
K * (M / BLOCK + BLOCK) and not K * M. Kernels work in the type of `mismatch`: float32 in use, float64 in tests.
Every kernel handles one query, releases the GIL and depends on nothing but its arguments, so that any number of
threads gives the same bytes.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.types import FloatArray, I8Array, I32Array, I64Array, U8Array, U64Array

BLOCK = 32


@numba.njit(cache=True, nogil=True)
def observed_bits(packed: U8Array, first: int, stop: int, sites: I32Array) -> U8Array:
    """(stop - first, ceil(M / 8)) bits of panel rows [first, stop) at the M panel sites given."""
    out = np.zeros((stop - first, (len(sites) + 7) // 8), dtype=np.uint8)
    for h in range(first, stop):
        row = packed[h]
        target = out[h - first]
        for m in range(len(sites)):
            site = sites[m]
            target[m >> 3] |= ((row[site >> 3] >> np.uint8(site & 7)) & np.uint8(1)) << np.uint8(m & 7)
    return out


@numba.njit(cache=True, nogil=True)
def gather_states(observed: U8Array, candidates: I32Array) -> U8Array:
    """(ceil(M / 8), K) observed bits of the candidates, eight sites to a row."""
    k, width = len(candidates), observed.shape[1]
    out = np.empty((width, k), dtype=np.uint8)
    for j in range(k):
        row = observed[candidates[j]]
        for b in range(width):
            out[b, j] = row[b]
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _emit(values: FloatArray, states: U8Array, bit: int, allele: int, mismatch: float) -> float:
    """Multiplies by the emission of one site, in place, and returns the sum."""
    one = values.dtype.type(1)
    total = values.dtype.type(0)
    if allele < 0:
        for k in range(len(values)):
            total += values[k]
        return total
    # Testing a mask in eight bits and selecting one of two floats is what the compiler turns into vector code.
    mask = np.uint8(1 << bit)
    ref = one if allele == 0 else mismatch
    alt = mismatch if allele == 0 else one
    for k in range(len(values)):
        v = values[k] * (alt if np.uint8(states[k] & mask) else ref)
        values[k] = v
        total += v
    return total


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _advance(source: FloatArray, target: FloatArray, keep: float, add: float) -> None:
    for k in range(len(source)):
        target[k] = source[k] * keep + add


@numba.njit(cache=True, nogil=True, fastmath=True)
def _forward(
    states: U8Array, query: I8Array, mismatch: FloatArray, switch: FloatArray, checkpoints: FloatArray
) -> None:
    """Fills (ceil(M / BLOCK), K) checkpoints: forward values, summing to 1, at the first site of each block."""
    k = states.shape[1]
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    current = np.full(k, one / count, dtype=mismatch.dtype)
    total = one
    for i in range(len(query)):
        if i > 0:
            _advance(current, current, (one - switch[i]) / total, switch[i] / count)
        total = _emit(current, states[i >> 3], i & 7, query[i], mismatch[i])
        if i % BLOCK == 0:
            _advance(current, checkpoints[i // BLOCK], one / total, one - one)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _block_posteriors(
    states: U8Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    first: int,
    stop: int,
    checkpoint: FloatArray,
    backward: FloatArray,
    out: FloatArray,
) -> None:
    """Posteriors of sites [first, stop) into out[: stop - first].

    On entry `backward` holds the backward values of site stop - 1, on return those of site first - 1.
    """
    k = states.shape[1]
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    out[0, :] = checkpoint
    total = one
    for i in range(first + 1, stop):
        row = out[i - first]
        _advance(out[i - first - 1], row, (one - switch[i]) / total, switch[i] / count)
        total = _emit(row, states[i >> 3], i & 7, query[i], mismatch[i])
    for i in range(stop - 1, first - 1, -1):
        row = out[i - first]
        total = one - one
        for j in range(k):
            v = row[j] * backward[j]
            row[j] = v
            total += v
        scale = one / total
        for j in range(k):
            row[j] *= scale
        total = _emit(backward, states[i >> 3], i & 7, query[i], mismatch[i])
        if i > 0:
            _advance(backward, backward, (one - switch[i]) / total, switch[i] / count)


def site_words(packed: U8Array, sites: I64Array) -> U64Array:
    """(H, ceil(L / 64)) panel bits at L ascending sites, bit i of a row being that of sites[i]."""
    if len(sites) and sites[-1] - sites[0] == len(sites) - 1:
        return window_words(packed, int(sites[0]), int(sites[-1]) + 1)
    bits = observed_bits(packed, 0, len(packed), sites.astype(np.int32))
    padded = np.zeros((len(packed), 8 * ((len(sites) + 63) // 64)), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view("<u8")


@numba.njit(cache=True, nogil=True)
def window_words(packed: U8Array, start: int, stop: int) -> U64Array:
    """(H, ceil((stop - start) / 64)) panel bits of the window's sites, bit 0 of word 0 being site `start`."""
    n_words = (stop - start + 63) // 64
    out = np.zeros((len(packed), n_words), dtype=np.uint64)
    first, shift, last = start >> 3, start & 7, (stop + 7) >> 3
    for h in range(len(packed)):
        row = packed[h]
        for b in range(first, last):
            byte = np.uint64(row[b])
            if b == last - 1 and stop & 7:
                byte &= np.uint64((1 << (stop & 7)) - 1)
            bit = ((b - first) << 3) - shift
            if bit < 0:
                out[h, 0] |= byte >> np.uint64(-bit)
                continue
            out[h, bit >> 6] |= byte << np.uint64(bit & 63)
            if bit & 63 > 56 and (bit >> 6) + 1 < n_words:
                out[h, (bit >> 6) + 1] |= byte >> np.uint64(64 - (bit & 63))
    return out


# Number of the lowest set bit: isolate it, multiply by a de Bruijn sequence, look the top six bits up.
_DE_BRUIJN = 0x03F79D71B4CB0A89
_LOWEST = np.zeros(64, dtype=np.int64)
for _bit in range(64):
    _LOWEST[((_DE_BRUIJN << _bit) & 0xFFFFFFFFFFFFFFFF) >> 58] = _bit


@numba.njit(cache=True, nogil=True, fastmath=True)
def _peaks(posterior: FloatArray, rows: int, prune: float) -> tuple[FloatArray, float]:
    """(K,) largest posterior of each candidate in rows 0 to `rows`, and the largest threshold (of a geometric
    series) below which the candidates' peaks sum to no more than `prune`."""
    k = posterior.shape[1]
    peak = posterior[0].copy()
    for r in range(1, rows + 1):
        for j in range(k):
            peak[j] = max(peak[j], posterior[r, j])
    threshold = 1.0
    while threshold * k > prune:
        lost = 0.0
        for j in range(k):
            lost += peak[j] if peak[j] < threshold else peak.dtype.type(0)
        if lost <= prune:
            break
        threshold *= 0.25
    return peak, threshold if prune > 0 else 0.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_block_dosage(
    posterior: FloatArray,
    rows: int,
    first: int,
    words: U64Array,
    candidates: I32Array,
    begin: int,
    end: int,
    left: I32Array,
    fraction: FloatArray,
    prune: float,
    dosage: FloatArray,
) -> None:
    """Adds the block's candidates to the dosages of sites [begin, end).

    `posterior` holds the sites from `first` on; row `rows` is the site after the block, or a copy of the last.
    """
    peak, least = _peaks(posterior, rows, prune)
    head, tail = begin >> 6, (end - 1) >> 6
    head_mask = ~np.uint64(0) << np.uint64(begin & 63)
    tail_mask = ~np.uint64(0) >> np.uint64(63 - ((end - 1) & 63))
    for j in range(len(candidates)):
        if peak[j] < least:
            continue
        row = words[candidates[j]]
        for w in range(head, tail + 1):
            word = row[w]
            if w == head:
                word &= head_mask
            if w == tail:
                word &= tail_mask
            while word:
                lowest = word & (~word + np.uint64(1))
                word ^= lowest
                i = (w << 6) + _LOWEST[(lowest * np.uint64(_DE_BRUIJN)) >> np.uint64(58)]
                r = left[i] - first
                a = posterior[r, j]
                dosage[i] += a + fraction[i] * (posterior[r + 1, j] - a)


@numba.njit(cache=True, nogil=True, fastmath=True)
def copy_dosage(
    observed: U8Array,
    words: U64Array,
    candidates: I32Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    left: I32Array,
    fraction: FloatArray,
    prune: float,
    dosage: FloatArray,
) -> None:
    """Imputed dosages of one query haplotype.

    In each block the candidates that explain least, together at most `prune` of the posterior at any site, add
    nothing to the dosages: these fall by at most `prune`.

    Args:
        observed: (H, ceil(M / 8)) panel bits at the context's observed sites.
        words: (H, ceil(L / 64)) panel bits at the sites to impute, from `site_words`.
        candidates: (K,) panel rows, K >= 1.
        query: (M,) alleles, -1 where there is no call.
        mismatch: (M,) exp(-w): the emission of a mismatch.
        switch: (M,) probability of a switch before each site.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`.
        prune: Bound of what pruning may take from a dosage; 0 prunes nothing.
        dosage: (L,) filled with the dosages.
    """
    m, k = len(query), len(candidates)
    states = gather_states(observed, candidates)
    n_blocks = (m + BLOCK - 1) // BLOCK
    checkpoints = np.empty((n_blocks, k), dtype=mismatch.dtype)
    _forward(states, query, mismatch, switch, checkpoints)
    posterior = np.empty((BLOCK + 1, k), dtype=mismatch.dtype)
    after = np.empty(k, dtype=mismatch.dtype)
    backward = np.full(k, 1.0 / k, dtype=mismatch.dtype)
    dosage[:] = 0
    end = len(left)
    for block in range(n_blocks - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        _block_posteriors(states, query, mismatch, switch, first, stop, checkpoints[block], backward, posterior)
        posterior[stop - first, :] = posterior[stop - first - 1] if stop == m else after
        after[:] = posterior[0]
        begin = np.searchsorted(left[:end], first)
        if begin < end:
            _add_block_dosage(
                posterior, stop - first, first, words, candidates, begin, end, left, fraction, prune, dosage
            )
        end = begin
    for i in range(len(dosage)):
        dosage[i] = min(dosage[i], 1.0)


# The gradient. With S = sum_i g_i p_i = sum_mk c_mk gamma_mk and gamma = d log Z / d log e, dS / d log e_mk is the
# derivative of gamma_mk along the direction log e + t c (the Hessian of log Z is symmetric), and dS / d switch_m
# that of d log Z / d switch_m. So the backward pass is one more forward-backward that carries tangents along c.


@numba.njit(cache=True, nogil=True)
def _direction(
    words: U64Array,
    candidates: I32Array,
    left: I32Array,
    fraction: FloatArray,
    gradient: FloatArray,
    m: int,
    first: int,
    stop: int,
    out: FloatArray,
) -> None:
    """c of sites [first, stop) into out: how much each candidate's posterior there moves sum_i g_i p_i."""
    out[: stop - first] = 0
    begin = np.searchsorted(left, first - 1)
    end = np.searchsorted(left, stop)
    for j in range(len(candidates)):
        row = words[candidates[j]]
        for i in range(begin, end):
            if not (row[i >> 6] >> np.uint64(i & 63)) & np.uint64(1):
                continue
            right = min(left[i] + 1, m - 1)
            if left[i] >= first:
                out[left[i] - first, j] += gradient[i] * (1 - fraction[i])
            if first <= right < stop:
                out[right - first, j] += gradient[i] * fraction[i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _step_tangent(
    value: FloatArray,
    tangent: FloatArray,
    new_value: FloatArray,
    new_tangent: FloatArray,
    direction: FloatArray,
    states: U8Array,
    bit: int,
    allele: int,
    mismatch: float,
    switch: float,
) -> None:
    """One forward step of a vector that sums to 1 and of its tangent, which sums to 0; both stay so."""
    k = len(value)
    one = value.dtype.type(1)
    _advance(value, new_value, one - switch, switch / k)
    _advance(tangent, new_tangent, one - switch, one - one)
    total = _emit(new_value, states, bit, allele, mismatch)
    _emit(new_tangent, states, bit, allele, mismatch)
    _normalise_tangent(new_value, new_tangent, direction, total)


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _normalise_tangent(value: FloatArray, tangent: FloatArray, direction: FloatArray, total: float) -> None:
    """Adds direction * value to the tangent, scales the value to sum 1 and takes the scale's own tangent out."""
    scale = value.dtype.type(1) / total
    drift = value.dtype.type(0)
    for j in range(len(value)):
        value[j] *= scale
        tangent[j] = tangent[j] * scale + direction[j] * value[j]
        drift += tangent[j]
    for j in range(len(value)):
        tangent[j] -= drift * value[j]


@numba.njit(cache=True, nogil=True, fastmath=True)
def copy_gradient(
    observed: U8Array,
    words: U64Array,
    candidates: I32Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    left: I32Array,
    fraction: FloatArray,
    gradient: FloatArray,
    weight_gradient: FloatArray,
    switch_gradient: FloatArray,
) -> None:
    """Adds the gradient of sum_i gradient_i * dosage_i to those of the weights and the switch probabilities.

    Args:
        observed, words, candidates, query, mismatch, switch, left, fraction: As for `copy_dosage`.
        gradient: (L,) derivative of the loss with respect to each dosage.
        weight_gradient: (M,) derivative with respect to each weight w = -log(mismatch), added to.
        switch_gradient: (M,) derivative with respect to each switch probability, added to.
    """
    m, k = len(query), len(candidates)
    kind = mismatch.dtype
    states = gather_states(observed, candidates)
    n_blocks = (m + BLOCK - 1) // BLOCK
    direction = np.zeros((BLOCK, k), dtype=kind)
    # Row 0 of a block is the site before it: the block's own sites are then rows 1 to BLOCK.
    values = np.empty((BLOCK + 1, k), dtype=kind)
    tangents = np.empty((BLOCK + 1, k), dtype=kind)
    start_values = np.empty((n_blocks, k), dtype=kind)
    start_tangents = np.empty((n_blocks, k), dtype=kind)
    values[0, :] = 1.0 / k
    tangents[0, :] = 0
    for block in range(n_blocks):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        start_values[block, :] = values[0]
        start_tangents[block, :] = tangents[0]
        _direction(words, candidates, left, fraction, gradient, m, first, stop, direction)
        _forward_tangents(states, query, mismatch, switch, first, stop, direction, values, tangents)
        values[0, :] = values[stop - first]
        tangents[0, :] = tangents[stop - first]
    backward = np.full(k, 1.0 / k, dtype=kind)
    slope = np.zeros(k, dtype=kind)
    for block in range(n_blocks - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        values[0, :] = start_values[block]
        tangents[0, :] = start_tangents[block]
        _direction(words, candidates, left, fraction, gradient, m, first, stop, direction)
        _forward_tangents(states, query, mismatch, switch, first, stop, direction, values, tangents)
        for i in range(stop - 1, first - 1, -1):
            row = i - first + 1
            weight_gradient[i] += _weight_slope(
                values[row], tangents[row], backward, slope, states[i >> 3], i & 7, query[i]
            )
            total = _emit(backward, states[i >> 3], i & 7, query[i], mismatch[i])
            _emit(slope, states[i >> 3], i & 7, query[i], mismatch[i])
            _normalise_tangent(backward, slope, direction[i - first], total)
            if i > 0:
                switch_gradient[i] += _switch_slope(values[row - 1], tangents[row - 1], backward, slope, switch[i])
                _advance(backward, backward, 1 - switch[i], switch[i] / k)
                _advance(slope, slope, 1 - switch[i], switch[i] * 0)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _forward_tangents(
    states: U8Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    first: int,
    stop: int,
    direction: FloatArray,
    values: FloatArray,
    tangents: FloatArray,
) -> None:
    for i in range(first, stop):
        row = i - first
        chance = switch[i] if i > 0 else switch[i] * 0
        _step_tangent(
            values[row],
            tangents[row],
            values[row + 1],
            tangents[row + 1],
            direction[row],
            states[i >> 3],
            i & 7,
            query[i],
            mismatch[i],
            chance,
        )


@numba.njit(cache=True, nogil=True, fastmath=True)
def _weight_slope(
    value: FloatArray,
    tangent: FloatArray,
    backward: FloatArray,
    slope: FloatArray,
    states: U8Array,
    bit: int,
    allele: int,
) -> float:
    """-d/dt of the posterior mass of the candidates that disagree with the query at this site."""
    zero = value.dtype.type(0)
    total, moved, wrong, wrong_moved = zero, zero, zero, zero
    mask = np.uint8(1 << bit)
    flip = np.uint8(0 if allele != 0 else 255)
    for j in range(len(value)):
        mass = value[j] * backward[j]
        change = tangent[j] * backward[j] + value[j] * slope[j]
        total += mass
        moved += change
        disagrees = np.uint8((np.uint8(~states[j]) ^ flip) & mask)
        wrong += mass if disagrees else zero
        wrong_moved += change if disagrees else zero
    if allele < 0:
        return zero
    return -(wrong_moved - wrong * moved / total) / total


@numba.njit(cache=True, nogil=True, fastmath=True)
def _switch_slope(value: FloatArray, tangent: FloatArray, ahead: FloatArray, slope: FloatArray, switch: float) -> float:
    """d/dt of d log Z / d switch, between a site with forward values and the next with emission times backward."""
    k = len(value)
    zero = value.dtype.type(0)
    same, same_moved, anywhere, anywhere_moved = zero, zero, zero, zero
    for j in range(k):
        same += value[j] * ahead[j]
        same_moved += tangent[j] * ahead[j] + value[j] * slope[j]
        anywhere += ahead[j]
        anywhere_moved += slope[j]
    anywhere /= k
    anywhere_moved /= k
    z = (1 - switch) * same + switch * anywhere
    z_moved = (1 - switch) * same_moved + switch * anywhere_moved
    rise = anywhere - same
    return (anywhere_moved - same_moved) / z - rise * z_moved / (z * z)
