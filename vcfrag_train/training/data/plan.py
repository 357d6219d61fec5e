"""What every batch of a run is, by arithmetic alone: its window, samples, mask and metric version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from vcfrag_core.errors import RangeError, TrainingError
from vcfrag_core.masks.curriculum import CurriculumConfig, MaskKey, TrainingMasks
from vcfrag_core.masks.draw import policy_digest
from vcfrag_core.panel.windows import Window
from vcfrag_core.sampling.sampler import WindowGroupedSampler
from vcfrag_core.types import BoolArray
from vcfrag_train.runs.index_usage import MaskName, Role
from vcfrag_train.training.config import MetricConfig


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """One batch to build.

    Attributes:
        role: `train` or `validation`.
        epoch: Epoch of training.
        position: Its number among this process's batches of the epoch, or among all batches of validation.
        window: Its window.
        samples: Names of its samples; two query haplotypes each.
        mask: Where its mask comes from.
        metric_version: Which metric retrieves for it.
    """

    role: Role
    epoch: int
    position: int
    window: Window
    samples: tuple[str, ...]
    mask: MaskName
    metric_version: int

    def __str__(self) -> str:
        data = f" of data set {self.mask.data!r}" if self.mask.data else ""
        return (
            f"{self.role} epoch {self.epoch} batch {self.position}{data}, window {self.window.number} "
            f"(sites {self.window.start} to {self.window.stop}), mask {self.mask.kind} epoch {self.mask.epoch} "
            f"visit {self.mask.visit}, {len(self.samples)} samples from {self.samples[0]} to {self.samples[-1]}"
        )


class TrainingPlan:
    """All training batches of one process.

    Args:
        sampler: Which samples of which window.
        windows: All windows.
        samples: Names of the training samples; the sampler's numbers point into them.
        masks: Masks by epoch and visit.
        refresh: When the metric is refreshed.
        data: Name of the data set, of several.
    """

    def __init__(
        self,
        sampler: WindowGroupedSampler,
        windows: Sequence[Window],
        samples: Sequence[str],
        masks: TrainingMasks,
        refresh: MetricConfig,
        data: str = "",
    ) -> None:
        self.data = data
        self._sampler = sampler
        self._windows = windows
        self._samples = samples
        self._masks = masks
        self._refresh = refresh

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._sampler)

    def batch(self, epoch: int, position: int) -> BatchPlan:
        """One batch.

        Raises:
            RangeError: The epoch has no such batch.
        """
        request = self._sampler.batch_at(position, epoch)
        key = self._masks.key(epoch, request.visit)
        return BatchPlan(
            role="train",
            epoch=epoch,
            position=position,
            window=self._windows[request.window],
            samples=tuple(self._samples[i] for i in request.samples.tolist()),
            mask=MaskName.of(key, self.data),
            metric_version=self._version(epoch, request.visit),
        )

    @property
    def rounds(self) -> list[int]:
        """Batches of this process in each round of visits; the same number of rounds in every process."""
        return self._sampler.rounds

    def rest_of_epoch(self, epoch: int, start: int) -> Iterator[BatchPlan]:
        """The batches of an epoch from position `start` on."""
        for position in range(start, len(self)):
            yield self.batch(epoch, position)

    def observed(self, plan: BatchPlan) -> BoolArray:
        """(V,) the mask of a training batch."""
        return self._masks.draw(key_of(plan.mask, self._masks.config))

    def version_after(self, epoch: int, position: int) -> int:
        """Metric version of the batch that follows this one, in this epoch or the next."""
        follows = (epoch, position + 1) if position + 1 < len(self) else (epoch + 1, 0)
        request = self._sampler.batch_at(follows[1], follows[0])
        return self._version(follows[0], request.visit)

    def _version(self, epoch: int, visit: int) -> int:
        """The same for all visits that are under way at once, so that all processes refresh at one step."""
        if self._refresh.refresh_epochs:
            return epoch // self._refresh.refresh_epochs
        if not self._refresh.refresh_windows:
            return 0
        config = self._sampler.config
        lanes = config.lanes or 1
        in_rounds = config.epoch_visits // lanes * lanes
        first = visit // lanes * lanes if visit < in_rounds else visit
        return (epoch * config.epoch_visits + first) // self._refresh.refresh_windows


class MixedPlan:
    """The batches of several data sets, in turns: each has its visits spread evenly over an epoch.

    Args:
        plans: One for each data set; their metric is refreshed by epochs, if at all.
    """

    def __init__(self, plans: Sequence[TrainingPlan]) -> None:
        self._plans = plans
        self._by_name = {plan.data: plan for plan in plans}
        self._places = _in_turns([plan.rounds for plan in plans])

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._places)

    def batch(self, epoch: int, position: int) -> BatchPlan:
        """One batch.

        Raises:
            RangeError: The epoch has no such batch.
        """
        if not 0 <= position < len(self):
            raise RangeError(f"batch {position} of an epoch of {len(self)}")
        number, its_position = self._places[position]
        return dataclasses.replace(self._plans[number].batch(epoch, its_position), position=position)

    def rest_of_epoch(self, epoch: int, start: int) -> Iterator[BatchPlan]:
        """The batches of an epoch from position `start` on."""
        for position in range(start, len(self)):
            yield self.batch(epoch, position)

    def observed(self, plan: BatchPlan) -> BoolArray:
        """(V,) the mask of a training batch."""
        return self._by_name[plan.mask.data].observed(plan)

    def version_after(self, epoch: int, position: int) -> int:
        """Metric version of the batch that follows this one, in this epoch or the next."""
        follows = (epoch, position + 1) if position + 1 < len(self) else (epoch + 1, 0)
        return self.batch(*follows).metric_version


Plan = TrainingPlan | MixedPlan


def _in_turns(rounds: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Data set and position there of every batch, round after round; those of a data set at even distances."""
    turns = sorted(
        ((at + 0.5) / len(batches), number, at) for number, batches in enumerate(rounds) for at in range(len(batches))
    )
    places: list[tuple[int, int]] = []
    done = [0] * len(rounds)
    for _, number, at in turns:
        places += [(number, done[number] + batch) for batch in range(rounds[number][at])]
        done[number] += rounds[number][at]
    return places


def key_of(name: MaskName, curriculum: CurriculumConfig) -> MaskKey:
    """The curriculum's key of a mask's name.

    Raises:
        TrainingError: The curriculum has no such mask.
    """
    policy = curriculum.array if name.kind == "array" else curriculum.level_policy(name.epoch)
    if name.kind not in ("array", "level") or policy_digest(policy) != name.policy:
        raise TrainingError(f"the curriculum has no mask {name.kind!r} of policy {name.policy} in epoch {name.epoch}")
    return MaskKey(name.kind, policy, name.epoch, name.visit)


def validation_plans(
    windows: Sequence[Window],
    samples: Sequence[str],
    masks: Sequence[MaskName],
    *,
    batch_samples: int,
    version: int,
    first: int = 0,
) -> list[BatchPlan]:
    """Every validation batch: each mask, each window, all samples; the position numbers them from `first` on."""
    chunks = [tuple(samples[i : i + batch_samples]) for i in range(0, len(samples), batch_samples)]
    combinations = [(mask, window, chunk) for mask in masks for window in windows for chunk in chunks]
    return [
        BatchPlan(
            role="validation",
            epoch=0,
            position=position,
            window=window,
            samples=chunk,
            mask=mask,
            metric_version=version,
        )
        for position, (mask, window, chunk) in enumerate(combinations, first)
    ]
