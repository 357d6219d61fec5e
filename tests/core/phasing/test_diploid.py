"""Compiled diploid copying beside the posterior over all pairs of haplotypes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.phasing.diploid.kernels import DiploidModel, draw_phases
from vcfrag_core.phasing.diploid.reference import phase_posterior_reference
from vcfrag_core.types import F64Array, I8Array, U8Array

MISMATCH = 0.01


def words_of(haplotypes: U8Array) -> np.ndarray:
    packed = np.zeros((len(haplotypes), 8 * (-(-haplotypes.shape[1] // 64))), dtype=np.uint8)
    bits = np.packbits(haplotypes, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view(np.uint64)


def model_of(
    haplotypes: U8Array,
    genotypes: I8Array,
    switch: F64Array,
    *,
    blocks: list[int] | None = None,
    segments: list[int] | None = None,
    groups: list[int] | None = None,
    candidates: list[list[int]] | None = None,
    first: I8Array | None = None,
    fresh: list[int] | None = None,
) -> DiploidModel:
    """One block a site, one segment and all haplotypes as candidates unless said otherwise."""
    m = len(genotypes)
    borders = np.array(blocks if blocks is not None else range(m + 1))
    n_blocks = len(borders) - 1
    parts = np.array(segments if segments is not None else [0, n_blocks])
    n_segments = len(parts) - 1
    everyone = [list(range(len(haplotypes)))] * n_segments
    return DiploidModel(
        words=words_of(haplotypes),
        candidates=np.array(candidates if candidates is not None else everyone, dtype=np.int32),
        blocks=borders,
        segments=parts,
        groups=np.array(groups if groups is not None else [0, n_segments]),
        genotypes=genotypes,
        first=np.full(m, -1, dtype=np.int8) if first is None else first,
        fresh=np.array(fresh if fresh is not None else [0] * n_blocks, dtype=np.int8),
        switch=switch[borders[:-1]].astype(np.float32),
        mismatch=np.float32(MISMATCH),
    )


def draw(model: DiploidModel, n_draws: int, key: int = 7) -> tuple[I8Array, np.ndarray, float]:
    """(D, n) alleles of the first haplotype at the heterozygotes, (D, B, 2) copied haplotypes, the log likelihood."""
    phases = np.zeros((n_draws, len(model.genotypes)), dtype=np.int8)
    copied = np.zeros((n_draws, len(model.blocks) - 1, 2), dtype=np.int32)
    log_likelihood = draw_phases(model, key, phases, copied)
    return phases[:, model.genotypes == 1], copied, log_likelihood


def assert_drawn_from(drawn: I8Array, phases: I8Array, probability: F64Array) -> None:
    """Each phase is drawn about as often as it should be: within five standard deviations."""
    code = 1 << np.arange(drawn.shape[1])
    counts = {int(key): int(n) for key, n in zip(*np.unique(drawn @ code, return_counts=True), strict=True)}
    n = len(drawn)
    for phase, p in zip(phases, probability, strict=True):
        share = counts.pop(int(phase @ code), 0) / n
        assert abs(share - p) <= 5 * np.sqrt(max(0.0, p * (1 - p)) / n) + 2 / n, (phase, share, p)
    assert not counts


@st.composite
def cases(draw_value: st.DrawFn) -> tuple[U8Array, I8Array, F64Array]:
    rng = np.random.default_rng(draw_value(st.integers(0, 10_000)))
    h, m = draw_value(st.integers(2, 6)), draw_value(st.integers(1, 7))
    haplotypes = rng.integers(0, 2, (h, m)).astype(np.uint8)
    genotypes = rng.integers(-1, 3, m).astype(np.int8)
    return haplotypes, genotypes, rng.uniform(0.01, 0.5, m)


@given(cases(), st.integers(0, 10_000))
def test_draw_phases__agrees_with_all_pairs(case: tuple[U8Array, I8Array, F64Array], key: int) -> None:
    haplotypes, genotypes, switch = case
    phases, probability, expected = phase_posterior_reference(haplotypes, genotypes, switch, MISMATCH)
    drawn, _, log_likelihood = draw(model_of(haplotypes, genotypes, switch), 4000, key)
    assert log_likelihood == pytest.approx(expected, abs=1e-4)
    assert_drawn_from(drawn, phases, probability)


@given(cases(), st.integers(0, 10_000))
def test_draw_phases__candidates_may_change(case: tuple[U8Array, I8Array, F64Array], seed: int) -> None:
    haplotypes, genotypes, switch = case
    m = len(genotypes)
    rng = np.random.default_rng(seed)
    cut, k = int(rng.integers(1, m)) if m > 1 else 1, int(rng.integers(1, len(haplotypes) + 1))
    rows = rng.permutation(len(haplotypes))[:k]
    others = [int(row) for row in np.setdiff1d(np.arange(len(haplotypes)), rows)]
    later = [others.pop() if others and rng.random() < 0.5 else int(row) for row in rows]
    in_two = m > 1
    model = model_of(
        haplotypes, genotypes, switch,
        segments=[0, cut, m] if in_two else None,
        groups=[0, 1, 2] if in_two and seed % 2 else None,
        candidates=[rows.tolist(), later] if in_two else [rows.tolist()],
    )  # fmt: skip
    candidates = np.array([rows if site < cut else later for site in range(m)])
    phases, probability, expected = phase_posterior_reference(
        haplotypes, genotypes, switch, MISMATCH, candidates=candidates
    )
    drawn, copied, log_likelihood = draw(model, 4000, seed)
    assert log_likelihood == pytest.approx(expected, abs=1e-4)
    assert_drawn_from(drawn, phases, probability)
    assert all(set(copied[:, site].ravel().tolist()) <= set(candidates[site].tolist()) for site in range(m))


@given(cases(), st.integers(0, 10_000))
def test_draw_phases__keeps_phase_sets(case: tuple[U8Array, I8Array, F64Array], seed: int) -> None:
    haplotypes, genotypes, switch = case
    m = len(genotypes)
    rng = np.random.default_rng(seed)
    cut = int(rng.integers(0, m + 1))
    known = (genotypes == 1) & (rng.random(m) < 0.7)
    sets = np.where(known, (np.arange(m) >= cut).astype(np.int64), -1)
    first = np.where(known, rng.integers(0, 2, m), -1).astype(np.int8)
    starts = [int(np.flatnonzero(sets == number)[0]) for number in (0, 1) if (sets == number).any()]
    phases, probability, expected = phase_posterior_reference(
        haplotypes, genotypes, switch, MISMATCH, sets=sets, first=first
    )
    model = model_of(haplotypes, genotypes, switch, first=first, fresh=[int(site in starts) for site in range(m)])
    drawn, _, log_likelihood = draw(model, 4000, seed)
    assert log_likelihood == pytest.approx(expected, abs=1e-4)
    # Which of both haplotypes is called the first means nothing.
    turned = phases[:, :1].ravel() == 1 if phases.shape[1] else np.zeros(len(phases), dtype=np.bool_)
    assert_drawn_from(drawn ^ drawn[:, :1], phases[~turned], probability[~turned] * (2 if phases.shape[1] else 1))


def test_draw_phases__blocks_are_sites_without_switches_between() -> None:
    rng = np.random.default_rng(3)
    haplotypes = rng.integers(0, 2, (5, 8)).astype(np.uint8)
    genotypes = np.array([1, 0, 1, 1, -1, 2, 1, 1], dtype=np.int8)
    switch = np.where(np.arange(8) % 2 == 0, 0.2, 0.0)
    phases, probability, expected = phase_posterior_reference(haplotypes, genotypes, switch, MISMATCH)
    drawn, _, log_likelihood = draw(model_of(haplotypes, genotypes, switch, blocks=[0, 2, 4, 6, 8]), 4000)
    assert log_likelihood == pytest.approx(expected, abs=1e-4)
    assert_drawn_from(drawn, phases, probability)


def test_draw_phases__nothing_underflows_where_nothing_matches() -> None:
    haplotypes = np.zeros((3, 16), dtype=np.uint8)
    genotypes = np.full(16, 2, dtype=np.int8)
    genotypes[:2] = 1
    model = model_of(haplotypes, genotypes, np.full(16, 0.1), blocks=[0, 16])._replace(mismatch=np.float32(1e-6))
    drawn, _, log_likelihood = draw(model, 8)
    assert np.isfinite(log_likelihood)
    assert set(np.unique(drawn)) <= {0, 1}


def test_draw_phases__depend_on_the_key_alone() -> None:
    rng = np.random.default_rng(5)
    haplotypes = rng.integers(0, 2, (6, 40)).astype(np.uint8)
    model = model_of(haplotypes, rng.integers(0, 3, 40).astype(np.int8), np.full(40, 0.05))
    few, many, other = draw(model, 4)[0], draw(model, 16)[0], draw(model, 16, key=8)[0]
    assert (few == many[:4]).all()
    assert (many != other).any()
