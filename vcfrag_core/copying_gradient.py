"""The gradient of the compiled copying layer, by a second forward-backward that carries tangents.

With S = sum_i g_i p_i = sum_mk c_mk gamma_mk and gamma = d log Z / d log e, dS / d log e_mk is the derivative of
gamma_mk along the direction log e + t c (the Hessian of log Z is symmetric), and dS / d switch_m that of
d log Z / d switch_m. So the backward pass is one more forward-backward that carries tangents along c.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.copying_kernels import BLOCK, gather, total_of
from vcfrag_core.types import FloatArray, I8Array, I32Array, U8Array


@numba.njit(cache=True, nogil=True)
def _add_carried(alleles: U8Array, shift: int, amounts: FloatArray, out: FloatArray) -> None:
    """Adds to each candidate amounts[b] for each of the four bits shift + b that it carries."""
    zero = out.dtype.type(0)
    a0, a1, a2, a3 = amounts[0], amounts[1], amounts[2], amounts[3]
    m0, m1, m2, m3 = np.uint8(1 << shift), np.uint8(2 << shift), np.uint8(4 << shift), np.uint8(8 << shift)
    for j in range(len(out)):
        c = alleles[j]
        low = (a0 if np.uint8(c & m0) else zero) + (a1 if np.uint8(c & m1) else zero)
        high = (a2 if np.uint8(c & m2) else zero) + (a3 if np.uint8(c & m3) else zero)
        out[j] += low + high


@numba.njit(cache=True, nogil=True)
def _direction(
    alleles: U8Array,
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
    if begin == end:
        return
    first_byte = begin >> 3
    mine = gather(alleles, candidates, first_byte, (end + 7) >> 3)
    amounts = np.empty((2, 4), dtype=out.dtype)
    site = begin
    while site < end:
        here, after = left[site], min(site | 3, end - 1) + 1
        while left[after - 1] != here:
            after -= 1
        amounts[:] = 0
        for i in range(site, after):
            amounts[0, i & 3] = gradient[i] * (1 - fraction[i])
            amounts[1, i & 3] = gradient[i] * fraction[i]
        row, right = mine[(site >> 3) - first_byte], min(here + 1, m - 1)
        if here >= first:
            _add_carried(row, site & 4, amounts[0], out[here - first])
        if first <= right < stop:
            _add_carried(row, site & 4, amounts[1], out[right - first])
        site = after


@numba.njit(cache=True, nogil=True, inline="always")
def _step_both(
    value: FloatArray, tangent: FloatArray, new_value: FloatArray, new_tangent: FloatArray, states: U8Array, bit: int,
    allele: int, mismatch: float, keep: float, add: float,
) -> float:  # fmt: skip
    """One step of a vector and of its tangent, up to their emission; returns the vector's sum."""
    one = value.dtype.type(1)
    mask = np.uint8(1 << bit) if allele >= 0 else np.uint8(0)
    ref = mismatch if allele == 1 else one
    alt = mismatch if allele == 0 else one
    for j in range(len(value)):
        e = alt if np.uint8(states[j] & mask) else ref
        new_value[j] = (value[j] * keep + add) * e
        new_tangent[j] = tangent[j] * keep * e
    return total_of(new_value)


@numba.njit(cache=True, nogil=True, inline="always")
def _normalise_tangent(value: FloatArray, tangent: FloatArray, direction: FloatArray, total: float) -> None:
    """Adds direction * value to the tangent, scales the value to sum 1 and takes the scale's own tangent out."""
    scale = value.dtype.type(1) / total
    for j in range(len(value)):
        value[j] *= scale
        tangent[j] = tangent[j] * scale + direction[j] * value[j]
    drift = total_of(tangent)
    for j in range(len(value)):
        tangent[j] -= drift * value[j]


@numba.njit(cache=True, nogil=True, inline="always")
def _advance_both(value: FloatArray, tangent: FloatArray, keep: float, add: float) -> None:
    for j in range(len(value)):
        value[j] = value[j] * keep + add
        tangent[j] *= keep


@numba.njit(cache=True, nogil=True)
def copy_gradient(
    observed: U8Array,
    alleles: U8Array,
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
        observed, alleles, candidates, query, mismatch, switch, left, fraction: As for `copy_dosage`.
        gradient: (L,) derivative of the loss with respect to each dosage.
        weight_gradient: (M,) derivative with respect to each weight w = -log(mismatch), added to.
        switch_gradient: (M,) derivative with respect to each switch probability, added to.
    """
    m, k = len(query), len(candidates)
    kind = mismatch.dtype
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    states = gather(observed, candidates, 0, len(observed))
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
        _direction(alleles, candidates, left, fraction, gradient, m, first, stop, direction)
        _forward_tangents(states, query, mismatch, switch, first, stop, direction, values, tangents)
        values[0, :] = values[stop - first]
        tangents[0, :] = tangents[stop - first]
    backward = np.full(k, 1.0 / k, dtype=kind)
    slope = np.zeros(k, dtype=kind)
    for block in range(n_blocks - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        values[0, :] = start_values[block]
        tangents[0, :] = start_tangents[block]
        _direction(alleles, candidates, left, fraction, gradient, m, first, stop, direction)
        _forward_tangents(states, query, mismatch, switch, first, stop, direction, values, tangents)
        for i in range(stop - 1, first - 1, -1):
            row = i - first + 1
            weight_gradient[i] += _weight_slope(
                values[row], tangents[row], backward, slope, states[i >> 3], i & 7, query[i]
            )
            total = _step_both(
                backward, slope, backward, slope, states[i >> 3], i & 7, query[i], mismatch[i], one, one - one
            )  # fmt: skip
            _normalise_tangent(backward, slope, direction[i - first], total)
            if i > 0:
                switch_gradient[i] += _switch_slope(values[row - 1], tangents[row - 1], backward, slope, switch[i])
                _advance_both(backward, slope, one - switch[i], switch[i] / count)


@numba.njit(cache=True, nogil=True)
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
    """Forward values of sites [first, stop), which sum to 1, and their tangents, which sum to 0, from row 1 on."""
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(states.shape[1])
    for i in range(first, stop):
        row = i - first
        chance = switch[i] if i > 0 else one - one
        total = _step_both(
            values[row], tangents[row], values[row + 1], tangents[row + 1], states[i >> 3], i & 7, query[i],
            mismatch[i], one - chance, chance / count,
        )  # fmt: skip
        _normalise_tangent(values[row + 1], tangents[row + 1], direction[row], total)


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
