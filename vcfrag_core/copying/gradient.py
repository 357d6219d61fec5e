"""The gradient of the compiled copying layer, by a second forward-backward that carries tangents.

With S = sum_i g_i p_i = sum_mk c_mk gamma_mk and gamma = d log Z / d log e, dS / d log e_mk is the derivative of
gamma_mk along the direction log e + t c (the Hessian of log Z is symmetric), and dS / d switch_m that of
d log Z / d switch_m. So the backward pass is one more forward-backward that carries tangents along c.

Vectors and tangents are kept as they come out of a step, with their sums beside them: the step after it divides by
the one sum and takes the drift out, which is the tangent of the scale, so that a site costs two loops and not four.
A step is not inlined on purpose. Beside a loop over the rows of a block, the compiler takes its test for overlapping
arrays out of that loop and compares all rows with all, which overlap, so that the vector code is never reached.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value,no-any-return"

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.kernels import BLOCK, gather
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf, reordered_leaf
from vcfrag_core.types import FloatArray, I8Array, I32Array, I64Array, U8Array


@leaf
def _add_carried(alleles: U8Array, rows: I64Array, masks: U8Array, amounts: FloatArray, out: FloatArray) -> None:
    """Adds to each candidate amounts[b] for each of four bits that it carries: masks[b] of row rows[b]."""
    zero = out.dtype.type(0)
    c0, c1, c2, c3 = alleles[rows[0]], alleles[rows[1]], alleles[rows[2]], alleles[rows[3]]
    m0, m1, m2, m3 = masks[0], masks[1], masks[2], masks[3]
    a0, a1, a2, a3 = amounts[0], amounts[1], amounts[2], amounts[3]
    for j in range(len(out)):
        low = (a0 if np.uint8(c0[j] & m0) else zero) + (a1 if np.uint8(c1[j] & m1) else zero)
        high = (a2 if np.uint8(c2[j] & m2) else zero) + (a3 if np.uint8(c3[j] & m3) else zero)
        out[j] += low + high


@kernel
def fill_direction(
    alleles: U8Array,
    candidates: I32Array,
    left: I32Array,
    fraction: FloatArray,
    gradient: FloatArray,
    first: int,
    stop: int,
    out: FloatArray,
) -> None:
    """c of observed sites [first, stop): how much each candidate's posterior there moves sum_i g_i p_i.

    Args:
        alleles: (ceil(L / 8), H) panel bits at the sites to impute.
        candidates: (K,) panel rows.
        left: (L,) as in `CopyingSites`.
        fraction: (L,) as in `CopyingSites`; 0 beyond the last observed site.
        gradient: (L,) derivative of the loss with respect to each dosage.
        first, stop: Observed sites, by their number among the M.
        out: (stop - first or more, K), written.
    """
    masks, rows = np.zeros(4, dtype=np.uint8), np.zeros(4, dtype=np.int64)
    amounts = np.zeros(4, dtype=out.dtype)
    begin, end = np.searchsorted(left, first - 1), np.searchsorted(left, stop)
    first_byte = begin >> 3
    mine = gather(alleles, candidates, first_byte, max((end + 7) >> 3, first_byte), len(candidates))
    for m in range(first, stop):
        target = out[m - first]
        target[:] = 0
        while begin < end and left[begin] < m - 1:
            begin += 1
        site, used = begin, 0
        while site < end and left[site] <= m:
            amounts[used] = gradient[site] * (1 - fraction[site] if left[site] == m else fraction[site])
            masks[used], rows[used] = np.uint8(1 << (site & 7)), (site >> 3) - first_byte
            used += amounts[used] != 0
            if used == 4:
                _add_carried(mine, rows, masks, amounts, target)
                used = 0
            site += 1
        if used:
            amounts[used:] = 0
            _add_carried(mine, rows, masks, amounts, target)


@reordered_leaf
def _totals(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """The sums of a and of b."""
    x, y = a.dtype.type(0), a.dtype.type(0)
    for j in range(len(a)):
        x += a[j]
        y += b[j]
    return x, y


@leaf
def _step(
    value: FloatArray, tangent: FloatArray, new_value: FloatArray, new_tangent: FloatArray, direction: FloatArray,
    states: U8Array, bit: int, allele: int, mismatch: float, keep: float, add: float, drift: float,
) -> tuple[float, float]:  # fmt: skip
    """One transition and the emission after it, of a vector and of its tangent; returns the sums of both.

    new_value = (value * keep + add) * emission, and new_tangent its derivative, where `drift` is the part of the
    tangent, in units of value, that comes from the scale. No two of the arrays may overlap.
    """
    one = value.dtype.type(1)
    mask = np.uint8(1 << bit) if allele >= 0 else np.uint8(0)
    ref = mismatch if allele == 1 else one
    alt = mismatch if allele == 0 else one
    pull = keep * drift
    for j in range(len(value)):
        e = alt if np.uint8(states[j] & mask) else ref
        v = (value[j] * keep + add) * e
        new_value[j] = v
        new_tangent[j] = (tangent[j] * keep - value[j] * pull) * e + direction[j] * v
    return _totals(new_value, new_tangent)


@leaf
def _forward(
    states: U8Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    first: int,
    stop: int,
    direction: FloatArray,
    values: FloatArray,
    tangents: FloatArray,
    sums: FloatArray,
) -> None:
    """Forward values and tangents of sites [first, stop), and the sums of both, from row 1 on; row 0 is given."""
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(states.shape[1])
    for i in range(first, stop):
        row = i - first
        total, moved = sums[row]
        chance = switch[i] if i > 0 else one - one
        sums[row + 1] = _step(
            values[row], tangents[row], values[row + 1], tangents[row + 1], direction[row], states[i >> 3], i & 7,
            query[i], mismatch[i], (one - chance) / total, chance / count, moved / total,
        )  # fmt: skip


@reordered_leaf
def _meet(
    value: FloatArray, tangent: FloatArray, ahead: FloatArray, slope: FloatArray, states: U8Array, bit: int, allele: int
) -> tuple[float, float, float, float, float, float]:
    """Sums of products of a site's forward values with what comes from the site ahead of it, and their tangents.

    Returns those over all candidates, those over the ones that disagree with the query, and for the latter the sums
    of the forward values and tangents themselves.
    """
    zero = value.dtype.type(0)
    both, both_moved, wrong, wrong_moved, here, here_moved = zero, zero, zero, zero, zero, zero
    mask = np.uint8(1 << bit)
    flip = np.uint8(255 if allele == 1 else 0)
    for j in range(len(value)):
        product = value[j] * ahead[j]
        change = tangent[j] * ahead[j] + value[j] * slope[j]
        both += product
        both_moved += change
        disagrees = np.uint8((states[j] ^ flip) & mask)
        wrong += product if disagrees else zero
        wrong_moved += change if disagrees else zero
        here += value[j] if disagrees else zero
        here_moved += tangent[j] if disagrees else zero
    return both, both_moved, wrong, wrong_moved, here, here_moved


@kernel
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
        observed, candidates, query, mismatch, switch, left, fraction: As for `copy_dosage`.
        alleles: (ceil(L / 8), H) panel bits at the sites to impute, eight sites to a row.
        gradient: (L,) derivative of the loss with respect to each dosage.
        weight_gradient: (M,) derivative with respect to each weight w = -log(mismatch), added to.
        switch_gradient: (M,) derivative with respect to each switch probability, added to.
    """
    m, k = len(query), len(candidates)
    kind = mismatch.dtype
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    states = gather(observed, candidates, 0, len(observed), len(candidates))
    n_blocks = (m + BLOCK - 1) // BLOCK
    direction = np.empty((BLOCK, k), dtype=kind)
    # Row 0 of a block is the site before it: the block's own sites are then rows 1 to BLOCK.
    values, tangents = np.empty((BLOCK + 1, k), dtype=kind), np.empty((BLOCK + 1, k), dtype=kind)
    sums = np.empty((BLOCK + 1, 2), dtype=kind)
    start_values, start_tangents = np.empty((n_blocks, k), dtype=kind), np.empty((n_blocks, k), dtype=kind)
    start_sums = np.empty((n_blocks, 2), dtype=kind)
    values[0, :], tangents[0, :], sums[0, 0], sums[0, 1] = one / count, 0, 1, 0
    for block in range(n_blocks):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        start_values[block], start_tangents[block], start_sums[block] = values[0], tangents[0], sums[0]
        fill_direction(alleles, candidates, left, fraction, gradient, first, stop, direction)
        _forward(states, query, mismatch, switch, first, stop, direction, values, tangents, sums)
        last = stop - first
        values[0], tangents[0], sums[0] = values[last], tangents[last], sums[last]
    # Two rows, taken in turn: emission times backward of the site ahead, and of the one before it.
    ahead, slope = np.full((2, k), one / count, dtype=kind), np.zeros((2, k), dtype=kind)
    total, moved = one, one - one
    for block in range(n_blocks - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        values[0], tangents[0], sums[0] = start_values[block], start_tangents[block], start_sums[block]
        fill_direction(alleles, candidates, left, fraction, gradient, first, stop, direction)
        _forward(states, query, mismatch, switch, first, stop, direction, values, tangents, sums)
        for i in range(stop - 1, first - 1, -1):
            row, turn = i - first + 1, i & 1
            chance = switch[i + 1] if i + 1 < m else one - one
            keep, add, drift = (one - chance) / total, chance / count, moved / total
            met = _meet(values[row], tangents[row], ahead[turn], slope[turn], states[i >> 3], i & 7, query[i])
            if i + 1 < m:
                switch_gradient[i + 1] += _switch_slope(met, sums[row], total / count, moved / count, chance)
            if query[i] >= 0:
                weight_gradient[i] += _weight_slope(met, sums[row], keep, add, drift)
            total, moved = _step(
                ahead[turn], slope[turn], ahead[1 - turn], slope[1 - turn], direction[i - first], states[i >> 3],
                i & 7, query[i], mismatch[i], keep, add, drift,
            )  # fmt: skip


@leaf
def _weight_slope(
    met: tuple[float, float, float, float, float, float], sums: FloatArray, keep: float, add: float, drift: float
) -> float:
    """-d/dt of the posterior mass of the candidates that disagree with the query at this site."""
    both, both_moved, wrong, wrong_moved, here, here_moved = met
    z = keep * both + add * sums[0]
    z_moved = keep * (both_moved - drift * both) + add * sums[1]
    mass = keep * wrong + add * here
    mass_moved = keep * (wrong_moved - drift * wrong) + add * here_moved
    return -(mass_moved - mass * (z_moved / z)) / z


@leaf
def _switch_slope(
    met: tuple[float, float, float, float, float, float], sums: FloatArray, anywhere: float, anywhere_moved: float,
    switch: float,
) -> float:  # fmt: skip
    """d/dt of d log Z / d switch, between a site and the one ahead, whose emission times backward has that mean."""
    same = met[0] / sums[0]
    same_moved = (met[1] - same * sums[1]) / sums[0]
    z = (1 - switch) * same + switch * anywhere
    z_moved = (1 - switch) * same_moved + switch * anywhere_moved
    rise = anywhere - same
    return (anywhere_moved - same_moved) / z - rise * z_moved / (z * z)
