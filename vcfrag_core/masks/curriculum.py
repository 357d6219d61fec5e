"""Which mask each visit of training is under, and the fixed masks of validation."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.masks.draw import (
    ArrayLikeMask,
    FrequencyMask,
    MaskPolicy,
    MaskSites,
    MixtureMask,
    RandomMask,
    SpanMask,
    draw_mask,
)
from vcfrag_core.masks.policies import check_number
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray

REFRESHES = ("epoch", "visit")
VALIDATION_RATE = 0.5
DEFAULT_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig:
    """How much is hidden as training goes on.

    Attributes:
        levels: Share hidden at each level, each in (0, 1).
        epochs_per_level: Epochs of every level, one number for each or one for all; the last level goes on for ever.
        array_share: Share of an epoch's visits that are under an array-like mask, whatever the level.
        array: The array-like policy: ArrayLikeMask, or the sites of a real array.
        random_share: Weight of random masks among a level's visits.
        frequency_share: Weight of masks that hide rare sites more often.
        span_share: Weight of masks that hide runs of sites.
        span_sites: Mean length of a hidden run, in sites; longer where a level's share needs it.
        refresh: `visit`, a new mask at every visit of a window; `epoch`, one mask of the level and one array-like
            mask for each epoch.
    """

    levels: tuple[float, ...] = DEFAULT_LEVELS
    epochs_per_level: int | tuple[int, ...] = 1
    array_share: float = 0.3
    array: MaskPolicy = dataclasses.field(default_factory=ArrayLikeMask)
    random_share: float = 1.0
    frequency_share: float = 0.0
    span_share: float = 0.0
    span_sites: float = 32.0
    refresh: str = "visit"

    def __post_init__(self) -> None:
        if not self.levels:
            raise ConfigError("a curriculum needs at least one level")
        for level in self.levels:
            check_number("a level", level, 1e-6, 1 - 1e-6)
        epochs = self.epochs_of_levels
        if len(epochs) != len(self.levels) or any(n < 1 or n != int(n) for n in epochs):
            raise ConfigError(f"{len(self.levels)} levels with epochs_per_level = {self.epochs_per_level!r}")
        check_number("array_share", self.array_share, 0, 1)
        check_number("span_sites", self.span_sites, 1, 1e9)
        for name in ("random_share", "frequency_share", "span_share"):
            check_number(name, getattr(self, name), 0, 1e9)
        if self.random_share + self.frequency_share + self.span_share <= 0:
            raise ConfigError("random_share, frequency_share and span_share are all 0")
        if self.refresh not in REFRESHES:
            raise ConfigError(f"refresh must be one of {', '.join(REFRESHES)}, got {self.refresh!r}")

    @property
    def epochs_of_levels(self) -> tuple[int, ...]:
        """Epochs of every level."""
        if isinstance(self.epochs_per_level, tuple):
            return self.epochs_per_level
        return (self.epochs_per_level,) * len(self.levels)

    def level(self, epoch: int) -> float:
        """Share hidden at the level that `epoch` belongs to."""
        ends = list(itertools.accumulate(self.epochs_of_levels))
        return self.levels[min(bisect.bisect_right(ends, epoch), len(self.levels) - 1)]

    def level_policy(self, epoch: int) -> MaskPolicy:
        """What a visit of this epoch is drawn from when it is not array-like."""
        level = self.level(epoch)
        parts: list[tuple[float, MaskPolicy]] = [
            (self.random_share, RandomMask(level)),
            (self.frequency_share, FrequencyMask(level)),
            (self.span_share, SpanMask(level, max(self.span_sites, 1 / (1 - level)))),
        ]
        chosen = [(share, policy) for share, policy in parts if share > 0]
        if len(chosen) == 1:
            return chosen[0][1]
        total = sum(share for share, _ in chosen)
        return MixtureMask(tuple(policy for _, policy in chosen), tuple(share / total for share, _ in chosen))


@dataclasses.dataclass(frozen=True, slots=True)
class MaskKey:
    """Names one mask of a run: equal keys, equal masks.

    Attributes:
        kind: `level`, `array`, or a validation mask's name.
        policy: What it is drawn from.
        epoch: Epoch that it is drawn for.
        visit: Visit that it is drawn for; 0 where masks change by epoch only.
    """

    kind: str
    policy: MaskPolicy
    epoch: int
    visit: int


class TrainingMasks:
    """The masks of a training run, by epoch and visit.

    Args:
        config: The curriculum.
        sites: The panel's sites with the training reference's frequencies.
        seed: The run's seed.
        split: Name of the split.
        within: (V,) sites that may be observed; all unless given.
    """

    def __init__(
        self,
        config: CurriculumConfig,
        sites: MaskSites,
        *,
        seed: int,
        split: str = "train",
        within: BoolArray | None = None,
    ) -> None:
        self.config = config
        self._sites = sites
        self._seed = seed
        self._split = split
        self._within = within

    def key(self, epoch: int, visit: int) -> MaskKey:
        """Which mask the visit is under; does not draw it.

        Raises:
            RangeError: The epoch or the visit is negative.
        """
        if epoch < 0 or visit < 0:
            raise RangeError(f"epoch {epoch}, visit {visit}")
        drawn_for = visit if self.config.refresh == "visit" else 0
        if self._is_array(epoch, visit):
            return MaskKey("array", self.config.array, epoch, drawn_for)
        return MaskKey("level", self.config.level_policy(epoch), epoch, drawn_for)

    def draw(self, key: MaskKey) -> BoolArray:
        """(V,) the observed sites of that mask."""
        observed = draw_mask(
            key.policy, self._sites, seed=self._seed, split=self._split, epoch=key.epoch, visit=key.visit
        )
        return observed if self._within is None else observed & self._within

    def _is_array(self, epoch: int, visit: int) -> bool:
        """Spreads the array-like visits evenly over the epoch, from a start that differs between epochs."""
        start = float(Stream("array visits", self._seed, self._split, epoch).uniform(1)[0])
        share = self.config.array_share
        return math.floor(start + (visit + 1) * share) > math.floor(start + visit * share)


def validation_masks(
    sites: MaskSites, *, seed: int, array: MaskPolicy | None = None, split: str = "validation"
) -> dict[str, BoolArray]:
    """The two masks of validation, the same in every epoch.

    Args:
        sites: The panel's sites with the reference frequencies.
        seed: Validation's own seed, so that a new training seed is judged on the same masks.
        array: The array-like policy, ArrayLikeMask unless given.
        split: Name of the split.

    Returns:
        `half`: (V,) half of the sites hidden at random; `array`: (V,) an array-like mask.
    """
    policies: dict[str, MaskPolicy] = {"half": RandomMask(VALIDATION_RATE), "array": array or ArrayLikeMask()}
    return {
        name: draw_mask(policy, sites, seed=seed, split=split, epoch=0, visit=0) for name, policy in policies.items()
    }
