"""Keeps checkpoints: every so many steps, at every epoch's end, and when somebody presses Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping

from vcfrag_core.model.provenance import Provenance
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training import processes
from vcfrag_train.training.callbacks.metric_gate import MetricGate
from vcfrag_train.training.callbacks.recorder import Recorder
from vcfrag_train.training.config import TrainerConfig
from vcfrag_train.training.data.loaders import FitData
from vcfrag_train.training.data.source import PreparedBatch

_UNHANDLED = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)


class Stopped(Exception):
    """Training ended early because a signal asked for it; a checkpoint was written.

    Attributes:
        number: Of the signal; that of Ctrl-C where another process was asked.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


class Checkpointer(Callback):
    """Writes checkpoints and restores the trainer from one.

    Args:
        run: The run folder.
        data: The loaders, with the place of the run.
        gate: The metric in force.
        recorder: Holds the index_usage and the sums of the epoch.
        config: When to save and what is best.
        provenance: Makes the record of a checkpoint from the number of steps.
        model_table: The model's configuration.
        lanes: Visits under way at once.
        restored: State of the checkpoint that the run goes on from.
    """

    def __init__(
        self,
        run: RunFolder,
        data: FitData,
        gate: MetricGate,
        recorder: Recorder,
        config: TrainerConfig,
        *,
        provenance: Callable[[int], Provenance],
        model_table: Mapping[str, Any],
        lanes: int,
        restored: Mapping[str, Any] | None,
    ) -> None:
        self._run = run
        self._data = data
        self._gate = gate
        self._recorder = recorder
        self._config = config
        self._provenance = provenance
        self._model_table = model_table
        self._lanes = lanes
        self._restored = restored
        self._best: float = restored["best"] if restored else math.nan
        self._saved_step = restored["step"] if restored else -1
        self._asked_by: int | None = None
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._listen()
        if self._restored is not None:
            trainer.optimizers[0].load_state_dict(self._restored["optimiser"])
            trainer.precision_plugin.load_state_dict(self._restored["precision"])
            for stopping in _stoppings(trainer):
                stopping.load_state_dict(self._restored["stopping"])

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: PreparedBatch, batch_idx: int
    ) -> None:
        at_end = batch.plan.position + 1 == len(self._data.plan)
        asked = processes.any_of(self._asked_by is not None, pl_module.device)
        # Between two optimiser steps half of a gradient would be lost; at an epoch's end its validation would be.
        if at_end or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if asked or pl_module.step - max(self._saved_step, 0) >= self._config.checkpoint_steps:
            self._save(trainer, pl_module, best=False)
        if asked:
            raise Stopped(self._asked_by or signal.SIGINT)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        best = self._is_best(self._recorder.last_row)
        self._save(trainer, pl_module, best=best)
        if processes.any_of(self._asked_by is not None, pl_module.device):
            raise Stopped(self._asked_by or signal.SIGINT)

    def close(self) -> None:
        """Gives the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _save(self, trainer: lightning.Trainer, module: Any, *, best: bool) -> None:
        self._recorder.catch_up(module)
        index_usage = self._everyones_index_usage()
        if trainer.is_global_zero:
            snapshot = checkpoints.Snapshot(
                weights=module.model.state_dict(),
                model=self._model_table,
                metric=self._gate.weights,
                state=self._state(trainer, module),
                index_usage=index_usage,
                config=self._run.config_path.read_text(encoding="utf-8"),
            )
            name = checkpoints.write_checkpoint(self._run.checkpoints, snapshot, self._provenance(module.step))
            self._run.point("last", name)
            if best:
                self._run.point("best", name)
            pointed = (self._run.pointed("last"), self._run.pointed("best"))
            checkpoints.prune(self._run.checkpoints, keep=[path.name for path in pointed if path is not None])
        self._saved_step = module.step

    def _state(self, trainer: lightning.Trainer, module: Any) -> dict[str, Any]:
        return {
            "step": module.step,
            "epoch": self._data.position.epoch,
            "position": self._data.position.position,
            "processes": trainer.world_size,
            "lanes": self._lanes,
            "metric_version": self._gate.version,
            "best": self._best,
            "totals": self._recorder.totals.state(),
            "stopped": bool(trainer.should_stop),
            "optimiser": trainer.optimizers[0].state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "stopping": next((stopping.state_dict() for stopping in _stoppings(trainer)), {}),
        }

    def _everyones_index_usage(self) -> IndexUsage:
        merged = IndexUsage()
        for index_usage in processes.everyones(self._recorder.index_usage):
            merged.merge(index_usage)
        return merged

    def _is_best(self, row: Mapping[str, float | int]) -> bool:
        value = float(row.get(self._config.monitor, math.nan))
        sign = 1 if self._config.monitor_mode == "max" else -1
        better = not math.isnan(value) and (math.isnan(self._best) or sign * value > sign * self._best)
        if better:
            self._best = value
        return better

    def _listen(self) -> None:
        # Who has a handler for Ctrl-C around `fit` wants to be told, and has no use for a run to go on with.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in _UNHANDLED:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked_by is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked_by = number


def _stoppings(trainer: lightning.Trainer) -> list[EarlyStopping]:
    return list(trainer.early_stopping_callbacks)
