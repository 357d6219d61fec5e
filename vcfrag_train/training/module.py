"""The Lightning module: loss and optimiser of a step, scores of a validation batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor, nn

from vcfrag_core.errors import TrainingError
from vcfrag_core.streams import Stream
from vcfrag_train.training.config import OptimiserConfig
from vcfrag_train.training.data.plan import BatchPlan
from vcfrag_train.training.data.source import PreparedBatch
from vcfrag_train.training.validation.scores import Sums, batch_sums

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPart:
    """What one validation batch adds to the scores.

    Attributes:
        position: Number of the batch, the same in every process.
        mask: Name of its mask.
        data: Name of the data set, of several.
        sums: Of the model, of copying alone (`copying`), of the model with random neighbours (`random`).
        loss: Sum of the model's loss over hidden alleles.
        count: Hidden alleles.
        nearest: Posterior mass on the nearest candidates of one query, and what chance would give.
    """

    position: int
    mask: str
    data: str
    sums: Mapping[str, Sums]
    loss: float
    count: int
    nearest: tuple[float, float]


class FitModule(lightning.LightningModule):
    """Trains an imputation model on prepared batches.

    Args:
        model: `ImputationModel`, or anything that maps a batch to logits and copying dosages.
        loss: Mean loss of (Q, L) logits against (Q, L) alleles over the (L,) hidden sites.
        config: The optimiser's settings.
        seed: The run's seed.
        total_steps: Optimiser steps of the whole run, for the schedule.
        start_step: Steps taken before this process started.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        config: OptimiserConfig,
        *,
        seed: int,
        total_steps: int,
        start_step: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.gradient_norm = torch.zeros(())
        self.learning_rate = 0.0
        self.last_output: tuple[Tensor, Tensor] | None = None
        self._failed: Tensor | None = None
        self.validation_parts: list[ValidationPart] = []
        self._loss = loss
        self._config = config
        self._seed = seed
        self._total_steps = total_steps
        self._start_step = start_step

    @property
    def step(self) -> int:
        """Optimiser steps taken since the run began."""
        return self._start_step + int(self.trainer.global_step)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimiser = torch.optim.AdamW(
            parameter_groups(self.model, self._config.weight_decay), lr=self._config.learning_rate, fused=self._fused
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda steps: schedule(self._config, self._start_step + steps, self._total_steps)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def _fused(self) -> bool:
        """Whether one kernel takes the step; a scaler of gradients for float16 wants to clip them itself."""
        return self.device.type == "cuda" and self.trainer.precision != "16-mixed"

    def transfer_batch_to_device(
        self, batch: PreparedBatch, device: torch.device, dataloader_idx: int
    ) -> PreparedBatch:
        return batch.to(device)

    def training_step(self, prepared: PreparedBatch, _: int) -> Tensor:
        """The mean loss of a batch.

        Where it is not finite, a device takes no step; the host hears of it when `check_finite` is asked.

        Raises:
            TrainingError: It is not finite, on the host; names the batch.
        """
        # Dropout depends on the place in the run alone, so that a resumed run repeats it.
        torch.manual_seed(dropout_seed(self._seed, prepared.plan))
        output = self.model(prepared.batch)
        loss = self._loss(output.logits, prepared.batch.truth, prepared.batch.hidden)
        if loss.device.type == "cpu":
            check_finite(float(loss.detach()), self.step, prepared)
        failed = ~torch.isfinite(loss.detach())
        self._failed = failed if self._failed is None else self._failed | failed
        self.last_output = output.logits.detach(), loss.detach()
        return loss if len(prepared.batch.query) else loss + self._touch_everything()

    def _touch_everything(self) -> Tensor:
        """0, by way of every parameter: other processes wait for the gradients of a layer that this batch skipped."""
        return 0 * sum(
            (p.sum() for p in self.model.parameters() if p.requires_grad), torch.zeros((), device=self.device)
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm of all gradients; Lightning itself refuses to before a fused step in mixed precision."""
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), float(gradient_clip_val))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norms = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
        self.gradient_norm = torch.stack(norms).norm() if norms else torch.zeros(())
        self.learning_rate = float(optimizer.param_groups[0]["lr"])
        if self._fused and self._failed is not None:
            # The fused step asks for it on the device, so that nobody waits for the loss.
            optimizer.found_inf = self._failed.float()  # type: ignore[attr-defined]
        self._failed = None

    def validation_step(self, prepared: PreparedBatch, _: int) -> None:
        """Scores one batch; they are kept in `validation_parts` until the epoch's end."""
        batch = prepared.batch
        output = self.model(batch)
        loss = self._loss(output.logits, batch.truth, batch.hidden)
        frequency = prepared.frequency
        truth, hidden = batch.truth.cpu().numpy(), batch.hidden.cpu().numpy()
        dosages = {"model": output.logits.float().sigmoid(), "copying": output.copying}
        if prepared.random is not None:
            dosages["random"] = self.model(prepared.random).logits.float().sigmoid()
        count = int(hidden.sum()) * len(truth)
        self.validation_parts.append(
            ValidationPart(
                position=prepared.plan.position,
                mask=prepared.plan.mask.kind,
                data=prepared.plan.mask.data,
                sums={
                    name: batch_sums(dosage.float().cpu().numpy(), truth, hidden, frequency, prepared.ploidy)
                    for name, dosage in dosages.items()
                },
                loss=float(loss) * count if count else 0.0,
                count=count,
                nearest=prepared.nearest,
            )
        )


def check_finite(loss: float, step: int, prepared: PreparedBatch) -> None:
    """
    Raises:
        TrainingError: The loss is not finite; names the batch.
    """
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss:g} at step {step}: {prepared}")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; vectors and scalars (biases, norms, rates) do not."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def schedule(config: OptimiserConfig, step: int, total_steps: int) -> float:
    """Share of the learning rate at a step: linear warmup, then cosine to `final_share`, or constant."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def dropout_seed(seed: int, plan: BatchPlan) -> int:
    """Seed of torch for one batch, whichever process trains on it."""
    return int(Stream("dropout", seed, plan.epoch, plan.window.number, plan.samples[0]).raw(1)[0] >> 1)
