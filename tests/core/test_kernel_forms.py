"""Compiled kernels give the same bits wherever their arrays lie in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from vcfrag_core.copying import gradient as copying_gradient
from vcfrag_core.copying import kernels as copying_kernels
from vcfrag_core.evidence import kernels as feature_kernels

f, ff = numba.float32[::1], numba.float32[:, ::1]
u, uu = numba.uint8[::1], numba.uint8[:, ::1]
q, i, ii = numba.int8[::1], numba.int32[::1], numba.int32[:, ::1]
fff = numba.float32[:, :, ::1]
iii = numba.int32[:, :, ::1]
flags, w, ww = numba.boolean[::1], numba.uint64[::1], numba.uint64[:, ::1]

KERNELS = {
    "copy_ways": (copying_kernels.copy_ways, (uu, fff, ww, i, q, ff, ff, i, f, w, ff)),
    "copy_with_evidence": (
        feature_kernels.copy_with_evidence,
        (uu, fff, ww, i, q, f, f, i, f, w, flags, numba.float64, numba.float64, f, ii, ff, ff, u, iii, f),
    ),
    "copy_gradient": (copying_gradient.copy_gradient, (uu, uu, i, q, f, f, i, f, f, f, f)),
}


SUM = re.compile(r"phi <\d+ x (float|double)>")


def guarded_sums(llvm: str) -> list[str]:
    """The vector loops that add up floats behind a test for overlapping arrays."""
    return [loop for function in llvm.split("\ndefine ") for loop in _guarded_sums_of_one(function)]


def _guarded_sums_of_one(function: str) -> list[str]:
    blocks = dict(re.findall(r"^([\w.]+):[^\n]*\n(.*?)(?=^\S|\Z)", function, re.MULTILINE | re.DOTALL))
    waiting = [name for name in blocks if name.startswith("vector.memcheck")]
    reached = set(waiting)
    while waiting:
        new = set(re.findall(r"label %(vector\.[\w.]+)", blocks[waiting.pop()])) - reached
        reached |= new
        waiting += new
    return [name for name in sorted(reached) if SUM.search(blocks[name])]


def compiled(kernel: Any, signature: tuple[Any, ...]) -> str:
    """Optimised LLVM code of a kernel; what comes out of Numba's cache cannot be looked at."""
    fresh = numba.njit(**{k: v for k, v in kernel.targetoptions.items() if k in ("nogil", "fastmath")})(kernel.py_func)
    fresh.compile(signature)
    llvm: str = fresh.inspect_llvm(signature)
    return llvm


@pytest.mark.parametrize("name", KERNELS)
def test_kernels__no_sum_depends_on_where_arrays_lie(name: str) -> None:
    llvm = compiled(*KERNELS[name])
    assert SUM.search(llvm)
    assert guarded_sums(llvm) == []


def test_guarded_sums__finds_one() -> None:
    @numba.njit(fastmath=True)
    def scale(source: Any, target: Any) -> Any:
        total = np.float32(0)
        for k in range(len(source)):
            target[k] = source[k] + target[k]
            total += target[k]
        return total

    assert guarded_sums(compiled(scale, (f, f)))


@pytest.mark.parametrize("n_candidates", [9, 15, 100])
def test_evidence__the_same_bytes_in_a_disturbed_heap(
    n_candidates: int, evidence_bytes: Callable[[int], Callable[[], bytes]]
) -> None:
    rng = np.random.default_rng(0)
    run = evidence_bytes(n_candidates)
    first, others = run(), []
    for _ in range(2000):
        others.append(np.empty(int(rng.integers(1, 4 * n_candidates + 200)), np.float32))
        if len(others) > 40:
            for _ in range(int(rng.integers(1, 20))):
                others.pop(int(rng.integers(len(others))))
        assert run() == first


@pytest.fixture
def evidence_bytes() -> Callable[[int], Callable[[], bytes]]:
    """Makes a function that copies one fixed haplotype from so many candidates and returns all that it fills."""

    def make(n_candidates: int, n_observed: int = 70, n_sites: int = 90, n_best: int = 12) -> Callable[[], bytes]:
        rng = np.random.default_rng(n_candidates)
        observed = rng.integers(0, 256, ((n_observed + 7) // 8, n_candidates)).astype(np.uint8)
        words = rng.integers(0, 2**64, (n_candidates, (n_sites + 63) // 64), dtype=np.uint64)
        query = rng.integers(0, 2, n_observed).astype(np.int8)
        mismatch, switch = (np.full(n_observed, value, np.float32) for value in (0.3, 0.05))
        left = np.sort(rng.integers(0, n_observed, n_sites)).astype(np.int32)
        fraction = rng.random(n_sites).astype(np.float32)

        def run() -> bytes:
            dosage, effective = np.zeros(n_sites, np.float32), np.zeros(n_observed, np.float32)
            before, after = np.zeros((2, n_observed, n_best), np.float32)
            best, runs = np.full((n_observed, n_best), -1, np.int32), np.full((n_observed, n_best, 6), -1, np.int32)
            candidates = np.arange(n_candidates, dtype=np.int32)
            begun = copying_kernels.begin(observed, candidates, query, mismatch[None], switch[None])
            feature_kernels.copy_with_evidence(
                *begun, words, candidates, query, mismatch, switch, left, fraction,
                np.full(words.shape[1], 2**64 - 1, np.uint64), np.ones(n_sites, bool), 1e-3, 1e-2, dosage,
                best, before, after, np.packbits(query == 0, bitorder="little"), runs, effective,
            )  # fmt: skip
            return b"".join(a.tobytes() for a in (dosage, best, before, after, runs, effective))

        return run

    return make
