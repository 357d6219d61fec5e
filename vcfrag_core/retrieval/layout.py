"""Where the segments of retrieval lie: half-overlapping runs of sites, at several scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.types import BoolArray, I64Array

ENCLOSING_FACTOR = 4


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Sites [start, stop) compared by one index; `scale` numbers the layout's lengths from the shortest."""

    scale: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLayout:
    """Segment borders that depend on the panel's site numbers alone.

    At each scale, segments start at every multiple of half their length up to the first that reaches the contig's end,
    which ends with it.

    Attributes:
        n_sites: V, sites of the panel.
        lengths: Sites of a segment at each scale, ascending, each even.
        min_observed: Segments with fewer observed sites are skipped.
    """

    n_sites: int
    lengths: tuple[int, ...]
    min_observed: int = 4

    def __post_init__(self) -> None:
        if not self.lengths or any(n < 2 or n % 2 for n in self.lengths):
            raise ConfigError(f"segment lengths must be even and >= 2, got {self.lengths}")
        if list(self.lengths) != sorted(set(self.lengths)):
            raise ConfigError(f"segment lengths must ascend, got {self.lengths}")
        if self.min_observed < 1:
            raise ConfigError(f"min_observed must be >= 1, got {self.min_observed}")

    def segments_within(self, start: int, stop: int, observed: BoolArray) -> list[Segment]:
        """The segments wholly inside sites [start, stop) that hold `min_observed` observed sites.

        Where no segment of a scale fits into the range, the range itself stands for that scale (once, however
        many scales do not fit).

        Args:
            start: First site of the context.
            stop: Site after the last of the context.
            observed: (V,) the mask in force.

        Raises:
            RangeError: The range is empty or not within the panel.
        """
        return [
            Segment(scale, begin, end)
            for scale, begins, ends in self._laid(start, stop, observed)
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]

    def count_within(self, start: int, stop: int, observed: BoolArray) -> int:
        """How many segments `segments_within` finds.

        Raises:
            RangeError: The range is empty or not within the panel.
        """
        return sum(len(begins) for _, begins, _ in self._laid(start, stop, observed))

    def enclosing(self, segment: Segment, start: int, stop: int) -> tuple[int, int]:
        """Sites of about four times the segment's length around it, clipped to the context [start, stop)."""
        margin = (ENCLOSING_FACTOR - 1) * (segment.stop - segment.start) // 2
        return max(start, segment.start - margin), min(stop, segment.stop + margin)

    def _laid(self, start: int, stop: int, observed: BoolArray) -> Iterator[tuple[int, I64Array, I64Array]]:
        """Scale by scale, where the segments that hold enough observed sites begin and end."""
        if not 0 <= start < stop <= self.n_sites or len(observed) != self.n_sites:
            raise RangeError(f"sites [{start}, {stop}) of a panel of {self.n_sites}, mask of {len(observed)}")
        count = np.concatenate([[0], np.cumsum(observed[start:stop])])
        range_stands_in = False
        for scale, length in enumerate(self.lengths):
            begins, ends = self._at_scale(length, start, stop)
            if not len(begins) and not range_stands_in:
                begins, ends, range_stands_in = np.array([start]), np.array([stop]), True
            enough = count[ends - start] - count[begins - start] >= self.min_observed
            yield scale, begins[enough], ends[enough]

    def _at_scale(self, length: int, start: int, stop: int) -> tuple[I64Array, I64Array]:
        half = length // 2
        first = -(-start // half) * half
        # Which segment is the contig's last must not depend on the range asked for.
        last = max(0, -(-(self.n_sites - length) // half) * half)
        begins = np.arange(first, min(last + 1, stop), half)
        ends = np.minimum(begins + length, self.n_sites)
        return begins[ends <= stop], ends[ends <= stop]


def layout_for(observed: BoolArray, wanted_observed: Sequence[int], *, min_observed: int = 4) -> SegmentLayout:
    """The layout whose segments hold about the wanted numbers of observed sites under this mask.

    Args:
        observed: (V,) the mask.
        wanted_observed: Observed sites per segment, one number for each scale, ascending.
        min_observed: Passed on to the layout.

    Raises:
        ConfigError: Nothing is observed, or the wanted numbers do not ascend.
    """
    n_observed = int(observed.sum())
    if n_observed == 0:
        raise ConfigError("no site is observed: nothing can be retrieved")
    if list(wanted_observed) != sorted(set(wanted_observed)) or not wanted_observed or wanted_observed[0] < 1:
        raise ConfigError(f"wanted observed sites per segment must ascend from 1, got {tuple(wanted_observed)}")
    halves = [max(1, round(n * len(observed) / n_observed / 2)) for n in wanted_observed]
    return SegmentLayout(
        n_sites=len(observed), lengths=tuple(2 * h for h in sorted(set(halves))), min_observed=min_observed
    )
