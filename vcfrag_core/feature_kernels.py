"""What the best candidates of a query look like around every site: compiled, beside the dosages.

One backward sweep gives the dosages and, for every observed site, the T candidates of largest posterior between it
and the next observed site. A second kernel reads what they say of the sites to impute.
"""

# Scalars are of the arrays' own float type, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment,return-value"

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.copying_kernels import BLOCK, _add_block_dosage, _block_posteriors, _forward, gather_states
from vcfrag_core.types import F32Array, F64Array, FloatArray, I8Array, I32Array, I64Array, U8Array, U64Array

NEARBY_SITES = 24

_HIGHEST = np.array([-1] + [int(np.log2(byte)) for byte in range(1, 256)], dtype=np.int64)
_LOWEST_OF_BYTE = np.array([8] + [(byte & -byte).bit_length() - 1 for byte in range(1, 256)], dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def _largest(score: FloatArray, chosen: I32Array) -> None:
    """The numbers of the len(chosen) largest scores, descending; equal scores by number; -1 where there are fewer."""
    t = len(chosen)
    chosen[:] = -1
    filled = 0
    least = -np.inf
    for j in range(len(score)):
        v = score[j]
        if filled == t and v <= least:
            continue
        at = min(filled, t - 1)
        while at > 0 and score[chosen[at - 1]] < v:
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = j
        filled = min(filled + 1, t)
        least = score[chosen[filled - 1]]


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _mismatch_before(states: U8Array, alleles: U8Array, called: U8Array, m: int, j: int) -> int:
    """The last site at or before m at which candidate j disagrees with the query; -1 if there is none."""
    b = m >> 3
    differ = (states[b, j] ^ alleles[b]) & called[b] & np.uint8((2 << (m & 7)) - 1)
    while differ == 0 and b > 0:
        b -= 1
        differ = (states[b, j] ^ alleles[b]) & called[b]
    return (b << 3) + _HIGHEST[differ] if differ else -1


@numba.njit(cache=True, nogil=True)
def _mismatch_after(states: U8Array, alleles: U8Array, called: U8Array, m: int, j: int, n_sites: int) -> int:
    """The first site at or after m at which candidate j disagrees with the query; n_sites if there is none."""
    b = m >> 3
    differ = (states[b, j] ^ alleles[b]) & called[b] & np.uint8(0xFF << (m & 7) & 0xFF)
    while differ == 0 and b + 1 < len(alleles):
        b += 1
        differ = (states[b, j] ^ alleles[b]) & called[b]
    return (b << 3) + _LOWEST_OF_BYTE[differ] if differ else n_sites


@numba.njit(cache=True, nogil=True, fastmath=True)
def copy_with_evidence(
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
    best: I32Array,
    before: F32Array,
    after: F32Array,
    match_first: I32Array,
    match_last: I32Array,
    effective: F32Array,
) -> None:
    """Dosages as `copy_dosage`, and for the observed sites m around the sites to impute the evidence from m to m + 1.

    Args:
        observed, words, candidates, query, mismatch, switch, left, fraction, prune, dosage: As for `copy_dosage`.
        best: (M, T) filled with the panel rows of largest posterior at m and m + 1 together; -1 where there are fewer.
        before: (M, T) their posterior at m.
        after: (M, T) their posterior at m + 1 (at m for the last).
        match_first: (M, T) first observed site of the run of agreement that ends at m; m + 1 if they disagree at m.
        match_last: (M, T) last observed site of the run that starts at m + 1; m if they disagree there.
        effective: (M,) effective number of candidates at m: 1 / sum of squared posteriors.
    """
    m, k = len(query), len(candidates)
    states = gather_states(observed, candidates)
    alleles, called = _query_bytes(query)
    n_blocks = (m + BLOCK - 1) // BLOCK
    checkpoints = np.empty((n_blocks, k), dtype=mismatch.dtype)
    _forward(states, query, mismatch, switch, checkpoints)
    posterior = np.empty((BLOCK + 1, k), dtype=mismatch.dtype)
    following = np.empty(k, dtype=mismatch.dtype)
    backward = np.full(k, 1.0 / k, dtype=mismatch.dtype)
    score = np.empty(k, dtype=mismatch.dtype)
    dosage[:] = 0
    end = len(left)
    for block in range(n_blocks - 1, -1, -1):
        first, stop = block * BLOCK, min(m, block * BLOCK + BLOCK)
        _block_posteriors(states, query, mismatch, switch, first, stop, checkpoints[block], backward, posterior)
        posterior[stop - first, :] = posterior[stop - first - 1] if stop == m else following
        following[:] = posterior[0]
        begin = np.searchsorted(left[:end], first)
        if begin == end:
            continue
        _add_block_dosage(posterior, stop - first, first, words, candidates, begin, end, left, fraction, prune, dosage)
        for i in range(max(first, left[begin]), min(stop, left[end - 1] + 1)):
            row = i - first
            squares = mismatch.dtype.type(0)
            for j in range(k):
                score[j] = posterior[row, j] + posterior[row + 1, j]
                squares += posterior[row, j] * posterior[row, j]
            effective[i] = 1 / squares
            _largest(score, best[i])
            for t in range(best.shape[1]):
                j = best[i, t]
                if j < 0:
                    break
                before[i, t], after[i, t] = posterior[row, j], posterior[row + 1, j]
                match_first[i, t] = _mismatch_before(states, alleles, called, i, j) + 1
                match_last[i, t] = i
                if i + 1 < m:
                    match_last[i, t] = _mismatch_after(states, alleles, called, i + 1, j, m) - 1
                best[i, t] = candidates[j]
        end = begin
    for i in range(len(dosage)):
        dosage[i] = min(dosage[i], 1.0)


@numba.njit(cache=True, nogil=True, fastmath=True)
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
    match_first: I32Array,
    match_last: I32Array,
    out: F32Array,
) -> None:
    """What one query's best candidates say of some of the sites to impute.

    Args:
        words: (H, ceil(L / 64)) panel bits at the sites to impute.
        chosen: (N,) which of the L sites are asked for.
        left, fraction: (L,) as in `CopyingSites`.
        site_cm: (L,) genetic positions of the sites to impute.
        observed_cm: (M,) genetic positions of the observed sites.
        information: (M + 1,) running sum over observed sites of -log of the frequency of the query's allele.
        surprise: (L, 2) -log of the imputed probability of REF and of ALT.
        best, before, after, match_first, match_last: (M, T) as from `copy_with_evidence`.
        out: (N, T, 8) filled, see `vcfrag_core.features.CANDIDATE_FEATURES`.
    """
    n_sites, t_count = len(left), best.shape[1]
    for n in range(len(chosen)):
        i = chosen[n]
        m = left[i]
        for t in range(t_count):
            h = best[m, t]
            if h < 0:
                out[n, t:, :] = 0
                break
            row = words[h]
            a, b = match_first[m, t], match_last[m, t]
            out[n, t, 0] = before[m, t] + fraction[i] * (after[m, t] - before[m, t])
            out[n, t, 1] = 1 if (row[i >> 6] >> np.uint64(i & 63)) & np.uint64(1) else -1
            out[n, t, 2] = max(0.0, site_cm[i] - observed_cm[a]) if a <= m else 0
            out[n, t, 3] = max(0.0, observed_cm[b] - site_cm[i]) if b > m else 0
            out[n, t, 4] = max(0, m + 1 - a)
            out[n, t, 5] = max(0, b - m)
            out[n, t, 6] = information[max(b, m) + 1] - information[min(a, m + 1)]
            strange = np.float32(0)
            for near in range(max(0, i - NEARBY_SITES), min(n_sites, i + NEARBY_SITES + 1)):
                if near != i:
                    strange += surprise[near, (row[near >> 6] >> np.uint64(near & 63)) & np.uint64(1)]
            out[n, t, 7] = strange
