"""The copying layer as one would first write it: the baselines of its kernel, over the same work."""

from __future__ import annotations

import numba
import numpy as np

from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.reference import dosage_reference, posterior_reference
from vcfrag_core.types import F32Array, F64Array, FloatArray, I8Array, I32Array, U8Array


def by_numpy(problem: CopyingProblem, haplotypes: U8Array, q: int, weights: FloatArray, switch: FloatArray) -> F64Array:
    """(L,) dosages of one query in float64, one NumPy operation over all candidates after another."""
    sites, chosen = problem.sites, haplotypes[problem.candidates[q]]
    states = np.ascontiguousarray(chosen[:, sites.observed].T).astype(np.int8)
    posterior = posterior_reference(states, problem.queries[q], weights.astype(float), switch.astype(float))
    return dosage_reference(posterior, sites.left, sites.fraction, chosen[:, sites.sites].T.astype(np.int8))


def by_loops(problem: CopyingProblem, haplotypes: U8Array, q: int, weights: FloatArray, switch: FloatArray) -> F32Array:
    """(L,) dosages of one query by compiled loops that keep every posterior."""
    sites, chosen = problem.sites, haplotypes[problem.candidates[q]]
    return _loops(
        np.ascontiguousarray(chosen[:, sites.observed].T),
        np.ascontiguousarray(chosen[:, sites.sites].T),
        problem.queries[q], np.exp(-weights), switch, sites.left, sites.fraction,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _loops(
    states: U8Array, alleles: U8Array, query: I8Array, mismatch: F32Array, switch: F32Array, left: I32Array,
    fraction: F32Array,
) -> F32Array:  # fmt: skip
    m, k = states.shape
    one = np.float32(1)
    forward, backward = np.empty((m, k), np.float32), np.empty((m, k), np.float32)
    for i in range(m):
        total = np.float32(0)
        for j in range(k):
            start = one / np.float32(k) if i == 0 else (one - switch[i]) * forward[i - 1, j] + switch[i] / np.float32(k)
            e = mismatch[i] if query[i] >= 0 and states[i, j] != query[i] else one
            forward[i, j] = start * e
            total += forward[i, j]
        for j in range(k):
            forward[i, j] /= total
    backward[m - 1, :] = one
    for i in range(m - 2, -1, -1):
        total = np.float32(0)
        for j in range(k):
            e = mismatch[i + 1] if query[i + 1] >= 0 and states[i + 1, j] != query[i + 1] else one
            backward[i, j] = e * backward[i + 1, j]
            total += backward[i, j]
        for j in range(k):
            backward[i, j] = (one - switch[i + 1]) * backward[i, j] / total + switch[i + 1] / np.float32(k)
    for i in range(m):
        total = np.float32(0)
        for j in range(k):
            forward[i, j] *= backward[i, j]
            total += forward[i, j]
        for j in range(k):
            forward[i, j] /= total
    return _interpolated(forward, alleles, left, fraction)


@numba.njit(cache=True, nogil=True)
def _interpolated(posterior: F32Array, alleles: U8Array, left: I32Array, fraction: F32Array) -> F32Array:
    m, k = posterior.shape
    dosage = np.zeros(len(left), np.float32)
    for s in range(len(left)):
        a = left[s]
        b = min(a + 1, m - 1)
        total = np.float32(0)
        for j in range(k):
            if alleles[s, j] == 1:
                total += (np.float32(1) - fraction[s]) * posterior[a, j] + fraction[s] * posterior[b, j]
        dosage[s] = total
    return dosage
