"""The copying layer: its kernel against vectorised float64 NumPy and a plain compiled loop, and its gradient."""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks import synthetic
from benchmarks.figures import Figure, Topic, cpu_seconds_in_turn, seconds
from benchmarks.speed import plain_copying
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.reference import copying_sites, switch_probabilities
from vcfrag_core.types import F32Array, U8Array

WEIGHT = 6.9
SWITCH_PER_CM = 6.0
CM_PER_SITE = 0.0005


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A problem, its parameters, and the panel unpacked for the baselines."""

    problem: CopyingProblem
    haplotypes: U8Array
    weights: F32Array
    switch: F32Array


def run(*, quick: bool) -> Topic:
    """200 haplotypes x 5,700 observed of 11,400 sites x 1,300 candidates; baselines on few of the haplotypes."""
    n_queries, observed, n_states, n_slow = (8, 300, 100, 2) if quick else (200, 5700, 1300, 4)
    case = make(n_queries, observed, n_states)
    few = make(n_slow, observed, n_states)
    forward = _forward(case)
    scale = n_queries / n_slow
    slow = {
        "vectorised float64 NumPy": (plain_copying.by_numpy, 5.0, 1),
        "plain compiled loop": (plain_copying.by_loops, 1.5, 3),
    }
    figures = []
    for name, (work, least, repeats) in slow.items():
        answers = [work(few.problem, few.haplotypes, q, few.weights, few.switch) for q in range(n_slow)]
        np.testing.assert_allclose(few.problem.dosage(few.weights, few.switch), answers, atol=1e-3)

        def baseline(work: object = work) -> None:
            for q in range(n_slow):
                work(few.problem, few.haplotypes, q, few.weights, few.switch)  # type: ignore[operator]

        figures.append(
            Figure(
                name=f"copying forward, {n_queries} haplotypes x {observed} observed x {n_states} candidates, 1 thread",
                value=forward,
                unit="s",
                baseline=f"{name}, measured on {n_slow} haplotypes x {scale:.3g}",
                baseline_value=seconds(baseline, repeats=repeats) * scale,
                goal=f">= {least} x",
                least_ratio=least,
            )
        )
    return Topic(figures=[*figures, _backward(case)], curve=[] if quick else _curve())


def _backward(case: Case) -> Figure:
    part = case.problem.part(0, 50)
    gradient = np.ones((len(part.queries), len(part.sites.sites)), dtype=np.float32)
    part.gradients(case.weights, case.switch, gradient)
    forward, backward = cpu_seconds_in_turn(
        lambda: part.dosage(case.weights, case.switch), lambda: part.gradients(case.weights, case.switch, gradient)
    )
    cells = float(len(case.weights)) * sum(len(c) for c in part.candidates)
    return Figure(
        name=f"backward over forward of the copying layer, CPU time of {len(part.queries)} haplotypes",
        value=backward / forward,
        unit="x",
        goal="<= 3",
        most=3.0,
        note=f"{1e9 * forward / cells:.3g} and {1e9 * backward / cells:.3g} ns per site and candidate",
    )


def _curve() -> list[dict[str, float]]:
    """Seconds per haplotype as sites and candidates grow."""
    points = []
    for observed, n_states in ((1425, 1300), (2850, 1300), (5700, 1300), (11_400, 1300), (5700, 325), (5700, 5200)):
        case = make(10, observed, n_states)
        points.append(
            {"observed": observed, "candidates": n_states, "seconds_per_haplotype": _forward(case) / 10}
        )  # fmt: skip
    return points


def _forward(case: Case) -> float:
    case.problem.dosage(case.weights, case.switch)
    return seconds(lambda: case.problem.dosage(case.weights, case.switch), repeats=3)


def make(n_queries: int, n_observed: int, n_candidates: int) -> Case:
    """Every other site observed; queries are panel haplotypes that are not among their candidates."""
    n_sites, n_haplotypes = 2 * n_observed, max(n_candidates + n_queries, 1600)
    panel = synthetic.panel(n_haplotypes + n_haplotypes % 2, n_sites)
    rng = np.random.default_rng(9)
    cm = CM_PER_SITE * np.arange(n_sites)
    sites = copying_sites(np.arange(0, n_sites, 2), cm, panel.positions, np.arange(n_sites))
    haplotypes = panel.haplotypes()
    others = np.arange(n_queries, panel.n_haplotypes)
    problem = CopyingProblem(
        sites,
        PanelColumns.of(panel.bits, sites),
        np.ascontiguousarray(haplotypes[:n_queries, sites.observed].astype(np.int8)),
        [np.sort(rng.choice(others, n_candidates, replace=False)).astype(np.int32) for _ in range(n_queries)],
    )
    switch = switch_probabilities(sites.gaps_cm, SWITCH_PER_CM).astype(np.float32)
    return Case(problem, haplotypes, np.full(n_observed, WEIGHT, dtype=np.float32), switch)
