"""Where prepared batches come from: retrieval under the batch's own mask, with the identity that answered."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import torch

from vcfrag_core.identity import Identity
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_train.fit.plan import BatchPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A batch that is ready for the model.

    Attributes:
        plan: What it was to be.
        batch: The model's input, with `truth` (Q, L) and `hidden` (L,).
        identity: Of the index that answered.
        frequency: (L,) ALT frequency among the training reference.
        random: The same batch with random candidates, in validation.
    """

    plan: BatchPlan
    batch: Any
    identity: Identity
    frequency: F32Array
    random: Any | None = None

    def to(self, device: torch.device) -> Prepared:
        """The batch on a device."""
        return dataclasses.replace(
            self,
            batch=self.batch.to(device),
            random=None if self.random is None else self.random.to(device),
        )

    def nearest_mass(self, output: Any) -> tuple[float, float]:
        """Posterior mass on the nearest candidates, summed over queries, and what chance would give."""
        return 0.0, 0.0

    def __str__(self) -> str:
        return f"{self.plan}, mask digest {self.identity.mask}, metric digest {self.identity.metric}"


class BatchSource(Protocol):
    """Builds batches, on several threads at once."""

    def build(self, plan: BatchPlan, observed: BoolArray, weights: F32Array) -> Prepared:
        """Retrieves for a batch and makes the model's input.

        Args:
            plan: Which batch.
            observed: (V,) its mask.
            weights: (V,) the metric that retrieves.
        """
        ...

    def close(self) -> None:
        """Closes the indexes that are still open."""
        ...
