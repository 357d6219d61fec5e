"""What the model takes and gives, for the sites of one window that copying leaves uncertain.

Shape suffixes as in `network`.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import torch
from torch import Tensor

from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.evidence.evidence import OtherWay


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One window for the model.

    Attributes:
        truth: (Q, L) uint8 alleles; zeros where they are not known.
        hidden: (L,) bool, sites on which the loss counts.
        copying: (Q, L) float32 dosages of copying under the parameters in force.
        frequency: (Q, L) float32 ALT frequency among the reference haplotypes that each query may be shown.
        query: (N,) int64 query of each uncertain site.
        site: (N,) int64 its number in the window.
        candidates: (N, T, 20) float32, `model_inputs.candidate_inputs` site by site.
        sites: (N, 26) float32, `model_inputs.site_inputs` site by site.
        observed_frequency: (M,) float32 ALT frequency at the observed sites.
        gaps_cm: (M,) float32 distances between observed sites.
        switch_per_cm: Switch rate that the rule gives for this mask.
        problem: The copying problem, where copying itself is trained or done in other ways here.
        ways: Ways to copy whose dosages the inputs of the sites lack; they are made on the batch's device.
    """

    truth: Tensor
    hidden: Tensor
    copying: Tensor
    frequency: Tensor
    query: Tensor
    site: Tensor
    candidates: Tensor
    sites: Tensor
    observed_frequency: Tensor
    gaps_cm: Tensor
    switch_per_cm: float
    problem: CopyingProblem | None = None
    ways: tuple[OtherWay, ...] = ()

    def to(self, device: torch.device) -> Self:
        """The same with its tensors on a device."""
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    def pinned(self) -> Self:
        """The same with its tensors in page-locked memory, from which copies to a CUDA device wait for nothing."""
        kept = {
            field.name: getattr(self, field.name).pin_memory()
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **kept)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """(Q, L) log-odds of ALT, and the (Q, L) dosage of copying that they correct."""

    logits: Tensor
    copying: Tensor
