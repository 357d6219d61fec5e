"""Inputs of the model against the formulas, number by number."""

from __future__ import annotations

import math

import numpy as np

from vcfrag_core.evidence.evidence import CANDIDATE_FEATURES, SITE_FEATURES, Evidence
from vcfrag_core.evidence.inputs import (
    MIN_PROBABILITY,
    N_CANDIDATE_INPUTS,
    N_SITE_INPUTS,
    candidate_inputs,
    inputs_by_site,
    site_inputs,
)
from vcfrag_core.types import F32Array

N, T = 40, 5


def features(seed: int = 3) -> tuple[F32Array, F32Array]:
    """Raw features of N sites, some with fewer than T candidates and some with dosages of 0 or 1."""
    rng = np.random.default_rng(seed)
    candidates = np.concatenate(
        [
            rng.uniform(0, 1, (N, T, 1)),
            rng.choice([-1.0, 1.0], (N, T, 1)),
            rng.choice([0, 1], (N, T, 2)) * rng.exponential(0.3, (N, T, 2)),
            rng.integers(0, 40, (N, T, 2)),
            rng.exponential(5, (N, T, 2)),
            rng.choice([0, 1], (N, T, 4)) * rng.exponential(0.5, (N, T, 4)),
        ],
        axis=2,
    ).astype(np.float32)
    assert candidates.shape[2] == len(CANDIDATE_FEATURES)
    candidates[::3, 3:] = 0
    sites = rng.uniform(0, 1, (N, len(SITE_FEATURES))).astype(np.float32)
    sites[:, 2] = rng.uniform(0.5, 60, N)
    sites[:, 6:8] = rng.normal(-3, 1, (N, 2))
    sites[0, [0, 1, 5, 8]], sites[1, [0, 1, 5, 8]] = 0, 1
    return candidates, sites


def logit(p: float) -> float:
    p = min(max(p, float(MIN_PROBABILITY)), 1 - float(MIN_PROBABILITY))
    return math.log(p / (1 - p))


def scaled(cm: float) -> float:
    return math.log1p(50 * cm)


def lengths(left: float, right: float) -> list[float]:
    return [scaled(cm) / 2 for cm in (left, right, left + right, min(left, right))]


def candidate_reference(posterior: float, allele: float, left: float, right: float, *others: float) -> list[float]:
    sites_left, sites_right, information, strangeness, *longer = others
    return [
        4 * posterior, math.log(posterior + 1e-4) / 4 + 1, allele, 4 * posterior * allele,
        *lengths(left, right),
        math.log1p(sites_left) / 3, math.log1p(sites_right) / 3, math.log1p(information) / 3,
        math.log1p(strangeness) / 2, *lengths(*longer[:2]), *lengths(*longer[2:]),
    ]  # fmt: skip


def site_reference(candidates: list[list[float]], site: list[float]) -> list[float]:
    dosage, frequency, effective, gap_left, gap_right, other, from_left, from_right, *variants = site
    of_runs = {a: [scaled(c[2] + c[3]) / 2 for c in candidates if c[1] == a] for a in (-1, 1)}
    longest = {a: max(of_runs[a], default=0.0) for a in (-1, 1)}
    mass = {a: sum(c[0] for c in candidates if c[1] == a) for a in (-1, 1)}
    clipped = min(max(dosage, 1e-4), 1 - 1e-4)
    return [
        logit(dosage) / 4, dosage, logit(frequency) / 4, math.log(max(effective, 1)) / 2, scaled(gap_left),
        scaled(gap_right), min(scaled(gap_left), scaled(gap_right)), other, logit(other) / 4,
        longest[1], longest[-1], mass[1], mass[-1], len(of_runs[1]) / 6, len(of_runs[-1]) / 6, longest[1] - longest[-1],
        from_left / 2, from_right / 2,
        *(logit(v) / 4 for v in variants), *(4 * (min(max(v, 1e-4), 1 - 1e-4) - clipped) for v in variants),
    ]  # fmt: skip


def test_inputs__equal_the_formulas() -> None:
    candidates, sites = features()
    made = candidate_inputs(candidates)
    assert made.shape == (N_CANDIDATE_INPUTS, T, N)
    expected = [[candidate_reference(*map(float, c)) for c in row] for row in candidates]
    np.testing.assert_allclose(made.transpose(2, 1, 0), expected, atol=2e-6, rtol=2e-6)
    of_sites = site_inputs(made, sites)
    assert of_sites.shape == (N_SITE_INPUTS, N)
    rows = [site_reference(c.tolist(), s.tolist()) for c, s in zip(candidates, sites, strict=True)]
    # 1 - 1e-4 has four digits of its distance from 1 in single precision.
    np.testing.assert_allclose(of_sites.T, rows, atol=1e-4, rtol=1e-5)


def test_inputs_by_site__are_the_same_numbers() -> None:
    candidates, sites = features()
    nothing = np.empty(0, dtype=np.int64)
    evidence = Evidence(
        dosage=np.zeros((1, 1), np.float32),
        query=nothing,
        site=nothing,
        candidates=candidates,
        sites=sites,
        best_mass=1,
    )
    by_candidate, by_site = inputs_by_site(evidence)
    made = candidate_inputs(candidates)
    np.testing.assert_array_equal(by_candidate, made.transpose(2, 1, 0))
    np.testing.assert_array_equal(by_site, site_inputs(made, sites).T)
    assert by_candidate.flags.c_contiguous
    assert by_site.flags.c_contiguous


def test_inputs__every_site_on_its_own() -> None:
    candidates, sites = features()
    made = candidate_inputs(candidates)
    some = candidate_inputs(candidates[7:19])
    np.testing.assert_array_equal(some, made[:, :, 7:19])
    np.testing.assert_array_equal(site_inputs(some, sites[7:19]), site_inputs(made, sites)[:, 7:19])


def test_inputs__of_no_site() -> None:
    candidates, sites = features()
    made = candidate_inputs(candidates[:0])
    assert made.shape == (N_CANDIDATE_INPUTS, T, 0)
    assert site_inputs(made, sites[:0]).shape == (N_SITE_INPUTS, 0)
