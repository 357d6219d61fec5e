"""The order of training: window by window, by arithmetic alone.

An item is one sample in one window. A *visit* is one window with some or all of the samples; batches never mix visits.
Every pass over the items shuffles the visits anew, and the samples of each window. Nothing is stored per item.

Several processes: visits are dealt to *lanes*, as many as there are processes unless configured, and lanes to the
processes. In round r, lane l has visit r * lanes + l. The visits that remain when the last round is not full are each
split among all lanes, sample by sample. So no item is repeated, left out or padded, and every process makes the same
number of batches; their sizes differ by at most one sample between lanes at any step. The order depends on the number
of lanes, not on that of processes: one process with two lanes takes, two batches after another, what two processes
take side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.sampling.shuffle import Shuffle
from vcfrag_core.streams import stream_key
from vcfrag_core.types import I64Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """What is sampled, and in which portions.

    Attributes:
        n_samples: Samples, each with its two haplotypes.
        n_windows: Windows.
        batch_size: Most samples of a batch; the batches of a visit are as even as this allows.
        seed: Chooses the order.
        shuffle: False leaves windows and samples in their own order.
        samples_per_visit: Most samples of one visit of a window; all of them unless given.
        visits_per_epoch: Length of an epoch, one pass over all items unless given; otherwise epochs cut an endless
            row of passes into pieces.
        lanes: Visits under way at once, over all processes; one for each process unless given.
    """

    n_samples: int
    n_windows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    samples_per_visit: int | None = None
    visits_per_epoch: int | None = None
    lanes: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_samples", "n_windows", "batch_size", "samples_per_visit", "visits_per_epoch", "lanes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")

    @property
    def n_items(self) -> int:
        return self.n_samples * self.n_windows

    @property
    def parts(self) -> int:
        """Visits of one window in a pass."""
        return -(-self.n_samples // (self.samples_per_visit or self.n_samples))

    @property
    def epoch_visits(self) -> int:
        return self.visits_per_epoch or self.n_windows * self.parts

    def item(self, sample: int, window: int) -> int:
        """Number of the item: the sample's place after the samples of all windows before."""
        return window * self.n_samples + sample

    def sample_and_window(self, item: int) -> tuple[int, int]:
        """Which sample and window an item is; reverses `item`."""
        window, sample = divmod(item, self.n_samples)
        return sample, window


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchRequest:
    """Which samples of which window make a batch. Iterates over its item numbers.

    Attributes:
        epoch: Epoch.
        position: Number of the batch among this process's batches of the epoch.
        visit: Number of the visit in the epoch, over all processes; what masks are drawn for.
        window: Number of the window.
        samples: (B,) sample numbers.
        n_samples: All samples, for the item numbers.
    """

    epoch: int
    position: int
    visit: int
    window: int
    samples: I64Array
    n_samples: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.window * self.n_samples + self.samples).tolist())

    def __len__(self) -> int:
        return len(self.samples)


class WindowGroupedSampler:
    """Batches of one process, in order, for one epoch after another; a torch Sampler by its methods.

    Each iteration runs through the whole epoch, except the first one after `load_state_dict`, which goes on where the
    state was taken. Frameworks must not wrap it in a sampler of their own for several processes.

    Args:
        config: What is sampled.
        rank: Number of this process.
        world_size: Processes.

    Raises:
        ConfigError: The lanes cannot be dealt evenly to the processes, or a visit's samples cannot be cut into
            equally many batches in every lane (batches of 1, or fewer samples than lanes).
        RangeError: The rank is outside the world.
    """

    def __init__(self, config: SamplerConfig, *, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise RangeError(f"rank {rank} of {world_size} processes")
        lanes = config.lanes or world_size
        if lanes % world_size:
            raise ConfigError(f"{lanes} lanes cannot be dealt evenly to {world_size} processes")
        self.config = dataclasses.replace(config, lanes=lanes)
        self._rank, self._world_size, self._lanes = rank, world_size, lanes
        self._rounds, self._tail = divmod(self.config.epoch_visits, lanes)
        self._whole_batches = self._batches_of(1) if self._rounds else 0
        self._split_batches = self._batches_of(lanes) if self._tail else 0
        self._epoch = 0
        self._handed_out = 0
        self._resume_at: int | None = None

    @property
    def epoch(self) -> int:
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next iteration; the epoch of a state just loaded keeps its place.

        Raises:
            RangeError: The epoch is negative.
        """
        if epoch < 0:
            raise RangeError(f"epoch {epoch}")
        if epoch != self._epoch:
            self._epoch, self._handed_out, self._resume_at = epoch, 0, None

    def __len__(self) -> int:
        """Batches of this process in a whole epoch."""
        steps = self._rounds * self._whole_batches + self._tail * self._split_batches
        return steps * (self._lanes // self._world_size)

    @property
    def rounds(self) -> list[int]:
        """Batches of this process in each round of an epoch: one visit of every lane, or one that all lanes share."""
        turns = self._lanes // self._world_size
        return [self._whole_batches * turns] * self._rounds + [self._split_batches * turns] * self._tail

    def __iter__(self) -> Iterator[BatchRequest]:
        start, self._resume_at = self._resume_at or 0, None
        self._handed_out = start
        return self._run(self._epoch, start)

    def batch_at(self, position: int, epoch: int | None = None) -> BatchRequest:
        """One batch of this process, whatever has been iterated; for looking ahead.

        Raises:
            RangeError: The epoch has no such batch.
        """
        if not 0 <= position < len(self):
            raise RangeError(f"batch {position} of an epoch of {len(self)}")
        epoch = self._epoch if epoch is None else epoch
        step, turn = divmod(position, self._lanes // self._world_size)
        lane = self._rank + self._world_size * turn
        whole_steps = self._rounds * self._whole_batches
        if step < whole_steps:
            round_number, batch = divmod(step, self._whole_batches)
            visit, cuts = round_number * self._lanes + lane, (0, 1, batch, self._whole_batches)
        else:
            remaining, batch = divmod(step - whole_steps, self._split_batches)
            visit, cuts = self._rounds * self._lanes + remaining, (lane, self._lanes, batch, self._split_batches)
        window, samples = self._samples(epoch, visit, *cuts)
        return BatchRequest(
            epoch=epoch,
            position=position,
            visit=visit,
            window=window,
            samples=samples,
            n_samples=self.config.n_samples,
        )

    def state_dict(self, batches_done: int | None = None) -> dict[str, Any]:
        """Where this epoch stands, as plain values.

        Args:
            batches_done: Batches that this process has trained on; those handed out unless given, which is too many
                when a loader reads ahead.
        """
        return {
            "epoch": self._epoch,
            "batches_done": self._handed_out if batches_done is None else batches_done,
            "world_size": self._world_size,
            "config": dataclasses.asdict(self.config),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the state was taken; another number of processes may take over between two steps.

        Raises:
            ConfigError: The state is of a sampler that differs, named with both values, or was taken in the middle
                of a step of another number of processes.
        """
        for name, mine in dataclasses.asdict(self.config).items():
            theirs = state["config"].get(name)
            if theirs != mine:
                raise ConfigError(f"the saved sampler has {name} = {theirs}, this one {mine}")
        steps, within = divmod(state["batches_done"], self._lanes // state["world_size"])
        if within and state["world_size"] != self._world_size:
            raise ConfigError(f"{state['batches_done']} batches of {state['world_size']} processes end within a step")
        self._epoch = state["epoch"]
        self._resume_at = steps * (self._lanes // self._world_size) + within
        self._handed_out = self._resume_at

    def _run(self, epoch: int, start: int) -> Iterator[BatchRequest]:
        for position in range(start, len(self)):
            self._handed_out = position + 1
            yield self.batch_at(position, epoch)

    def _samples(
        self, epoch: int, visit: int, share: int, shares: int, batch: int, batches: int
    ) -> tuple[int, I64Array]:
        """The window, and the samples of one batch of one share of the visit."""
        config = self.config
        pass_number, place = divmod(epoch * config.epoch_visits + visit, config.n_windows * config.parts)
        if config.shuffle:
            key = stream_key("visits", config.seed, pass_number)
            place = Shuffle(config.n_windows * config.parts, key).at(place)
        window, part = divmod(place, config.parts)
        begin, end = _cut(0, config.n_samples, part, config.parts)
        begin, end = _cut(*_cut(begin, end, share, shares), batch, batches)
        chosen = np.arange(begin, end, dtype=np.int64)
        if config.shuffle:
            chosen = Shuffle(config.n_samples, stream_key("samples", config.seed, pass_number, window))(chosen)
        return window, chosen

    def _batches_of(self, shares: int) -> int:
        """Batches of every share of a visit that is split into so many."""
        config = self.config
        most = -(-config.n_samples // (config.parts * shares))
        least = config.n_samples // (config.parts * shares)
        batches = -(-most // config.batch_size)
        if least < batches:
            raise ConfigError(
                f"{config.n_samples} samples, {config.parts} visits of each window, {shares} lanes: batches of "
                f"{config.batch_size} would be more in one lane than in another; use larger batches or fewer lanes"
            )
        return batches


def _cut(begin: int, end: int, part: int, parts: int) -> tuple[int, int]:
    """Borders of one of several nearly equal parts of [begin, end)."""
    return begin + (end - begin) * part // parts, begin + (end - begin) * (part + 1) // parts
