"""Segments against a brute-force reading of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.retrieval.layout import Segment, SegmentLayout, layout_for
from vcfrag_core.types import BoolArray


def whole_contig(n_sites: int, length: int) -> list[tuple[int, int]]:
    """All segments of one length: at every multiple of half of it, until one reaches the end."""
    segments = []
    for begin in range(0, n_sites, length // 2):
        segments.append((begin, min(begin + length, n_sites)))
        if begin + length >= n_sites:
            break
    return segments


def brute_force(layout: SegmentLayout, start: int, stop: int, observed: BoolArray) -> list[Segment]:
    found = []
    stood_in = False
    for scale, length in enumerate(layout.lengths):
        inside = [(a, b) for a, b in whole_contig(layout.n_sites, length) if start <= a and b <= stop]
        if not inside and not stood_in:
            inside, stood_in = [(start, stop)], True
        found.extend(Segment(scale, a, b) for a, b in inside)
    return [s for s in found if sum(map(bool, observed[s.start : s.stop])) >= layout.min_observed]


@st.composite
def searches(draw: st.DrawFn) -> tuple[SegmentLayout, int, int, BoolArray]:
    n_sites = draw(st.integers(1, 120))
    halves = draw(st.sets(st.integers(1, 70), min_size=1, max_size=3))
    layout = SegmentLayout(
        n_sites=n_sites, lengths=tuple(2 * h for h in sorted(halves)), min_observed=draw(st.integers(1, 6))
    )
    start = draw(st.integers(0, n_sites - 1))
    stop = draw(st.integers(start + 1, n_sites))
    observed = np.random.default_rng(draw(st.integers(0, 1000))).random(n_sites) < draw(st.sampled_from([0.1, 0.5, 1]))
    return layout, start, stop, observed


@given(case=searches())
def test_segments_within__equal_brute_force(case: tuple[SegmentLayout, int, int, BoolArray]) -> None:
    layout, start, stop, observed = case
    found = layout.segments_within(start, stop, observed)
    assert found == brute_force(layout, start, stop, observed)
    assert layout.count_within(start, stop, observed) == len(found)


@given(case=searches())
def test_segments_within__two_ranges_share_what_both_hold(case: tuple[SegmentLayout, int, int, BoolArray]) -> None:
    layout, start, stop, observed = case
    whole = layout.segments_within(0, layout.n_sites, observed)
    part = layout.segments_within(start, stop, observed)
    assert {s for s in part if (s.start, s.stop) != (start, stop)} <= set(whole)
    assert {s for s in whole if start <= s.start and s.stop <= stop} <= set(part)


@given(case=searches())
def test_segments_within__cover_every_site_when_all_is_observed(
    case: tuple[SegmentLayout, int, int, BoolArray],
) -> None:
    layout, _, _, _ = case
    observed = np.ones(layout.n_sites, dtype=np.bool_)
    layout = SegmentLayout(n_sites=layout.n_sites, lengths=layout.lengths, min_observed=1)
    for scale in range(len(layout.lengths)):
        covered = np.zeros(layout.n_sites, dtype=np.bool_)
        for segment in layout.segments_within(0, layout.n_sites, observed):
            if segment.scale == scale:
                covered[segment.start : segment.stop] = True
        assert bool(covered.all())


def test_segments_within__the_last_segment_does_not_depend_on_the_range() -> None:
    layout = SegmentLayout(n_sites=100, lengths=(60,), min_observed=1)
    observed = np.ones(100, dtype=np.bool_)
    assert layout.segments_within(60, 100, observed) == [Segment(0, 60, 100)]
    assert layout.segments_within(85, 100, observed) == [Segment(0, 85, 100)]


@given(case=searches())
def test_enclosing__four_times_as_long_and_within_the_context(
    case: tuple[SegmentLayout, int, int, BoolArray],
) -> None:
    layout, start, stop, observed = case
    for segment in layout.segments_within(start, stop, observed):
        a, b = layout.enclosing(segment, start, stop)
        length = segment.stop - segment.start
        assert start <= a <= segment.start < segment.stop <= b <= stop
        assert b - a <= 4 * length
        assert a == start or segment.start - a == 3 * length // 2
        assert b == stop or b - segment.stop == 3 * length // 2


@given(rate=st.floats(0.02, 1), seed=st.integers(0, 100))
def test_layout_for__segments_hold_about_the_wanted_number(rate: float, seed: int) -> None:
    observed = np.random.default_rng(seed).random(20_000) < rate
    layout = layout_for(observed, (16, 64, 200))
    density = observed.mean()
    for length, wanted in zip(layout.lengths, (16, 64, 200), strict=True):
        assert abs(length * density - wanted) <= max(1.0, 2 * density)


def test_layout_for__equal_lengths_fall_together() -> None:
    assert layout_for(np.ones(50, dtype=np.bool_), (1, 2, 3)).lengths == (2, 4)


@pytest.mark.parametrize("lengths", [(), (3,), (0,), (8, 4), (4, 4)])
def test_layout__bad_lengths_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="segment lengths"):
        SegmentLayout(n_sites=10, lengths=lengths)


def test_layout__bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_observed"):
        SegmentLayout(n_sites=10, lengths=(4,), min_observed=0)
    with pytest.raises(ConfigError, match="no site is observed"):
        layout_for(np.zeros(5, dtype=np.bool_), (2,))
    for wanted in ((), (0, 2), (4, 2)):
        with pytest.raises(ConfigError, match="must ascend"):
            layout_for(np.ones(5, dtype=np.bool_), wanted)


@pytest.mark.parametrize(("start", "stop", "mask_length"), [(-1, 5, 10), (5, 5, 10), (0, 11, 10), (0, 5, 9)])
def test_segments_within__ranges_outside_are_refused(start: int, stop: int, mask_length: int) -> None:
    with pytest.raises(RangeError, match="panel of 10"):
        SegmentLayout(n_sites=10, lengths=(4,)).segments_within(start, stop, np.ones(mask_length, dtype=np.bool_))
