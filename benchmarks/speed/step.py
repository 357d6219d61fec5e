"""A training step of the 12-layer, 384-wide model against unfused attention and one haplotype at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.figures import Figure, Topic, cpu_seconds_in_turn
from benchmarks.speed import copying
from vcfrag_core.evidence.evidence import gather_evidence
from vcfrag_core.evidence.inputs import inputs_by_site
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.losses import cross_entropy
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.panel.ploidy import Ploidy

UNCERTAIN = 96
N_QUERIES = 4


def run(*, quick: bool) -> Topic:
    """Forward, loss, backward and optimizer step, per haplotype, in CPU time of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measured(ModelConfig(width=64, layers=2) if quick else ModelConfig(width=384, layers=12, heads=6))
    finally:
        torch.set_num_threads(threads)


def _measured(config: ModelConfig) -> Topic:
    torch.manual_seed(1)
    model = ImputationModel(config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    batch = make(N_QUERIES, config.candidates)

    def together() -> None:
        _step(model, optimizer, batch)

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            together()

    def half_unfused() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            half()

    def apart() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            for q in range(N_QUERIES):
                _step(model, optimizer, alone(batch, q))

    names = (f"{N_QUERIES} haplotypes at once", "the same in bfloat16", "the same in bfloat16, attention not fused")
    *taken, baseline = cpu_seconds_in_turn(together, half, half_unfused, apart, repeats=2)
    shape = f"{config.layers} layers x {config.width}"
    work = 1e-9 * len(batch.query) * _operations(model, config.candidates)
    return Topic(
        figures=[
            Figure(
                name=f"training step, {shape}, {name}, per haplotype, 1 thread, CPU time",
                value=seconds / N_QUERIES,
                unit="s",
                baseline="unfused attention, one haplotype at a time, float32",
                baseline_value=baseline / N_QUERIES,
                goal=">= 2 x on CPU (>= 4 x on GPU: not measured)" if judged else "",
                least_ratio=2.0 if judged else None,
                note=f"{len(batch.query) / N_QUERIES:.3g} uncertain sites per haplotype, T = {config.candidates}, "
                f"{work / seconds:.3g} GFLOP/s",
            )
            for name, seconds, judged in zip(names, taken, (True, False, False), strict=True)
        ]
    )


def _operations(model: ImputationModel, n_candidates: int) -> int:
    """Floating point operations of matrices with weights at one uncertain site, forward and backward."""
    *everywhere, at_the_site = (sum(p.numel() for p in block.parameters()) for block in model.blocks)
    return 6 * (sum(everywhere) * (n_candidates + 1) + at_the_site)


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
    case.problem.longer_scales = [case.problem.candidates] * 2
    evidence = gather_evidence(
        case.problem, Ploidy.diploid(n_queries // 2), case.weights, case.switch,
        cm=copying.CM_PER_SITE * sites.sites.astype(float), frequency=frequency, wanted=hidden.numpy(),
        changes=np.zeros((2, len(hidden)), np.float32), n_candidates=n_candidates,
    )  # fmt: skip
    query = torch.from_numpy(evidence.query)
    candidate_inputs, site_inputs = map(torch.from_numpy, inputs_by_site(evidence))
    kept = torch.cat([torch.nonzero(query == q)[:UNCERTAIN, 0] for q in range(n_queries)])
    return ModelInput(
        truth=torch.from_numpy(case.haplotypes[:n_queries]),
        hidden=hidden,
        copying=torch.from_numpy(evidence.dosage),
        frequency=torch.from_numpy(frequency).float().expand(n_queries, -1),
        query=query[kept],
        site=torch.from_numpy(evidence.site)[kept],
        candidates=candidate_inputs[kept],
        sites=site_inputs[kept],
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
