"""Random copying problems, and what the float64 reference makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import F64Array, I8Array


@dataclasses.dataclass(frozen=True)
class Case:
    """A random problem, in bits for the kernels and in plain arrays for the reference."""

    problem: CopyingProblem
    haplotypes: I8Array
    weights: F64Array
    switch: F64Array

    def reference(self) -> F64Array:
        """Dosages by the textbook recursion."""
        sites = self.problem.sites
        rows = []
        for query, candidates in zip(self.problem.queries, self.problem.candidates, strict=True):
            chosen = self.haplotypes[candidates]
            states = chosen[:, sites.observed].T
            posterior = copying.posterior_reference(states, query, self.weights, self.switch)
            rows.append(copying.dosage_reference(posterior, sites.left, sites.fraction, chosen[:, sites.sites].T))
        return np.array(rows)

    def reference_gradients(self, gradient: F64Array) -> tuple[F64Array, F64Array]:
        """What torch makes of the same recursion, written with its operations."""
        weights, switch = (torch.tensor(x, requires_grad=True) for x in (self.weights, self.switch))
        sites, loss = self.problem.sites, torch.tensor(0.0, dtype=torch.float64)
        right = np.minimum(sites.left + 1, len(sites.observed) - 1)
        share = torch.tensor(sites.fraction[:, None].astype(np.float64))
        for q, candidates in enumerate(self.problem.candidates):
            chosen = self.haplotypes[candidates]
            wrong = copying.mismatches(chosen[:, sites.observed].T, self.problem.queries[q])
            posterior = _posterior(torch.exp(-weights[:, None] * torch.tensor(wrong)), switch)
            between = (1 - share) * posterior[sites.left] + share * posterior[right]
            dosage = (between * torch.tensor(chosen[:, sites.sites].T)).sum(dim=1)
            loss = loss + (torch.tensor(gradient[q]) * dosage).sum()
        by_weight, by_switch = torch.autograd.grad(loss, (weights, switch), materialize_grads=True)
        return by_weight.numpy(), by_switch.numpy()


def _posterior(emission: torch.Tensor, switch: torch.Tensor) -> torch.Tensor:
    """(M, K) posteriors from (M, K) emissions, without writing into anything."""
    m, k = emission.shape
    forward, backward = [emission[0] / emission[0].sum()], [torch.full_like(emission[0], 1 / k)]
    for i in range(1, m):
        row = emission[i] * ((1 - switch[i]) * forward[-1] + switch[i] / k)
        forward.append(row / row.sum())
    for i in range(m - 1, 0, -1):
        ahead = emission[i] * backward[-1]
        backward.append((1 - switch[i]) * ahead / ahead.sum() + switch[i] / k)
    joint = torch.stack(forward) * torch.stack(backward[::-1])
    return joint / joint.sum(dim=1, keepdim=True)


def random_case(
    seed: int, *, n_observed: int, n_candidates: int, n_sites: int, n_queries: int = 2, ragged: bool = False
) -> Case:
    """Random alleles, queries with some calls missing, and `n_candidates` for each of them, or fewer where ragged."""
    rng = np.random.default_rng(seed)
    n_haplotypes = 2 * n_candidates
    haplotypes = (rng.random((n_haplotypes, n_sites)) < rng.random(n_sites)).astype(np.int8)
    panel = Panel.from_haplotypes(haplotypes)
    observed = np.sort(rng.choice(n_sites, n_observed, replace=False))
    cm = np.cumsum(rng.random(n_sites) * rng.choice([0, 0.01, 0.3], n_sites))
    start, stop = sorted(rng.choice(n_sites + 1, 2, replace=False))
    wanted = np.arange(start, stop)
    if rng.random() < 0.3:
        wanted = np.sort(rng.choice(n_sites, rng.integers(1, n_sites + 1), replace=False))
    sites = copying.copying_sites(observed, cm, panel.positions, wanted)
    counts = rng.integers(1, n_candidates + 1, n_queries) if ragged else [n_candidates] * n_queries
    candidates = [np.sort(rng.choice(n_haplotypes, count, replace=False)).astype(np.int32) for count in counts]
    queries = rng.choice(np.array([-1, 0, 1], np.int8), (n_queries, n_observed), p=[0.1, 0.45, 0.45])
    problem = CopyingProblem(sites, PanelColumns.of(panel.bits, sites), queries, candidates)
    weights = rng.uniform(0, 8, n_observed)
    return Case(problem, haplotypes, weights, copying.switch_probabilities(sites.gaps_cm, rng.uniform(0.1, 20)))
