"""Where the segments of retrieval lie: half-overlapping runs of sites, at several scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.types import BoolArray

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
        if not 0 <= start < stop <= self.n_sites or len(observed) != self.n_sites:
            raise RangeError(f"sites [{start}, {stop}) of a panel of {self.n_sites}, mask of {len(observed)}")
        count = np.concatenate([[0], np.cumsum(observed[start:stop])])
        found: list[Segment] = []
        range_stands_in = False
        for scale, length in enumerate(self.lengths):
            inside = self._at_scale(scale, length, start, stop)
            if not inside and not range_stands_in:
                inside, range_stands_in = [Segment(scale, start, stop)], True
            found.extend(inside)
        return [s for s in found if count[s.stop - start] - count[s.start - start] >= self.min_observed]

    def enclosing(self, segment: Segment, start: int, stop: int) -> tuple[int, int]:
        """Sites of about four times the segment's length around it, clipped to the context [start, stop)."""
        margin = (ENCLOSING_FACTOR - 1) * (segment.stop - segment.start) // 2
        return max(start, segment.start - margin), min(stop, segment.stop + margin)

    def _at_scale(self, scale: int, length: int, start: int, stop: int) -> list[Segment]:
        half = length // 2
        first = -(-start // half) * half
        # Which segment is the contig's last must not depend on the range asked for.
        last = max(0, -(-(self.n_sites - length) // half) * half)
        starts = range(first, min(last + 1, stop), half)
        segments = [Segment(scale, begin, min(begin + length, self.n_sites)) for begin in starts]
        return [segment for segment in segments if segment.stop <= stop]


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
