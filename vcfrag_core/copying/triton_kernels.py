"""The copying layer's kernels for a CUDA device, in Triton: sweeps along the sites, and blocks of sites between them.

The recursion is sequential in the observed sites and parallel in the candidates, so a program holds one vector of
STATES values, its candidates padded to a power of two, in registers, and walks along the sites. Vectors sum to 1 after
every step; what lies in the padding is 0. Alleles are read as bits, eight sites in a byte, from columns that all
queries share.

One program sweeps forward and another backward, for each query, and both keep their vector at the borders of blocks
and nowhere else. What is wanted of the sites is made from there by a second kernel, all blocks of all queries side by
side: a program takes one after the other, walks forward into scratch rows of its own and back again. So what is
sequential is one walk along the sites, and scratch is M / block vectors for a query and `block` for a program.

Kernels work in the type of `mismatch`. Each of their outputs is written by one program and sums are taken in the
order of a tree, so that the same arguments give the same bytes.

Arguments that all of them share:

    observed      (ceil(M / 8), H) panel bits at the observed sites, site m being bit m & 7 of row m >> 3
    alleles       (ceil(L / 8), H) panel bits at the sites to impute
    candidates    panel rows of all queries' candidates, one query after the other
    offsets       (Q + 1,) where each query's candidates begin
    query         (Q, M) alleles, -1 where there is no call
    mismatch      (M,) exp(-w): the emission of a mismatch
    switch        (M,) probability of a switch before each site; the first is not used
    starts        (M + 1,) number of the first site to impute whose `left` is m or more
    fraction      (L,) as in `CopyingSites`; 0 beyond the last observed site
    stride        H
    n_observed    M
    n_sites       L
    block         sites of a block, a multiple of 8
    n_items       queries times blocks, in a kernel of blocks
    STATES        power of two, at least the most candidates of a query
"""

# A kernel's arguments have types only where it is compiled for them.
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

# Sizes differ from window to window: a kernel must not be compiled anew for those that 16 divides.
_SIZES = ("stride", "n_observed", "n_sites", "block", "n_items")
# Where fewer sites lie between two observed ones, they are read one by one, else a byte's eight at a time.
_FEW_SITES = tl.constexpr(4)


@triton.jit
def _states(candidates, offsets, q, kind: tl.constexpr, STATES: tl.constexpr):
    """(STATES,) a query's candidates, which of them are not padding, and their count as a float."""
    begin = tl.load(offsets + q)
    lane = tl.arange(0, STATES)
    n_candidates = (tl.load(offsets + q + 1) - begin).to(tl.int32)
    inside = lane < n_candidates
    return tl.load(candidates + begin + lane, mask=inside, other=0), inside, n_candidates.to(kind)


@triton.jit
def _bytes(columns, row, stride, candidate, inside):
    """(STATES,) the candidates' bytes in one row of (rows, H) columns, widened; the row may begin beyond 2^31."""
    wide = tl.cast(row, tl.int64) * stride
    return tl.load(columns + wide + candidate, mask=inside, other=0).to(tl.int32)


@triton.jit
def _emission(states, bit, allele, mismatch, inside):
    """(STATES,) emission of one site, 0 in the padding, and which candidates disagree with the query there."""
    wrong = inside & (allele >= 0) & (((states >> bit) & 1) != allele)
    return tl.where(inside, tl.where(wrong, mismatch, 1.0), 0.0), wrong


@triton.jit
def _forward(
    value, first, stop, observed, stride, candidate, inside, count, query, mismatch, switch, rows, KEEP: tl.constexpr
):  # fmt: skip
    """Takes a forward vector from before site `first` to site stop - 1; into rows, too, where KEEP."""
    lane = tl.arange(0, value.shape[0])
    for byte in range(first // 8, tl.cdiv(stop, 8)):
        states = _bytes(observed, byte, stride, candidate, inside)
        for i in range(8 * byte, tl.minimum(8 * byte + 8, stop)):
            chance = tl.load(switch + i, mask=i > 0, other=0.0)
            emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
            value = (value * (1 - chance) + chance / count) * emission
            value *= 1 / tl.sum(value, axis=0)
            if KEEP:
                tl.store(rows + (i - first) * value.shape[0] + lane, value)
    return value


@triton.jit
def _bit(columns, site, stride, candidate, inside):
    """(STATES,) whether the candidates carry ALT at one site of (rows, H) columns."""
    return ((_bytes(columns, site // 8, stride, candidate, inside) >> (site & 7)) & 1) != 0


@triton.jit
def _write_dosages(posterior, following, begin, end, alleles, stride, candidate, inside, fraction, dosage):
    """Dosages of sites [begin, end) between an observed site and the next."""
    change = following - posterior
    if end - begin < _FEW_SITES:
        for site in range(begin, end):
            between = posterior + tl.load(fraction + site) * change
            expected = tl.sum(tl.where(_bit(alleles, site, stride, candidate, inside), between, 0.0), axis=0)
            tl.store(dosage + site, tl.minimum(expected, 1.0))
    else:
        bit = tl.arange(0, 8)
        for byte in range(begin // 8, tl.cdiv(end, 8)):
            sites = 8 * byte + bit
            mine = (sites >= begin) & (sites < end)
            share = tl.load(fraction + sites, mask=mine, other=0.0)
            carried = _bytes(alleles, byte, stride, candidate, inside)
            spread = posterior[None, :] + share[:, None] * change[None, :]
            carriers = tl.where(((carried[None, :] >> bit[:, None]) & 1) != 0, spread, 0.0)
            tl.store(dosage + sites, tl.minimum(tl.sum(carriers, axis=1), 1.0), mask=mine)


@triton.jit(do_not_specialize=_SIZES)
def sweep_kernel(
    observed,
    candidates,
    offsets,
    query,
    mismatch,
    switch,
    forward,
    backward,
    stride,
    n_observed,
    block,
    STATES: tl.constexpr,
):
    """Vectors at the borders of blocks, by two programs for each query.

    Into (Q, ceil(M / block), STATES) `forward` go vectors before each block's first site, into `backward` those that
    come from behind the first site of the block after it: emission times backward of the site ahead.
    """
    q = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    query += q * n_observed
    candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
    value = tl.where(inside, 1 / count, 0.0)
    if tl.program_id(1) == 0:
        forward += q * n_blocks * STATES
        for b in range(n_blocks):
            tl.store(forward + b * STATES + lane, value)
            stop = tl.minimum(b * block + block, n_observed)
            value = _forward(
                value, b * block, stop, observed, stride, candidate, inside, count, query, mismatch, switch, forward,
                False,
            )  # fmt: skip
    else:
        backward += q * n_blocks * STATES
        tl.store(backward + (n_blocks - 1) * STATES + lane, value)
        for byte in range(tl.cdiv(n_observed, 8) - 1, -1, -1):
            states = _bytes(observed, byte, stride, candidate, inside)
            for i in range(tl.minimum(8 * byte + 8, n_observed) - 1, 8 * byte - 1, -1):
                if (i % block == 0) & (i > 0):
                    tl.store(backward + (i // block - 1) * STATES + lane, value)
                chance = tl.load(switch + i + 1, mask=i + 1 < n_observed, other=0.0)
                emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
                value = (value * (1 - chance) + chance / count) * emission
                value *= 1 / tl.sum(value, axis=0)


@triton.jit(do_not_specialize=_SIZES)
def dosage_kernel(
    observed,
    alleles,
    candidates,
    offsets,
    all_queries,
    mismatch,
    switch,
    starts,
    fraction,
    forward,
    backward,
    rows,
    all_dosages,
    stride,
    n_observed,
    n_sites,
    block,
    n_items,
    STATES: tl.constexpr,
):
    """Imputed dosages, into (Q, L) `all_dosages`, from the vectors of `sweep_kernel`.

    Scratch of the programs: (programs, block + 1, STATES) `rows`.
    """
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    rows += tl.program_id(0).to(tl.int64) * (block + 1) * STATES
    for item in range(tl.program_id(0), n_items, tl.num_programs(0)):
        q = (item // n_blocks).to(tl.int64)
        first = item % n_blocks * block
        stop = tl.minimum(first + block, n_observed)
        # With the first site of the next block: between it and this block's last one, dosages are of both.
        end = tl.minimum(stop + 1, n_observed)
        query = all_queries + q * n_observed
        dosage = all_dosages + q * n_sites
        candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
        border = tl.cast(item, tl.int64) * STATES + lane
        _forward(
            tl.load(forward + border), first, end, observed, stride, candidate, inside, count, query, mismatch, switch,
            rows, True,
        )  # fmt: skip
        # Where a vector is stored and where it is loaded, the compiler may share it out to threads differently: a
        # thread then reads what another one wrote, which only a barrier puts in order, here and before rows are used
        # again.
        tl.debug_barrier()
        ahead = tl.load(backward + border)
        following = tl.zeros_like(ahead)
        for byte in range(tl.cdiv(end, 8) - 1, first // 8 - 1, -1):
            states = _bytes(observed, byte, stride, candidate, inside)
            for i in range(tl.minimum(8 * byte + 8, end) - 1, 8 * byte - 1, -1):
                chance = tl.load(switch + i + 1, mask=i + 1 < n_observed, other=0.0)
                emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
                reached = ahead * (1 - chance) + chance / count
                joint = tl.load(rows + (i - first) * STATES + lane) * reached
                posterior = joint * (1 / tl.sum(joint, axis=0))
                if i < stop:
                    _write_dosages(
                        posterior, following, tl.load(starts + i), tl.load(starts + i + 1), alleles, stride, candidate,
                        inside, fraction, dosage,
                    )  # fmt: skip
                following = posterior
                ahead = reached * emission
                ahead *= 1 / tl.sum(ahead, axis=0)
        tl.debug_barrier()


@triton.jit
def _direction(i, starts, fraction, gradient, alleles, stride, candidate, inside):
    """(STATES,) how much each candidate's posterior at observed site i moves the sum of gradient times dosage."""
    begin, here, end = tl.load(starts + tl.maximum(i - 1, 0)), tl.load(starts + i), tl.load(starts + i + 1)
    direction = tl.zeros([candidate.shape[0]], fraction.dtype.element_ty)
    if end - begin < 2 * _FEW_SITES:
        for site in range(begin, end):
            share = tl.load(fraction + site)
            amount = tl.load(gradient + site) * tl.where(site < here, share, 1 - share)
            direction += tl.where(_bit(alleles, site, stride, candidate, inside), amount, 0.0)
    else:
        bit = tl.arange(0, 8)
        for byte in range(begin // 8, tl.cdiv(end, 8)):
            sites = 8 * byte + bit
            mine = (sites >= begin) & (sites < end)
            shares = tl.load(fraction + sites, mask=mine, other=0.0)
            amounts = tl.load(gradient + sites, mask=mine, other=0.0) * tl.where(sites < here, shares, 1 - shares)
            carried = _bytes(alleles, byte, stride, candidate, inside)
            carriers = ((carried[None, :] >> bit[:, None]) & 1) != 0
            direction += tl.sum(tl.where(carriers, amounts[:, None], 0.0), axis=0)
    return direction


@triton.jit
def _step(value, tangent, direction, emission, keep, add):
    """One transition and the emission after it, of a vector that sums to 1 and of its tangent, which sums to 0."""
    tangent = tangent * keep * emission
    value = (value * keep + add) * emission
    tangent += direction * value
    scale = 1 / tl.sum(value, axis=0)
    drift = scale * tl.sum(tangent, axis=0)
    value *= scale
    return value, tangent * scale - value * drift


@triton.jit
def _forward_with_tangent(
    value, tangent, first, stop, observed, alleles, stride, candidate, inside, count, query, mismatch, switch, starts,
    fraction, gradient, values, tangents, directions, KEEP: tl.constexpr,
):  # fmt: skip
    """As `_forward`, for a vector and its tangent; the directions of the sites are kept beside them."""
    lane = tl.arange(0, value.shape[0])
    for byte in range(first // 8, tl.cdiv(stop, 8)):
        states = _bytes(observed, byte, stride, candidate, inside)
        for i in range(8 * byte, tl.minimum(8 * byte + 8, stop)):
            chance = tl.load(switch + i, mask=i > 0, other=0.0)
            emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
            direction = _direction(i, starts, fraction, gradient, alleles, stride, candidate, inside)
            value, tangent = _step(value, tangent, direction, emission, 1 - chance, chance / count)
            if KEEP:
                at = (i - first) * value.shape[0] + lane
                tl.store(values + at, value)
                tl.store(tangents + at, tangent)
                tl.store(directions + at, direction)
    return value, tangent


@triton.jit(do_not_specialize=_SIZES)
def tangent_sweep_kernel(
    observed,
    alleles,
    candidates,
    offsets,
    query,
    mismatch,
    switch,
    starts,
    fraction,
    gradient,
    values,
    tangents,
    aheads,
    slopes,
    stride,
    n_observed,
    n_sites,
    block,
    STATES: tl.constexpr,
):
    """Vectors and their tangents at the borders of blocks, by two programs for each query.

    Into (Q, ceil(M / block), STATES) `values` and `tangents` go those before each block's first site, into `aheads` and
    `slopes` those that come from behind its last one. The scheme is that of `copying.gradient`.
    """
    q = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    query += q * n_observed
    gradient += q * n_sites
    candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
    value = tl.where(inside, 1 / count, 0.0)
    tangent = tl.zeros_like(value)
    border = q * n_blocks * STATES + lane
    if tl.program_id(1) == 0:
        for b in range(n_blocks):
            tl.store(values + border + b * STATES, value)
            tl.store(tangents + border + b * STATES, tangent)
            value, tangent = _forward_with_tangent(
                value, tangent, b * block, tl.minimum(b * block + block, n_observed), observed, alleles, stride,
                candidate, inside, count, query, mismatch, switch, starts, fraction, gradient, values, tangents, values,
                False,
            )  # fmt: skip
    else:
        for b in range(n_blocks - 1, -1, -1):
            tl.store(aheads + border + b * STATES, value)
            tl.store(slopes + border + b * STATES, tangent)
            stop = tl.minimum(b * block + block, n_observed)
            for byte in range(tl.cdiv(stop, 8) - 1, b * block // 8 - 1, -1):
                states = _bytes(observed, byte, stride, candidate, inside)
                for i in range(tl.minimum(8 * byte + 8, stop) - 1, 8 * byte - 1, -1):
                    chance = tl.load(switch + i + 1, mask=i + 1 < n_observed, other=0.0)
                    emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
                    direction = _direction(i, starts, fraction, gradient, alleles, stride, candidate, inside)
                    value, tangent = _step(value, tangent, direction, emission, 1 - chance, chance / count)


@triton.jit(do_not_specialize=_SIZES)
def gradient_kernel(
    observed,
    alleles,
    candidates,
    offsets,
    all_queries,
    mismatch,
    switch,
    starts,
    fraction,
    all_gradients,
    start_values,
    start_tangents,
    aheads,
    slopes,
    values,
    tangents,
    directions,
    all_by_weight,
    all_by_switch,
    stride,
    n_observed,
    n_sites,
    block,
    n_items,
    STATES: tl.constexpr,
):
    """Derivatives of the sum of (Q, L) `all_gradients` times dosage, from the vectors of `tangent_sweep_kernel`.

    (Q, M) `all_by_weight` receives those with respect to each weight, `all_by_switch` to each switch probability; the
    first of the latter is left as it is. Scratch of the programs: (programs, block, STATES) `values`, `tangents` and
    `directions`.
    """
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    scratch = tl.program_id(0).to(tl.int64) * block * STATES
    values += scratch
    tangents += scratch
    directions += scratch
    for item in range(tl.program_id(0), n_items, tl.num_programs(0)):
        q = (item // n_blocks).to(tl.int64)
        first = item % n_blocks * block
        stop = tl.minimum(first + block, n_observed)
        query = all_queries + q * n_observed
        by_weight = all_by_weight + q * n_observed
        by_switch = all_by_switch + q * n_observed
        candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
        border = tl.cast(item, tl.int64) * STATES + lane
        _forward_with_tangent(
            tl.load(start_values + border), tl.load(start_tangents + border), first, stop, observed, alleles, stride,
            candidate, inside, count, query, mismatch, switch, starts, fraction, all_gradients + q * n_sites, values,
            tangents, directions, True,
        )  # fmt: skip
        # As in `dosage_kernel`: between threads, only a barrier orders what is stored and then loaded.
        tl.debug_barrier()
        # Emission times backward of the site ahead, and its tangent.
        ahead, slope = tl.load(aheads + border), tl.load(slopes + border)
        for byte in range(tl.cdiv(stop, 8) - 1, first // 8 - 1, -1):
            states = _bytes(observed, byte, stride, candidate, inside)
            for i in range(tl.minimum(8 * byte + 8, stop) - 1, 8 * byte - 1, -1):
                at = (i - first) * STATES + lane
                value = tl.load(values + at)
                tangent = tl.load(tangents + at)
                chance = tl.load(switch + i + 1, mask=i + 1 < n_observed, other=0.0)
                keep, add = 1 - chance, chance / count
                emission, wrong = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
                # With vectors that sum to 1, log Z moves with the switch by (1 / K - same) / z, whose derivative
                # along the direction is -same_moved / (K z^2); z^2 alone may be too small for float32.
                same = tl.sum(value * ahead, axis=0)
                same_moved = tl.sum(tangent * ahead + value * slope, axis=0)
                z = keep * same + add
                drift = keep * same_moved / z
                tl.store(by_switch + i + 1, -(same_moved / z) / (count * z), mask=i + 1 < n_observed)
                # -d/dt of the posterior mass of the candidates that disagree with the query.
                backward = ahead * keep + add
                mass = tl.sum(tl.where(wrong, value * backward, 0.0), axis=0)
                mass_moved = tl.sum(tl.where(wrong, tangent * backward + value * slope * keep, 0.0), axis=0)
                tl.store(by_weight + i, (mass * drift - mass_moved) / z)
                ahead, slope = _step(ahead, slope, tl.load(directions + at), emission, keep, add)
        tl.debug_barrier()
