"""A training step of the 12-layer, 384-wide model against unfused attention and one haplotype at a time."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import copying
from benchmarks.figures import Figure, Topic, seconds
from vcfrag_core.features import gather_evidence
from vcfrag_core.losses import cross_entropy
from vcfrag_core.model import ImputationModel, ModelConfig, ModelInput

UNCERTAIN = 96


def run(*, quick: bool) -> Topic:
    """Forward, loss, backward and optimizer step, per haplotype."""
    torch.set_num_threads(2)
    config = ModelConfig(width=64, layers=2) if quick else ModelConfig(width=384, layers=12, heads=6)
    torch.manual_seed(1)
    model = ImputationModel(config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    n_queries = 4 if quick else 16
    batch = make(n_queries, config.candidates)

    def fused() -> None:
        _step(model, optimizer, batch)

    def unfused() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            for q in range(n_queries):
                _step(model, optimizer, alone(batch, q))

    fused()
    unfused()
    together, apart = seconds(fused, repeats=3) / n_queries, seconds(unfused, repeats=2) / n_queries
    return Topic(
        figures=[
            Figure(
                name=f"training step, {config.layers} layers x {config.width}, per haplotype, {n_queries} at once, CPU",
                value=together,
                unit="s",
                baseline="unfused attention, one haplotype at a time",
                baseline_value=apart,
                goal=">= 2 x on CPU (>= 4 x on GPU: not measured)",
                least_ratio=2.0,
                note=f"{len(batch.query) / n_queries:.3g} uncertain sites per haplotype, T = {config.candidates}",
            )
        ]
    )


def _step(model: ImputationModel, optimizer: torch.optim.Optimizer, batch: ModelInput) -> None:
    optimizer.zero_grad(set_to_none=True)
    cross_entropy(model(batch).logits, batch.truth, batch.hidden).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def make(n_queries: int, n_candidates: int) -> ModelInput:
    """A window of 1,020 sites, half of them hidden, with at most 96 uncertain sites of each haplotype."""
    case = copying.make(n_queries, 510, 300)
    sites = case.problem.sites
    hidden = torch.ones(len(sites.sites), dtype=torch.bool)
    hidden[::2] = False
    frequency = case.haplotypes.mean(axis=0)
    evidence = gather_evidence(
        case.problem, case.weights, case.switch, cm=copying.CM_PER_SITE * sites.sites.astype(float),
        frequency=frequency, wanted=hidden.numpy(), n_candidates=n_candidates,
    )  # fmt: skip
    query = torch.from_numpy(evidence.query)
    kept = torch.cat([torch.nonzero(query == q)[:UNCERTAIN, 0] for q in range(n_queries)])
    return ModelInput(
        truth=torch.from_numpy(case.haplotypes[:n_queries]),
        hidden=hidden,
        copying=torch.from_numpy(evidence.dosage),
        frequency=torch.from_numpy(frequency).float().expand(n_queries, -1),
        query=query[kept],
        site=torch.from_numpy(evidence.site)[kept],
        candidates=torch.from_numpy(evidence.candidates)[kept],
        sites=torch.from_numpy(evidence.sites)[kept],
        observed_frequency=torch.from_numpy(frequency[sites.observed]).float(),
        gaps_cm=torch.from_numpy(sites.gaps_cm).float(),
        switch_per_cm=copying.SWITCH_PER_CM,
    )


def alone(batch: ModelInput, q: int) -> ModelInput:
    """The part of a batch that is of one haplotype."""
    mine = batch.query == q
    return dataclasses.replace(
        batch,
        truth=batch.truth[q : q + 1],
        copying=batch.copying[q : q + 1],
        frequency=batch.frequency[q : q + 1],
        query=torch.zeros_like(batch.query[mine]),
        site=batch.site[mine],
        candidates=batch.candidates[mine],
        sites=batch.sites[mine],
    )
