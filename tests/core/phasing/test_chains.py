"""Compiled haploid chains beside the likelihood of every phase, copied from a small panel site after site."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.phasing.test_diploid import words_of
from vcfrag_core.phasing.chains import ChainModel, lay_steps, sweep
from vcfrag_core.phasing.ranking import gather_neighbours, gather_rows
from vcfrag_core.types import BoolArray, F64Array, I8Array, U8Array

MISMATCH = 0.02


def model_of(
    haplotypes: U8Array,
    genotypes: I8Array,
    switch: F64Array,
    windows: list[int],
    rows: list[list[int]],
    *,
    max_sites: int = 1,
    flips: BoolArray | None = None,
    crosses: BoolArray | None = None,
) -> ChainModel:
    padded = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)
    for w, mine in enumerate(rows):
        padded[w, : len(mine)] = mine
    free = np.ones(len(genotypes), dtype=np.bool_)
    m = len(genotypes)
    steps, first_steps = lay_steps(np.arange(m) / m, genotypes, np.array(windows), max_sites, 0.5)
    return ChainModel(
        words=words_of(haplotypes),
        rows=padded,
        sizes=np.array([len(mine) for mine in rows]),
        steps=steps,
        windows=first_steps,
        genotypes=genotypes,
        flips=free if flips is None else flips,
        crosses=free if crosses is None else crosses,
        switch=switch[steps[:-1]].astype(np.float32),
        mismatch=MISMATCH,
    )


def likelihood(model: ChainModel, haplotypes: U8Array, alleles: I8Array) -> float:
    """P(alleles of one haplotype), all -1 missing, summed over whom it copies in each step."""
    at = np.zeros(len(haplotypes))
    for w, (start, stop) in enumerate(itertools.pairwise(model.windows.tolist())):
        sites = range(model.steps[start], model.steps[stop])
        allowed = np.zeros(len(haplotypes))
        allowed[model.rows[w, : model.sizes[w]]] = 1 / model.sizes[w]
        at = allowed.copy() if w == 0 else np.where(allowed > 0, at, 0) + at[allowed == 0].sum() * allowed
        for b, m in ((int(np.searchsorted(model.steps, m, "right")) - 1, m) for m in sites):
            if b and m == model.steps[b]:
                at = (1 - model.switch[b]) * at + model.switch[b] * at.sum() * allowed
            if alleles[m] >= 0:
                at = at * np.where(haplotypes[:, m] == alleles[m], 1 - MISMATCH, MISMATCH)
    return float(at.sum())


def joint(model: ChainModel, haplotypes: U8Array, phase: I8Array) -> float:
    g = model.genotypes
    first = np.where(g == 1, phase, g // 2).astype(np.int8)
    second = np.where(g == 1, 1 - phase, g // 2).astype(np.int8)
    return likelihood(model, haplotypes, first) * likelihood(model, haplotypes, second)


def swept_by_hand(model: ChainModel, haplotypes: U8Array, phase: I8Array) -> tuple[I8Array, F64Array]:
    """A greedy sweep that works out each of the four choices from nothing, and the probability of lying as before."""
    now, same = phase.copy(), np.zeros(len(phase))
    hets = np.flatnonzero(model.genotypes == 1).tolist()
    for k, m in enumerate(hets):
        choices, weights = [], []
        for turn, cross in itertools.product((0, 1), (0, 1)):
            if (turn and (k == 0 or not model.flips[m])) or (cross and not model.crosses[m]):
                continue
            other = now.copy()
            other[m] ^= turn
            other[[h for h in hets if h > m]] ^= cross
            choices.append(other)
            weights.append(joint(model, haplotypes, other))
        if k:
            as_before = [w for other, w in zip(choices, weights, strict=True) if other[m] == now[hets[k - 1]]]
            same[m] = sum(as_before) / sum(weights)
        best = int(np.argmax(weights))
        if weights[best] > 1.001 * weights[0]:
            now = choices[best]
    return now, same


@st.composite
def cases(draw_value: st.DrawFn) -> tuple[ChainModel, U8Array, I8Array]:
    rng = np.random.default_rng(draw_value(st.integers(0, 10_000)))
    h, m = draw_value(st.integers(2, 7)), draw_value(st.integers(1, 9))
    haplotypes = rng.integers(0, 2, (h, m)).astype(np.uint8)
    genotypes = rng.choice(np.array([-1, 0, 1, 1, 2], dtype=np.int8), m)
    windows = sorted({0, m, *rng.integers(0, m + 1, 2).tolist()})
    rows = [sorted(rng.choice(h, rng.integers(1, h + 1), replace=False).tolist()) for _ in windows[1:]]
    free = [rng.random(m) < 0.8 for _ in range(2)]
    model = model_of(
        haplotypes, genotypes, rng.uniform(0.01, 0.5, m), windows, rows, max_sites=draw_value(st.integers(1, 4)),
        flips=free[0], crosses=free[1],
    )  # fmt: skip
    return model, haplotypes, np.where(genotypes == 1, rng.integers(0, 2, m), 0).astype(np.int8)


@given(cases())
def test_sweep__decides_as_the_likelihoods_of_whole_phases_do(case: tuple[ChainModel, U8Array, I8Array]) -> None:
    model, haplotypes, phase = case
    mine, same = phase[None].copy(), np.zeros(len(phase))
    changes = sweep(model, 3, True, 0, mine, same)
    expected, same_expected = swept_by_hand(model, haplotypes, phase)
    assert joint(model, haplotypes, mine[0]) == pytest.approx(joint(model, haplotypes, expected), rel=2e-3)
    if np.array_equal(mine[0], expected):
        assert same == pytest.approx(same_expected, abs=2e-4)
    assert bool(changes) or np.array_equal(mine[0], phase)


def test_sweep__draws_have_the_posterior() -> None:
    rng = np.random.default_rng(5)
    haplotypes = rng.integers(0, 2, (6, 6)).astype(np.uint8)
    genotypes = np.array([1, 1, 0, 1, -1, 1], dtype=np.int8)
    model = model_of(haplotypes, genotypes, np.full(6, 0.3), [0, 3, 6], [[0, 1, 2, 3, 4, 5], [0, 2, 3, 5]])
    hets = np.flatnonzero(genotypes == 1)
    n = 20_000
    phases = np.zeros((n, 6), dtype=np.int8)
    phases[:, hets] = rng.integers(0, 2, (n, len(hets)))
    same = np.zeros(6)
    for key in range(6):
        same[:] = 0
        sweep(model, key, False, 0, phases, same)
    every = np.array(list(itertools.product((0, 1), repeat=len(hets))), dtype=np.int8)
    weights = []
    for phase in every:
        whole = np.zeros(6, dtype=np.int8)
        whole[hets] = phase
        weights.append(joint(model, haplotypes, whole))
    p = np.array(weights) / sum(weights)
    code = 1 << np.arange(len(hets))
    counts = np.bincount(phases[:, hets] @ code, minlength=2 ** len(hets))
    for phase, share in zip(every, p, strict=True):
        assert abs(counts[int(phase @ code)] / n - share) < 5 * np.sqrt(share * (1 - share) / n)
    for k in range(1, len(hets)):
        assert same[hets[k]] / n == pytest.approx(p[every[:, k] == every[:, k - 1]].sum(), abs=0.02)


def test_sweep__draws_depend_on_their_number_alone() -> None:
    rng = np.random.default_rng(6)
    haplotypes = rng.integers(0, 2, (8, 70)).astype(np.uint8)
    genotypes = rng.integers(0, 3, 70).astype(np.int8)
    everyone = list(range(8))
    model = model_of(haplotypes, genotypes, np.full(70, 0.2), [0, 30, 70], [everyone, everyone])
    phases = np.where(genotypes == 1, rng.integers(0, 2, (5, 70)), 0).astype(np.int8)
    together, apart = phases.copy(), phases.copy()
    sweep(model, 9, False, 0, together, np.zeros(70))
    sweep(model, 9, False, 0, apart[:2], np.zeros(70))
    sweep(model, 9, False, 2, apart[2:], np.zeros(70))
    assert np.array_equal(together, apart)
    assert not np.array_equal(together, phases)


def test_lay_steps__end_at_heterozygotes_and_windows() -> None:
    genotypes = np.array([0, 1, 2, 2, -1, 0, 0, 1, 1, 0], dtype=np.int8)
    cm = np.array([0, 1, 2, 3, 4, 5, 9, 10, 11, 12]) / 10
    steps, windows = lay_steps(cm, genotypes, np.array([0, 3, 10]), 3, 0.35)
    assert steps.tolist() == [0, 2, 3, 6, 8, 9, 10]
    assert windows.tolist() == [0, 2, 6]


def test_gather_rows__takes_windows_beside_and_the_most_frequent() -> None:
    candidates = np.array([[0, 1], [1, 2], [5, 6], [7, 6]], dtype=np.int32)
    rows, counts = np.zeros((4, 3), dtype=np.int32), np.zeros((4, 3), dtype=np.int32)
    sizes = np.zeros(4, dtype=np.int64)
    gather_rows(candidates, np.arange(5), 8, rows, counts, sizes)
    assert [rows[w, : sizes[w]].tolist() for w in range(4)] == [[0, 1, 2], [0, 1, 2], [1, 2, 6], [5, 6, 7]]
    gather_rows(candidates[::-1].copy(), np.arange(5), 8, rows, counts, sizes)
    assert counts[0, :3].tolist() != [1, 2, 1]
    assert (np.diff(rows, axis=1) > 0).all()


def test_gather_neighbours__takes_segments_that_touch_a_window_or_one_beside() -> None:
    ids = np.array([[[0, 3], [3, -1]], [[1, -1], [1, 4]], [[5, 2], [2, 6]]], dtype=np.int32)
    starts, stops = np.array([0, 4, 9], dtype=np.int32), np.array([4, 9, 12], dtype=np.int32)
    rows, counts = np.zeros((4, 4), dtype=np.int32), np.zeros((4, 4), dtype=np.int32)
    rows[0, 0], counts[0, 0] = 7, 5
    sizes = np.array([1, 0, 0, 0])
    gather_neighbours(ids, starts, stops, np.array([0, 2, 4, 8, 12]), 8, rows, counts, sizes)
    # All seven touch the third window or those beside: 1, 2 and 3 twice, and of the others the first is kept.
    expected = [[0, 3, 7], [0, 1, 3, 4], [0, 1, 2, 3], [1, 2, 4, 5]]
    assert [rows[w, : sizes[w]].tolist() for w in range(4)] == expected
