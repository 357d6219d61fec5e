"""The assembly told by positions, lengths and names."""

from __future__ import annotations

import numpy as np
import pytest

from vcfrag_core.genome.markers import MIN_HITS, build_by_markers, marker_positions, told_build

BUILDS = ("GRCh37", "GRCh38")


def test_marker_positions__ascend_and_differ_between_builds() -> None:
    for build in BUILDS:
        markers = marker_positions(build)
        assert list(markers) == [str(n) for n in range(1, 23)]
        assert all((np.diff(positions) > 0).all() for positions in markers.values())
    # rs6054257 and its kin: the first markers of chromosome 20 lie 19 to 20 kb apart in both assemblies.
    ours, theirs = (marker_positions(build)["20"][:20] for build in BUILDS)
    assert abs(int(np.median(theirs - ours)) - 19_000) < 2_000


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("contig", ["20", "chr20", "NC_000020.10"])
def test_build_by_markers__a_few_markers_among_many_other_sites(build: str, contig: str) -> None:
    rng = np.random.default_rng(1)
    markers = marker_positions(build)["20"]
    some = np.union1d(rng.choice(markers, MIN_HITS + 3, replace=False), rng.integers(1, 64_000_000, 5_000))
    assert build_by_markers([(contig, some)]) == build


@pytest.mark.parametrize("build", BUILDS)
def test_build_by_markers__in_data_so_dense_that_the_other_build_is_hit_by_chance(build: str) -> None:
    rng = np.random.default_rng(2)
    dense = np.flatnonzero(rng.random(3_000_000) < 0.15)
    assert build_by_markers([("20", np.union1d(dense, marker_positions(build)["20"]))]) == build


def test_build_by_markers__says_nothing_without_evidence() -> None:
    markers = marker_positions("GRCh37")["20"]
    assert build_by_markers([("20", markers[: MIN_HITS - 1])]) is None
    assert build_by_markers([("20", np.arange(1, 2_000_000))]) is None
    assert build_by_markers([("HLA-A", markers), ("X", markers)]) is None
    assert build_by_markers([]) is None


def test_told_build__positions_before_lengths_before_names() -> None:
    nowhere = np.array([5])
    markers = marker_positions("GRCh37")["20"]
    assert told_build([("20", 64_444_167, markers)]) == "GRCh37"
    assert told_build([("20", 64_444_167, nowhere)]) == "GRCh38"
    assert told_build([("NC_000020.10", 64_444_167, nowhere)]) == "GRCh38"
    assert told_build([("NC_000020.10", None, nowhere)]) == "GRCh37"
    assert told_build([("X", 156_040_895, nowhere), ("HLA", 5, nowhere)]) == "GRCh38"
    assert told_build([("20", 64_444_167, nowhere), ("X", 155_270_560, nowhere)]) is None
    assert told_build([("20", None, nowhere)]) is None
