"""What training batches gave, on its way from the device to the host, so that no step waits for the one before."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Dosages, loss and gradient norm of one batch.

    Attributes:
        dosage: (Q, L) float32 in the host's memory.
        numbers: (2,) loss and norm of the gradient, there too.
        arrived: Set once both are what they are to be; None where they lay in the host's memory.
    """

    dosage: Tensor
    numbers: Tensor
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, logits: Tensor, loss: Tensor, gradient_norm: Tensor) -> Outcome:
        """Asks for copies of what a batch gave."""
        dosage = logits.float().sigmoid()
        numbers = torch.stack([loss.float(), gradient_norm.to(loss.device).float()])
        if dosage.device.type != "cuda":
            return cls(dosage, numbers, None)
        kept, told = (torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in (dosage, numbers))
        kept.copy_(dosage, non_blocking=True)
        told.copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return cls(kept, told, arrived)

    def wait(self) -> tuple[float, float]:
        """Loss and norm of the gradient; the dosages are there, too."""
        if self.arrived is not None:
            self.arrived.synchronize()
        loss, gradient_norm = self.numbers.tolist()
        return loss, gradient_norm
