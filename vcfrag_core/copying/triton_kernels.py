"""The copying layer's kernels for a CUDA device, in Triton: one program for each query haplotype.

The recursion is sequential in the observed sites and parallel in the candidates, so a program holds one vector of
STATES values, its candidates padded to a power of two, in registers, and walks along the sites. Vectors sum to 1 after
every step; what lies in the padding is 0. Alleles are read as bits, eight sites in a byte, from columns that all
queries share. As on the host, a vector is kept at the first site of every block only, and the block's own vectors are
made anew in scratch rows while the program goes backward, so that a program needs M / block + block rows and not M.

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
    STATES        power of two, at least the most candidates of a query
"""

# A kernel's arguments have types only where it is compiled for them.
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

# Sizes differ from window to window: a kernel must not be compiled anew for those that 16 divides.
_SIZES = ("stride", "n_observed", "n_sites", "block")


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
def _write_dosages(posterior, following, begin, end, alleles, stride, candidate, inside, fraction, dosage):
    """Dosages of sites [begin, end) between an observed site and the next, a byte's eight sites at a time."""
    bit = tl.arange(0, 8)
    change = following - posterior
    for byte in range(begin // 8, tl.cdiv(end, 8)):
        site = 8 * byte + bit
        mine = (site >= begin) & (site < end)
        share = tl.load(fraction + site, mask=mine, other=0.0)
        carried = _bytes(alleles, byte, stride, candidate, inside)
        between = posterior[None, :] + share[:, None] * change[None, :]
        expected = tl.sum(tl.where(((carried[None, :] >> bit[:, None]) & 1) != 0, between, 0.0), axis=1)
        tl.store(dosage + site, tl.minimum(expected, 1.0), mask=mine)


@triton.jit(do_not_specialize=_SIZES)
def dosage_kernel(
    observed,
    alleles,
    candidates,
    offsets,
    query,
    mismatch,
    switch,
    starts,
    fraction,
    checkpoints,
    rows,
    dosage,
    stride,
    n_observed,
    n_sites,
    block,
    STATES: tl.constexpr,
):
    """Imputed dosages of one query haplotype, into its row of (Q, L) `dosage`.

    Scratch of the queries: (Q, ceil(M / block), STATES) `checkpoints` and (Q, block, STATES) `rows`.
    """
    q = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    query += q * n_observed
    checkpoints += q * n_blocks * STATES
    rows += q * block * STATES
    dosage += q * n_sites
    candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
    uniform = tl.where(inside, 1 / count, 0.0)

    value = uniform
    for b in range(n_blocks):
        tl.store(checkpoints + b * STATES + lane, value)
        stop = tl.minimum(b * block + block, n_observed)
        value = _forward(
            value, b * block, stop, observed, stride, candidate, inside, count, query, mismatch, switch, rows, False
        )  # fmt: skip
    # Where a vector is stored and where it is loaded, the compiler may share it out to threads differently: a thread
    # then reads what another one wrote, which only a barrier puts in order, here and wherever scratch changes hands.
    tl.debug_barrier()
    # Emission times backward of the site ahead, and that site's posterior.
    ahead = uniform
    following = tl.zeros_like(uniform)
    for b in range(n_blocks - 1, -1, -1):
        first = b * block
        stop = tl.minimum(first + block, n_observed)
        _forward(
            tl.load(checkpoints + b * STATES + lane), first, stop, observed, stride, candidate, inside, count, query,
            mismatch, switch, rows, True,
        )  # fmt: skip
        tl.debug_barrier()
        for byte in range(tl.cdiv(stop, 8) - 1, first // 8 - 1, -1):
            states = _bytes(observed, byte, stride, candidate, inside)
            for i in range(tl.minimum(8 * byte + 8, stop) - 1, 8 * byte - 1, -1):
                chance = tl.load(switch + i + 1, mask=i + 1 < n_observed, other=0.0)
                emission, _ = _emission(states, i & 7, tl.load(query + i), tl.load(mismatch + i), inside)
                backward = ahead * (1 - chance) + chance / count
                joint = tl.load(rows + (i - first) * STATES + lane) * backward
                posterior = joint * (1 / tl.sum(joint, axis=0))
                _write_dosages(
                    posterior, following, tl.load(starts + i), tl.load(starts + i + 1), alleles, stride, candidate,
                    inside, fraction, dosage,
                )  # fmt: skip
                following = posterior
                ahead = backward * emission
                ahead *= 1 / tl.sum(ahead, axis=0)
        tl.debug_barrier()


@triton.jit
def _direction(i, starts, fraction, gradient, alleles, stride, candidate, inside):
    """(STATES,) how much each candidate's posterior at observed site i moves the sum of gradient times dosage."""
    bit = tl.arange(0, 8)
    begin, here, end = tl.load(starts + tl.maximum(i - 1, 0)), tl.load(starts + i), tl.load(starts + i + 1)
    direction = tl.zeros([candidate.shape[0]], fraction.dtype.element_ty)
    for byte in range(begin // 8, tl.cdiv(end, 8)):
        site = 8 * byte + bit
        mine = (site >= begin) & (site < end)
        share = tl.load(fraction + site, mask=mine, other=0.0)
        amount = tl.load(gradient + site, mask=mine, other=0.0) * tl.where(site < here, share, 1 - share)
        carried = _bytes(alleles, byte, stride, candidate, inside)
        direction += tl.sum(tl.where(((carried[None, :] >> bit[:, None]) & 1) != 0, amount[:, None], 0.0), axis=0)
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
def gradient_kernel(
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
    start_values,
    start_tangents,
    values,
    tangents,
    directions,
    by_weight,
    by_switch,
    stride,
    n_observed,
    n_sites,
    block,
    STATES: tl.constexpr,
):
    """One query's derivatives of the sum of (Q, L) `gradient` times dosage, into its rows of the last two arrays.

    (Q, M) `by_weight` holds those with respect to each weight, `by_switch` to each switch probability; the first of
    the latter is left as it is. The scheme is that of `copying_gradient`. Scratch of the queries:
    (Q, ceil(M / block), STATES) `start_values` and `start_tangents`; (Q, block, STATES) `values`, `tangents` and
    `directions`.
    """
    q = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, STATES)
    n_blocks = tl.cdiv(n_observed, block)
    query += q * n_observed
    gradient += q * n_sites
    by_weight += q * n_observed
    by_switch += q * n_observed
    start_values += q * n_blocks * STATES
    start_tangents += q * n_blocks * STATES
    values += q * block * STATES
    tangents += q * block * STATES
    directions += q * block * STATES
    candidate, inside, count = _states(candidates, offsets, q, mismatch.dtype.element_ty, STATES)
    uniform = tl.where(inside, 1 / count, 0.0)

    value, tangent = uniform, tl.zeros_like(uniform)
    for b in range(n_blocks):
        tl.store(start_values + b * STATES + lane, value)
        tl.store(start_tangents + b * STATES + lane, tangent)
        value, tangent = _forward_with_tangent(
            value, tangent, b * block, tl.minimum(b * block + block, n_observed), observed, alleles, stride, candidate,
            inside, count, query, mismatch, switch, starts, fraction, gradient, values, tangents, directions, False,
        )  # fmt: skip
    # As in `dosage_kernel`: between threads, only a barrier orders what is stored and then loaded.
    tl.debug_barrier()
    # Emission times backward of the site ahead, and its tangent.
    ahead, slope = uniform, tl.zeros_like(uniform)
    for b in range(n_blocks - 1, -1, -1):
        first = b * block
        stop = tl.minimum(first + block, n_observed)
        _forward_with_tangent(
            tl.load(start_values + b * STATES + lane), tl.load(start_tangents + b * STATES + lane), first, stop,
            observed, alleles, stride, candidate, inside, count, query, mismatch, switch, starts, fraction, gradient,
            values, tangents, directions, True,
        )  # fmt: skip
        tl.debug_barrier()
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
