"""A training step of the 12-layer, 384-wide model against unfused attention, one haplotype at a time, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.device import seconds
from benchmarks.speed import step
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.losses import cross_entropy
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.tensors import ModelInput

N_QUERIES = 32
PEAK_BF16 = 989e12  # of an H100 or H200, dense, by the datasheet


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Seconds per haplotype, memory and the share of the card's peak."""
    config = ModelConfig(width=384, layers=12, heads=6)
    torch.manual_seed(1)
    model = ImputationModel(config).cuda()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    batch = step.make(N_QUERIES, config.candidates).to(torch.device("cuda"))
    few = [step.alone(batch, q) for q in range(4)]
    work = len(batch.query) * step._operations(model, config.candidates)
    note("uncertain_sites", len(batch.query))

    def measured(name: str, taken: Callable[[], None], queries: int) -> None:
        torch.cuda.reset_peak_memory_stats()
        each = seconds(taken, repeats=5) / queries
        flops = work / N_QUERIES / each
        note(
            name,
            {
                "seconds_per_haplotype": each,
                "flop_per_second": flops,
                "share_of_bf16_peak": flops / PEAK_BF16,
                "memory_bytes": torch.cuda.max_memory_allocated(),
            },
        )

    def apart() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            for one in few:
                _step(model, optimiser, one)

    measured("baseline: unfused, one haplotype at a time, float32", apart, len(few))
    measured("together, float32", lambda: _step(model, optimiser, batch), N_QUERIES)

    def half() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            _step(model, optimiser, batch)

    measured("together, bfloat16", half, N_QUERIES)
    if brief:
        return
    compiled = torch.compile(model.correction, dynamic=False)
    model.correction = compiled
    measured("together, bfloat16, compiled", half, N_QUERIES)


def _step(model: ImputationModel, optimiser: torch.optim.Optimizer, batch: ModelInput) -> None:
    optimiser.zero_grad(set_to_none=True)
    cross_entropy(model(batch).logits, batch.truth, batch.hidden).backward()
    optimiser.step()
