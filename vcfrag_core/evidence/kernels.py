"""What the best candidates of a query look like around every site: compiled, beside the dosages.

One backward sweep gives the dosages and, for every observed site, the T candidates of largest posterior between it
and the next observed site. A second kernel reads what they say of the sites to impute.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numpy as np

from vcfrag_core.copying.carriers import fill_dosage, padded, scratch
from vcfrag_core.copying.kernels import (
    AFTER,
    BACKWARD,
    BLOCK,
    ROWS,
    copy_row,
    forward_block,
    mask_of,
)
from vcfrag_core.copying.vectors import step_back
from vcfrag_core.kernel import kernel
from vcfrag_core.leaf import leaf, reordered_leaf
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array, I32Array, I64Array, U8Array, U64Array

NEARBY_SITES = 24
STRETCH = 64
# Where fewer candidates are effective, one of them says nearly all there is, and a dosage near 0 or 1 is less sure than
# where many agree.
FEW = 2.0
# So many running sums are taken side by side.
SUMS = 4

_HIGHEST = np.array([-1] + [int(np.log2(byte)) for byte in range(1, 256)], dtype=np.int64)
_LOWEST_OF_BYTE = np.array([8] + [(byte & -byte).bit_length() - 1 for byte in range(1, 256)], dtype=np.int64)


@reordered_leaf
def _maximum(values: FloatArray) -> float:
    found = values[0]
    for j in range(len(values)):
        found = values[j] if values[j] > found else found
    return float(found)


@leaf
def bound_of(score: FloatArray, before: I32Array) -> float:
    """What as many scores reach as are chosen: the least of those that were chosen before, 0 where there were fewer."""
    t = len(before)
    if before[t - 1] < 0:
        return 0.0
    least = score[before[0]]
    for i in range(t):
        least = min(least, score[before[i]])
    return float(least)


@leaf
def largest(score: FloatArray, bound: float, chosen: I32Array) -> None:
    """The numbers of the len(chosen) largest scores, descending; equal scores by number; -1 where there are fewer.

    As many scores as are chosen reach the bound, or all do.
    """
    t = len(chosen)
    chosen[:] = -1
    filled = 0
    least = score[0]
    for begin in range(0, len(score), STRETCH):
        stop = min(begin + STRETCH, len(score))
        highest = _maximum(score[begin:stop])
        if highest < bound or (filled == t and highest <= least):
            continue
        for j in range(begin, stop):
            v = score[j]
            if v < bound or (filled == t and v <= least):
                continue
            at = min(filled, t - 1)
            while at > 0 and score[chosen[at - 1]] < v:
                chosen[at] = chosen[at - 1]
                at -= 1
            chosen[at] = j
            filled = min(filled + 1, t)
            least = score[chosen[filled - 1]]


@kernel
def _query_bytes(query: I8Array) -> tuple[U8Array, U8Array]:
    """(ceil(M / 8),) ALT bits of the query, and the bits at which it has a call."""
    alleles = np.zeros((len(query) + 7) // 8, dtype=np.uint8)
    called = np.zeros_like(alleles)
    for m in range(len(query)):
        bit = np.uint8(1) << np.uint8(m & 7)
        if query[m] >= 0:
            called[m >> 3] |= bit
        if query[m] == 1:
            alleles[m >> 3] |= bit
    return alleles, called


@leaf
def _mismatch_before(states: U8Array, alleles: U8Array, called: U8Array, m: int, j: int) -> int:
    """The last site at or before m at which candidate j disagrees with the query; -1 if there is none."""
    b = m >> 3
    differ = (states[b, j] ^ alleles[b]) & called[b] & np.uint8((2 << (m & 7)) - 1)
    while differ == 0 and b > 0:
        b -= 1
        differ = (states[b, j] ^ alleles[b]) & called[b]
    return (b << 3) + _HIGHEST[differ] if differ else -1


@leaf
def _mismatch_after(states: U8Array, alleles: U8Array, called: U8Array, m: int, j: int, n_sites: int) -> int:
    """The first site at or after m at which candidate j disagrees with the query; n_sites if there is none."""
    b = m >> 3
    differ = (states[b, j] ^ alleles[b]) & called[b] & np.uint8(0xFF << (m & 7) & 0xFF)
    while differ == 0 and b + 1 < len(alleles):
        b += 1
        differ = (states[b, j] ^ alleles[b]) & called[b]
    return (b << 3) + _LOWEST_OF_BYTE[differ] if differ else n_sites


@leaf
def _find_runs(
    states: U8Array, alleles: U8Array, called: U8Array, homozygous: U8Array, m: int, j: int, n_sites: int, out: I32Array
) -> None:
    """The runs of candidate j around the gap after site m, as `copy_with_evidence` tells them.

    Runs that end later begin to look where the first one ends.

    Args:
        states, alleles, called, homozygous: Bits of the candidates, and of the query.
        m, j, n_sites: Which gap, which candidate, and M.
        out: (6,) filled; as it was left for a gap on the right, or 0 and -1. Between two disagreements all gaps have
            the same runs.
    """
    if out[1] >= m and out[0] <= m + 1:
        return
    before = _mismatch_before(states, alleles, called, m, j)
    after = _mismatch_after(states, alleles, called, m + 1, j, n_sites) if m + 1 < n_sites else n_sites
    out[0], out[1] = before + 1, after - 1
    out[2] = out[4] = 0
    out[3] = out[5] = n_sites - 1
    if before >= 0:
        out[2] = _mismatch_before(states, alleles, homozygous, before, j) + 1
    if before >= 1:
        out[4] = _mismatch_before(states, alleles, called, before - 1, j) + 1
    if after < n_sites:
        out[3] = _mismatch_after(states, alleles, homozygous, after, j, n_sites) - 1
    if after + 1 < n_sites:
        out[5] = _mismatch_after(states, alleles, called, after + 1, j, n_sites) - 1


@leaf
def _together(a: FloatArray, a_scale: float, b: FloatArray, b_scale: float, score: FloatArray) -> None:
    """score = a + b, scaled."""
    for j in range(len(a)):
        score[j] = a[j] * a_scale + b[j] * b_scale


@reordered_leaf
def _squares(values: FloatArray, scale: float) -> float:
    """The sum of the squares of the values, scaled."""
    total = values.dtype.type(0)
    for j in range(len(values)):
        v = values[j] * scale
        total += v * v
    return total


@leaf
def _apart(dosage: FloatArray, wanted: BoolArray, begin: int, end: int) -> float:
    """How far that wanted dosage of sites [begin, end) is from 0 and 1 which is farthest; -1 where none is wanted."""
    one = dosage.dtype.type(1)
    apart = -one
    for i in range(begin, end):
        if wanted[i]:
            apart = max(apart, min(dosage[i], one - dosage[i]))
    return float(apart)


@kernel
def copy_with_evidence(
    states: U8Array,
    checkpoints: FloatArray,
    words: U64Array,
    candidates: I32Array,
    query: I8Array,
    mismatch: FloatArray,
    switch: FloatArray,
    left: I32Array,
    fraction: FloatArray,
    asked: U64Array,
    wanted: BoolArray,
    certain: float,
    certain_among_many: float,
    dosage: FloatArray,
    best: I32Array,
    before: F32Array,
    after: F32Array,
    homozygous: U8Array,
    runs: I32Array,
    effective: F32Array,
) -> None:
    """Dosages as `copy_dosage`, and for observed sites m before uncertain sites the evidence from m to m + 1.

    Args:
        states: As `copying.kernels.begin` makes them.
        checkpoints: (1, ceil(M / BLOCK), padded(K)) as it makes them.
        words, candidates, query, mismatch, switch, left, fraction, dosage: As for `copy_dosage`.
        asked: (ceil(L / 64),) bits of the sites whose dosage is asked for, the wanted ones among them.
        wanted: (L,) sites of interest.
        certain, certain_among_many: A wanted site is uncertain where its dosage is at least so far from 0 and 1, where
            fewer than `FEW` candidates are effective, and where more are.
        best: (M, T) filled with the panel rows of largest posterior at m and m + 1 together; -1 where there are fewer.
        before: (M, T) their posterior at m.
        after: (M, T) their posterior at m + 1 (at m for the last).
        homozygous: (ceil(M / 8),) bits of the observed sites at which both haplotypes of the sample have one allele.
        runs: (M, T, 6) first observed site of the run of agreement that ends at m, m + 1 if they disagree at m; last
            one of the run that starts at m + 1, m if they disagree there; the same of the runs that only homozygous
            sites end, and of those that go on beyond one disagreement.
        effective: (M,) effective number of candidates at m: 1 / sum of squared posteriors.
    """
    m, k = len(query), len(candidates)
    one, count = mismatch.dtype.type(1), mismatch.dtype.type(k)
    by_way = mismatch.reshape(1, -1), switch.reshape(1, -1)
    query_alleles, called = _query_bytes(query)
    rows, totals = np.empty((ROWS, padded(k)), dtype=mismatch.dtype), np.empty(1, dtype=mismatch.dtype)
    for j in range(k):
        rows[BACKWARD, j] = one / count
    score, chosen = np.empty(k, dtype=mismatch.dtype), np.full(best.shape[1], -1, dtype=np.int32)
    found = np.zeros((k, 6), dtype=np.int32)
    for j in range(k):
        found[j, 1] = -1
    bits, turned, places, sums = scratch(words, k, mismatch)
    keep, add, after_scale = one, one - one, one
    for i in range(len(dosage)):
        dosage[i] = 0
    end = len(left)
    for block in range(checkpoints.shape[1] - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        forward_block(states, k, query, *by_way, first, stop, checkpoints, totals, rows)
        following = AFTER
        for i in range(stop - 1, first - 1, -1):
            row = rows[i - first][:k]
            ref, alt = mismatch[i] if query[i] == 1 else one, mismatch[i] if query[i] == 0 else one
            joint, total = step_back(
                rows, i - first, BACKWARD, k, states, i >> 3, mask_of(i & 7, query[i]), ref, alt, keep, add
            )  # fmt: skip
            keep, add = (one - switch[i]) / total, switch[i] / count
            scale = one / joint
            if i == m - 1:
                following, after_scale = i - first, scale
            at = end
            while at > 0 and left[at - 1] == i:
                at -= 1
            fill_dosage(
                words, candidates, asked, turned, bits, at, end, fraction, rows, i - first, scale, following,
                after_scale, places, sums, dosage,
            )  # fmt: skip
            apart = _apart(dosage, wanted, at, end)
            if apart >= certain:
                effective[i] = 1 / _squares(row, scale)
            if apart >= (certain if effective[i] < FEW else certain_among_many):
                after_row = rows[following][:k]
                _together(row, scale, after_row, after_scale, score)
                largest(score, bound_of(score, chosen), chosen)
                for t in range(len(chosen)):
                    j = chosen[t]
                    if j < 0:
                        break
                    before[i, t], after[i, t] = row[j] * scale, after_row[j] * after_scale
                    _find_runs(states, query_alleles, called, homozygous, i, j, m, found[j])
                    runs[i, t] = found[j]
                    best[i, t] = candidates[j]
            end, following, after_scale = at, i - first, scale
        copy_row(rows, 0, rows, AFTER)


@kernel
def read_candidates(
    words: U64Array,
    chosen: I64Array,
    left: I32Array,
    fraction: F32Array,
    site_cm: F64Array,
    observed_cm: F64Array,
    information: F64Array,
    surprise: F32Array,
    best: I32Array,
    before: F32Array,
    after: F32Array,
    runs: I32Array,
    out: F32Array,
) -> None:
    """What one query's best candidates say of some of the sites to impute.

    Args:
        words: (H, ceil(L / 64)) panel bits at the sites to impute.
        chosen: (N,) which of the L sites are asked for, ascending.
        left, fraction: (L,) as in `CopyingSites`.
        site_cm: (L,) genetic positions of the sites to impute.
        observed_cm: (M,) genetic positions of the observed sites.
        information: (M + 1,) running sum over observed sites of -log of the frequency of the query's allele.
        surprise: (L, 2) -log of the imputed probability of REF and of ALT.
        best, before, after, runs: (M, T) and (M, T, 6) as from `copy_with_evidence`.
        out: (12, T, N) filled, see `vcfrag_core.evidence.evidence.CANDIDATE_FEATURES`.
    """
    t_count = best.shape[1]
    sums = np.empty((SUMS, 0), dtype=np.float64)
    begin = 0
    while begin < len(chosen):
        # The sites of a gap share their candidates.
        m, stop = left[chosen[begin]], begin + 1
        while stop < len(chosen) and left[chosen[stop]] == m:
            stop += 1
        low, high = max(0, chosen[begin] - NEARBY_SITES), min(len(left), chosen[stop - 1] + NEARBY_SITES + 1)
        if sums.shape[1] < high - low + 1:
            sums = np.empty((SUMS, high - low + 1), dtype=np.float64)
        out[:, :, begin:stop] = 0
        t = 0
        while t < t_count and best[m, t] >= 0:
            if t % SUMS == 0:
                _sum_up(words, best[m], t, surprise, low, high, sums)
            row, total = words[best[m, t]], sums[t % SUMS]
            p, rise = before[m, t], after[m, t] - before[m, t]
            first, last = runs[m, t, 0], runs[m, t, 1]
            n_left, n_right = max(0, m + 1 - first), max(0, last - m)
            nats = information[max(last, m) + 1] - information[min(first, m + 1)]
            for n in range(begin, stop):
                i = chosen[n]
                alt = (row[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)
                out[0, t, n] = p + fraction[i] * rise
                out[1, t, n] = 1 if alt else -1
                out[4, t, n], out[5, t, n], out[6, t, n] = n_left, n_right, nats
                near = total[min(high, i + NEARBY_SITES + 1) - low] - total[max(low, i - NEARBY_SITES) - low]
                out[7, t, n] = max(0.0, near - surprise[i, alt])
            for kind in range(3):
                first, last = runs[m, t, 2 * kind], runs[m, t, 2 * kind + 1]
                begins = observed_cm[first] if first <= m else np.inf
                ends = observed_cm[last] if last > m else -np.inf
                at = 2 if kind == 0 else 6 + 2 * kind
                for n in range(begin, stop):
                    out[at, t, n] = max(0.0, site_cm[chosen[n]] - begins)
                    out[at + 1, t, n] = max(0.0, ends - site_cm[chosen[n]])
            t += 1
        begin = stop


@leaf
def _sum_up(
    words: U64Array, best: I32Array, t: int, surprise: F32Array, low: int, high: int, sums: F64Array
) -> None:  # fmt: skip
    """Running sums, from 0, of the surprise at the alleles of sites [low, high), of SUMS candidates from number t on.

    Those of several at once, as each addition waits for the one before. Of fewer, the last ones count again.
    """
    last = t
    while last + 1 < min(len(best), t + SUMS) and best[last + 1] >= 0:
        last += 1
    a, b, c, d = best[t], best[min(t + 1, last)], best[min(t + 2, last)], best[min(t + 3, last)]
    of_a, of_b, of_c, of_d = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
    sums[:, 0] = 0
    for i in range(low, high):
        word, down, to = i >> 6, np.uint64(i & 63), i - low + 1
        of_a += surprise[i, (words[a, word] >> down) & np.uint64(1)]
        of_b += surprise[i, (words[b, word] >> down) & np.uint64(1)]
        of_c += surprise[i, (words[c, word] >> down) & np.uint64(1)]
        of_d += surprise[i, (words[d, word] >> down) & np.uint64(1)]
        sums[0, to], sums[1, to], sums[2, to], sums[3, to] = of_a, of_b, of_c, of_d
