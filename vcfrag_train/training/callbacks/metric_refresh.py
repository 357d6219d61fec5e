"""Refreshes the metric that retrieval uses, at the window fixed in advance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from vcfrag_core.types import F32Array
from vcfrag_train.training import processes
from vcfrag_train.training.callbacks.metric_gate import MetricGate, change
from vcfrag_train.training.data.loaders import FitData
from vcfrag_train.training.data.source import PreparedBatch


class MetricRefresh(Callback):
    """Publishes the embedding's metric when the next batch asks for a later version.

    Args:
        gate: The metric in force; whoever prepares a batch of the next version waits there.
        data: The loaders, with the plan of this process.
        site_weights: (V,) quantised weights of the embedding as it is now.
        first: Version and weights to begin with; version 0 and the embedding's unless given.

    Attributes:
        metric_change: Relative change of the weights at the last refresh; how stale they had become.
    """

    def __init__(
        self,
        gate: MetricGate,
        data: FitData,
        site_weights: Callable[[], F32Array],
        first: tuple[int, F32Array] | None = None,
    ) -> None:
        self.metric_change = 0.0
        self._gate = gate
        self._data = data
        self._site_weights = site_weights
        self._first = first

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        version, weights = self._first if self._first else (0, self._site_weights())
        if self._gate.version < 0:
            self._gate.publish(version, processes.weights_of_first(weights))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: PreparedBatch,
        batch_idx: int,
    ) -> None:
        version = self._data.plan.version_after(batch.plan.epoch, batch.plan.position)
        if version > self._gate.version:
            before = self._gate.weights
            after = processes.weights_of_first(self._site_weights())
            self.metric_change = change(before, after)
            self._gate.publish(version, after)
