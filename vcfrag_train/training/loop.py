"""Puts a run together: plan, loaders, module, callbacks and Lightning's trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from vcfrag_core.errors import ConfigError
from vcfrag_core.model.provenance import Provenance
from vcfrag_core.sampling.sampler import SamplerConfig, WindowGroupedSampler
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage, MaskName
from vcfrag_train.training.callbacks.checkpointing import Checkpointer
from vcfrag_train.training.callbacks.metric_gate import MetricGate
from vcfrag_train.training.callbacks.metric_refresh import MetricRefresh
from vcfrag_train.training.callbacks.progress import Progress
from vcfrag_train.training.callbacks.recorder import Recorder, Scorer, Totals
from vcfrag_train.training.config import FitConfig
from vcfrag_train.training.data.dataset import RunData, TrainingData
from vcfrag_train.training.data.loaders import FitData, Position
from vcfrag_train.training.data.plan import BatchPlan, MixedPlan, Plan, TrainingPlan, validation_plans
from vcfrag_train.training.data.prefetch import WaitClock
from vcfrag_train.training.data.source import BatchSource, PreparedBatch
from vcfrag_train.training.device import settle_on
from vcfrag_train.training.module import FitModule
from vcfrag_train.training.trainer import early_stopping, make_trainer, quiet
from vcfrag_train.training.validation.summary import EPOCH_COLUMNS

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingComponents:
    """The model's side of a run.

    Attributes:
        model: Maps a batch to logits and copying dosages.
        table: Its configuration.
        loss: Mean loss of (Q, L) logits against (Q, L) alleles over the (L,) hidden sites.
        site_weights: (V,) the quantised metric of the model's embedding as it is now.
        source: Builds batches.
    """

    model: nn.Module
    table: Mapping[str, Any]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    site_weights: Callable[[], F32Array]
    source: BatchSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """What a run goes on from: the trainer's state, the metric in force, the index uses so far."""

    state: Mapping[str, Any]
    metric: F32Array
    index_usage: IndexUsage


def has_ended(state: Mapping[str, Any], config: FitConfig) -> bool:
    """Whether a run with this state of its trainer has nothing left to do."""
    return bool(state["stopped"] or state["epoch"] >= config.epochs)


class Loop:
    """One process's part in a run.

    Args:
        config: The configuration.
        data: What it names.
        components: The model, its loss and its batches; the weights are restored already.
        restored: What else the run goes on from.
        metric: Version and (V,) weights of the metric to judge under, without going on with a run.

    Raises:
        ConfigError: `trainer.monitor` is no column of metrics.csv; the saved run cannot go on with so many processes.
    """

    def __init__(
        self,
        config: FitConfig,
        data: RunData,
        components: TrainingComponents,
        restored: Restored | None = None,
        metric: tuple[int, F32Array] | None = None,
    ) -> None:
        if config.trainer.monitor not in EPOCH_COLUMNS:
            raise ConfigError(f"trainer.monitor: {config.trainer.monitor!r} is no column of metrics.csv")
        self._config = config
        self._material = data
        self._components = components
        self._state = dict(restored.state) if restored else None
        self.trainer = make_trainer(config, self._state["epoch"] if self._state else 0)
        self._lanes = self._state["lanes"] if self._state else config.optimiser.lanes or self.trainer.world_size
        first = restored if restored is not None and self.trainer.is_global_zero else None
        self._index_usage = first.index_usage if first else IndexUsage()
        self._totals = Totals.of(first.state["totals"]) if first else Totals()
        self._gate = MetricGate()
        self._first_metric = (self._state["metric_version"], restored.metric) if restored and self._state else metric
        self._data = self._loaders()

    def fit(self, run: RunFolder, provenance: Callable[[int], Provenance]) -> None:
        """Trains until the last epoch, early stopping or a signal.

        Raises:
            TrainingError: A loss is not finite.
            Stopped: A signal asked for the end; a checkpoint was written.
        """
        start_step = self._state["step"] if self._state else 0
        module = self._module(start_step, self._total_steps())
        refresh = MetricRefresh(self._gate, self._data, self._components.site_weights, self._first_metric)
        recorder = Recorder(run, self._data, self._gate, refresh, self._index_usage, self._totals, start_step)
        checkpointer = Checkpointer(
            run,
            self._data,
            self._gate,
            recorder,
            self._config.trainer,
            provenance=provenance,
            model_table=self._components.table,
            lanes=self._lanes,
            restored=self._state,
        )
        progress = Progress(self._data, recorder, self._config.trainer.progress_seconds)
        try:
            self._run([*early_stopping(self._config), refresh, recorder, progress, checkpointer], module, "fit")
        finally:
            checkpointer.close()
            recorder.close()

    def validate(self) -> Scorer:
        """The scores of the model as it is, the same in every process."""
        module = self._module(0, 0)
        refresh = MetricRefresh(self._gate, self._data, self._components.site_weights, self._first_metric)
        scorer = Scorer()
        self._run([refresh, scorer], module, "validate")
        return scorer

    def _run(self, callbacks: list[Callback], module: FitModule, what: str) -> None:
        self.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
        try:
            with quiet():
                if what == "fit":
                    self.trainer.fit(module, datamodule=self._data)
                else:
                    self.trainer.validate(module, datamodule=self._data, verbose=False)
        finally:
            self._gate.close()
            self._components.source.close()

    def _total_steps(self) -> int:
        batches = len(self._plan(0, self.trainer.world_size))
        return self._config.epochs * -(-batches // self._config.optimiser.accumulate_batches)

    def _module(self, start_step: int, total_steps: int) -> FitModule:
        settle_on(self._components.model, self._config.trainer, self._device)
        return FitModule(
            self._components.model,
            self._components.loss,
            self._config.optimiser,
            seed=self._config.seed,
            total_steps=total_steps,
            start_step=start_step,
        )

    def _loaders(self) -> FitData:
        trainer = self._config.trainer
        return FitData(
            self._plan,
            self._validation,
            self._build,
            position=self._position(),
            depth=trainer.prefetch_batches,
            threads=trainer.prefetch_threads,
            clock=WaitClock(),
        )

    def _position(self) -> Position:
        if self._state is None:
            return Position()
        batches, rest = divmod(self._state["position"] * self._state["processes"], self.trainer.world_size)
        if rest or self._lanes % self.trainer.world_size:
            raise ConfigError(
                f"the run stands at batch {self._state['position']} of {self._state['processes']} processes with "
                f"{self._lanes} lanes, from which {self.trainer.world_size} processes cannot go on"
            )
        return Position(self._state["epoch"], batches)

    def _plan(self, rank: int, world_size: int) -> Plan:
        plans = [self._plan_of(number, data, rank, world_size) for number, data in enumerate(self._material.sets)]
        return plans[0] if len(plans) == 1 else MixedPlan(plans)

    def _plan_of(self, number: int, data: TrainingData, rank: int, world_size: int) -> TrainingPlan:
        optimiser = self._config.optimiser
        sampler = SamplerConfig(
            n_samples=len(data.splits.train_samples),
            n_windows=len(data.windows),
            batch_size=optimiser.batch_samples,
            seed=self._config.seed + number,
            samples_per_visit=optimiser.samples_per_visit,
            visits_per_epoch=data.visits,
            lanes=self._lanes,
        )
        return TrainingPlan(
            WindowGroupedSampler(sampler, rank=rank, world_size=world_size),
            data.windows,
            data.splits.train_samples,
            data.masks,
            self._config.metric,
            data.name,
        )

    def _validation(self) -> list[BatchPlan]:
        plans: list[BatchPlan] = []
        for data in self._material.sets:
            plans += self._validation_of(data, len(plans))
        return plans

    def _validation_of(self, data: TrainingData, first: int) -> list[BatchPlan]:
        trainer = self._config.trainer
        masks = [
            MaskName(kind=name, policy=digest, epoch=0, visit=0, data=data.name)
            for name, digest in data.validation_digests.items()
        ]
        return validation_plans(
            evenly(data.windows, trainer.validation_windows),
            evenly(data.splits.validation_samples, trainer.validation_samples),
            masks,
            batch_samples=self._config.optimiser.batch_samples,
            version=self._gate.version,
            first=first,
        )

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.trainer.strategy.root_device
        return device

    def _build(self, plan: BatchPlan) -> PreparedBatch:
        weights = self._gate.wait_for(plan.metric_version)
        prepared = self._components.source.build(plan, self._observed(plan), weights)
        return prepared.pinned() if self._device.type == "cuda" else prepared

    def _observed(self, plan: BatchPlan) -> BoolArray:
        if plan.role == "validation":
            return self._material.named(plan.mask.data).validation[plan.mask.kind]
        return self._data.plan.observed(plan)


def evenly(items: Sequence[T], most: int | None) -> list[T]:
    """At most so many of the items, evenly spaced; all of them where `most` is None."""
    if most is None or most >= len(items):
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]
