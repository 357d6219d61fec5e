"""Loaders for Lightning: batches of this process, prepared ahead, starting anywhere in an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import lightning

from vcfrag_train.training.data.plan import BatchPlan, Plan
from vcfrag_train.training.data.prefetch import Prefetcher, WaitClock
from vcfrag_train.training.data.source import PreparedBatch


@dataclasses.dataclass(slots=True)
class Position:
    """Where a run stands: epoch, and batches of this process that are done in it."""

    epoch: int = 0
    position: int = 0


class PlanLoader:
    """An iterable of prepared batches with a length; every iteration begins anew.

    Args:
        plans: Gives the plans; called when the iteration begins.
        length: How many there are.
        build: Prepares one.
        depth: Batches prepared ahead.
        threads: Threads that prepare them.
        clock: Counts the waiting.
    """

    def __init__(
        self,
        plans: Callable[[], Iterable[BatchPlan]],
        length: int,
        build: Callable[[BatchPlan], PreparedBatch],
        *,
        depth: int,
        threads: int,
        clock: WaitClock,
    ) -> None:
        self._plans = plans
        self._length = length
        self._build = build
        self._depth = depth
        self._threads = threads
        self._clock = clock

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PreparedBatch]:
        batches = Prefetcher(self._plans(), self._build, depth=self._depth, threads=self._threads, clock=self._clock)
        before = self._clock.waited_seconds
        for batch in batches:
            self._clock.index_seconds += (self._clock.waited_seconds - before) * batch.search_share
            yield batch
            before = self._clock.waited_seconds


class FitData(lightning.LightningDataModule):
    """The loaders of a run.

    Args:
        plan: Makes the training plan of a process from its rank and the number of processes.
        validation: Makes all validation plans; each process takes every so many-th.
        build: Prepares a batch.
        position: Where training starts and, as it goes on, stands.
        depth, threads, clock: As for `PlanLoader`.
    """

    def __init__(
        self,
        plan: Callable[[int, int], Plan],
        validation: Callable[[], list[BatchPlan]],
        build: Callable[[BatchPlan], PreparedBatch],
        *,
        position: Position,
        depth: int,
        threads: int,
        clock: WaitClock,
    ) -> None:
        super().__init__()
        self.position = position
        self.clock = clock
        self._make_plan = plan
        self._plan: Plan | None = None
        self._validation = validation
        self._build = build
        self._depth = depth
        self._threads = threads

    @property
    def plan(self) -> Plan:
        """The training plan of this process."""
        if self._plan is None:
            self._plan = self._make_plan(self._rank, self._world_size)
        return self._plan

    def train_dataloader(self) -> PlanLoader:
        epoch, position = self.position.epoch, self.position.position
        return self._loader(lambda: self.plan.rest_of_epoch(epoch, position), len(self.plan) - position)

    def val_dataloader(self) -> PlanLoader:
        mine = range(self._rank, len(self._validation()), self._world_size)
        return self._loader(lambda: self._validation()[self._rank :: self._world_size], len(mine))

    @property
    def _rank(self) -> int:
        return int(self.trainer.global_rank) if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return int(self.trainer.world_size) if self.trainer is not None else 1

    def _loader(self, plans: Callable[[], Iterable[BatchPlan]], length: int) -> PlanLoader:
        return PlanLoader(plans, length, self._build, depth=self._depth, threads=self._threads, clock=self.clock)
