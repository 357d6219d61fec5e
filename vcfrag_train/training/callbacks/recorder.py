"""Writes down what a run does: the use of indexes, a row for every step, a row for every epoch."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from vcfrag_core.types import I32Array
from vcfrag_train.runs.folder import CsvLog, RunFolder
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training import processes
from vcfrag_train.training.callbacks.metric_gate import MetricGate
from vcfrag_train.training.callbacks.metric_refresh import MetricRefresh
from vcfrag_train.training.data.loaders import FitData
from vcfrag_train.training.data.source import PreparedBatch
from vcfrag_train.training.module import FitModule, check_finite
from vcfrag_train.training.outcomes import Outcome
from vcfrag_train.training.validation.scores import Sums, batch_sums
from vcfrag_train.training.validation.summary import (
    EPOCH_COLUMNS,
    SCORES_COLUMNS,
    STEP_COLUMNS,
    by_data_set,
    judge,
    warnings_of,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


# Batches whose outcome may still be on its way from a device.
MAX_ON_THE_WAY = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A batch that was trained on, and what is written of it once its outcome is there.

    Attributes:
        step: Optimiser steps taken with it; the same as before where gradients are accumulated.
        ends_step: Whether it was the last batch of an optimiser step.
        shares: Of the time spent waiting for batches and for the index, then.
    """

    batch: PreparedBatch
    outcome: Outcome
    step: int
    ends_step: bool
    learning_rate: float
    shares: tuple[float, float]


class RetrievalWarning(UserWarning):
    """The loss may fall all the same, but the neighbours do not help."""


class Totals:
    """Sums over an epoch so far; saved with a checkpoint, so that a resumed epoch reports the whole of it."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.batches = 0
        self.samples = 0
        self.sums = Sums.zero()

    def add(self, loss: float, samples: int, sums: Sums) -> None:
        self.loss += loss
        self.batches += 1
        self.samples += samples
        self.sums = self.sums + sums

    def merge(self, other: Totals) -> None:
        """Takes in another process's sums."""
        self.loss += other.loss
        self.batches += other.batches
        self.samples += other.samples
        self.sums = self.sums + other.sums

    def state(self) -> dict[str, Any]:
        return {
            "loss": self.loss,
            "batches": self.batches,
            "samples": self.samples,
            "sums": self.sums.values.tolist(),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Totals:
        totals = cls()
        totals.loss, totals.batches, totals.samples = state["loss"], state["batches"], state["samples"]
        totals.sums = Sums(np.array(state["sums"], dtype=np.float64))
        return totals


class Neighbours:
    """Candidates of some validation batches, to tell how many changed since the metric before."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, tuple[I32Array, ...]]] = {}
        self._shares: list[float] = []

    def add(self, batch: PreparedBatch) -> None:
        """Compares a batch's candidates with those under an earlier metric; one batch in eight is looked at."""
        position, version = batch.plan.position, batch.plan.metric_version
        if position % 8:
            return
        before = self._last.get(position)
        if before is not None and before[0] != version:
            self._shares += [changed_share(*pair) for pair in zip(before[1], batch.candidates, strict=True)]
        self._last[position] = (version, batch.candidates)

    def changed(self) -> float:
        """Mean share of candidates that are new since the last call's metric; NaN where none was compared."""
        shares, self._shares = self._shares, []
        return sum(shares) / len(shares) if shares else math.nan


def changed_share(before: I32Array, after: I32Array) -> float:
    """Share of the candidates after a refresh that were none before it."""
    return 1 - float(np.isin(after, before).mean()) if len(after) else 0.0


class Scorer(Callback):
    """Scores a validation, in every process alike.

    Attributes:
        scores: By column of metrics.csv.
        by_data_set: Rows of scores.csv but for epoch and step.
    """

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}
        self.by_data_set: list[dict[str, float | str]] = []

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        pl_module.validation_parts.clear()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        parts = [part for theirs in processes.everyones(pl_module.validation_parts) for part in theirs]
        self.scores = judge(parts)
        self.by_data_set = by_data_set(parts)
        pl_module.log_dict({name: value for name, value in self.scores.items() if not math.isnan(value)})


class Recorder(Scorer):
    """The run's book-checkpointer.

    Args:
        run: The run folder; the first process writes it.
        data: The loaders, whose place this moves on.
        gate: The metric in force.
        refresh: Knows how much the metric changed.
        index_usage: Index uses so far.
        totals: Sums over the epoch so far.
        start_step: Steps before this process started.
    """

    def __init__(
        self,
        run: RunFolder,
        data: FitData,
        gate: MetricGate,
        refresh: MetricRefresh,
        index_usage: IndexUsage,
        totals: Totals,
        start_step: int,
    ) -> None:
        super().__init__()
        self.index_usage = index_usage
        self.totals = totals
        self.last_row: dict[str, float | int] = {}
        self._refresh = refresh
        self._run = run
        self._data = data
        self._gate = gate
        self._start_step = start_step
        self._stepped = start_step
        self._losses: list[float] = []
        self._on_the_way: deque[_Taken] = deque()
        self._neighbours = Neighbours()
        self._steps: CsvLog | None = None
        self._epochs: CsvLog | None = None
        self._scores: CsvLog | None = None
        self._board: SummaryWriter | None = None
        self._epoch_started = time.monotonic()
        self._samples_here = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        from torch.utils.tensorboard import SummaryWriter

        self._steps = CsvLog(self._run.steps_path, STEP_COLUMNS, self._start_step)
        self._epochs = CsvLog(self._run.metrics_path, EPOCH_COLUMNS, self._start_step)
        self._scores = CsvLog(self._run.scores_path, SCORES_COLUMNS, self._start_step)
        self._board = SummaryWriter(str(self._run.path / "tensorboard"), purge_step=self._start_step + 1)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._epoch_started = time.monotonic()
        self._samples_here = 0
        self._data.clock.restart()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: PreparedBatch, batch_idx: int
    ) -> None:
        plan = batch.plan
        self._data.position.position = plan.position + 1
        self.index_usage.add(
            "train",
            batch.identity,
            plan.mask,
            metric_version=plan.metric_version,
            step=self._stepped,
            samples=plan.samples,
        )
        self._samples_here += len(plan.samples)
        ends_step = pl_module.step > self._stepped
        self._stepped = pl_module.step
        logits, loss = pl_module.last_output
        outcome = Outcome.of(logits, loss, pl_module.gradient_norm)
        taken = _Taken(
            batch=batch,
            outcome=outcome,
            step=self._stepped,
            ends_step=ends_step,
            learning_rate=pl_module.learning_rate,
            shares=(self._data.clock.share, self._data.clock.index_share),
        )
        self._on_the_way.append(taken)
        self.catch_up(pl_module, MAX_ON_THE_WAY if outcome.arrived is not None else 0)

    def catch_up(self, module: FitModule, still: int = 0) -> None:
        """Takes in what batches gave, until no more than `still` are on their way.

        Raises:
            TrainingError: The loss of one was not finite; names it.
        """
        while len(self._on_the_way) > still:
            self._take_in(self._on_the_way.popleft(), module)

    def _take_in(self, taken: _Taken, module: FitModule) -> None:
        loss, gradient_norm = taken.outcome.wait()
        check_finite(loss, taken.step - taken.ends_step, taken.batch)
        truth, hidden = taken.batch.truth_and_hidden
        sums = batch_sums(taken.outcome.dosage.numpy(), truth.numpy(), hidden.numpy(), taken.batch.frequency)
        self.totals.add(loss, len(taken.batch.plan.samples), sums)
        self._losses.append(loss)
        if taken.ends_step:
            self._write_step(module, taken, gradient_norm)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.catch_up(pl_module)
        self.train_wait_share = self._data.clock.share
        self.train_index_share = self._data.clock.index_share
        self.train_seconds = time.monotonic() - self._epoch_started
        super().on_validation_start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: PreparedBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        plan = batch.plan
        self.index_usage.add(
            "validation",
            batch.identity,
            plan.mask,
            metric_version=plan.metric_version,
            step=self._stepped,
            samples=plan.samples,
        )
        self._neighbours.add(batch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        everyones = processes.everyones((self.totals, self._samples_here))
        total = Totals()
        for theirs, _ in everyones:
            total.merge(theirs)
        row: dict[str, float | int] = {
            "epoch": self._data.position.epoch,
            "step": pl_module.step,
            "train_loss": total.loss / max(1, total.batches),
            "train_r2": total.sums.r2("all"),
            "metric_version": self._gate.version,
            "metric_change": self._refresh.metric_change,
            "neighbours_changed": self._neighbours.changed(),
            "seconds": self.train_seconds,
            "samples_per_second": sum(samples for _, samples in everyones) / max(self.train_seconds, 1e-9),
            "waiting_share": self.train_wait_share,
            "waiting_for_index_share": self.train_index_share,
            **self.scores,
        }
        self.last_row = row
        self.totals = Totals()
        self._data.position.epoch += 1
        self._data.position.position = 0
        if self._epochs is not None and self._scores is not None:
            self._epochs.add(row)
            for scores in self.by_data_set:
                self._scores.add({"epoch": row["epoch"], "step": row["step"], **scores})
            self._chart({f"epoch/{name}": value for name, value in row.items()}, pl_module.step)
            for text in warnings_of(row):
                warnings.warn(f"epoch {row['epoch']}: {text}", RetrievalWarning, stacklevel=1)

    def close(self) -> None:
        """Closes the files."""
        for log in (self._steps, self._epochs, self._scores, self._board):
            if log is not None:
                log.close()
        self._steps = self._epochs = self._scores = self._board = None

    def _write_step(self, module: FitModule, taken: _Taken, gradient_norm: float) -> None:
        loss = processes.mean(sum(self._losses) / len(self._losses), module.device)
        self._losses.clear()
        plan, (waiting, for_index) = taken.batch.plan, taken.shares
        row: dict[str, float | int] = {
            "step": taken.step,
            "epoch": plan.epoch,
            "batch": plan.position,
            "window": plan.window.number,
            "loss": loss,
            "learning_rate": taken.learning_rate,
            "gradient_norm": gradient_norm,
            "metric_version": plan.metric_version,
            "waiting_share": waiting,
            "waiting_for_index_share": for_index,
        }
        if self._steps is not None:
            self._steps.add(row)
            self._chart({"step/loss": loss, "step/gradient_norm": gradient_norm}, taken.step)

    def _chart(self, values: Mapping[str, float | int], step: int) -> None:
        for name, value in values.items():
            if self._board is not None and not math.isnan(value):
                self._board.add_scalar(name, value, step)
