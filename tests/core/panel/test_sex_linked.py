"""Men that a panel of X writes with two equal haplotypes, by the build and by themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vcfrag_core.errors import PloidyError
from vcfrag_core.genome.builds import BUILDS, is_sex_linked, length_of
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.sex_linked import without_repeated_haplotypes

N_SAMPLES = 40
# Where builds disagree there are sites, too.
POSITIONS = np.concatenate(
    [
        np.linspace(500_000, 2_300_000, 60),
        np.linspace(2_396_000, 2_790_000, 60),
        np.linspace(3_000_000, 153_000_000, 200),
        np.linspace(153_930_000, 154_250_000, 60),
    ]
).astype(np.int32)


def panel_on_x(diploid: np.ndarray, length: int | None) -> Panel:
    """Every second sample a man, who has two haplotypes where `diploid` and twice the same one elsewhere."""
    rng = np.random.default_rng(4)
    alleles = rng.integers(0, 2, (2 * N_SAMPLES, len(POSITIONS))).astype(np.int8)
    alleles[3::4] = np.where(diploid, alleles[3::4], alleles[2::4])
    panel = Panel.from_haplotypes(alleles, contig="X", positions=POSITIONS)
    return dataclasses.replace(panel, contig_length=length)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("length", [None, 5_799_896])
def test_without_repeated_haplotypes__men_show_where_a_region_ends(build: str, length: int | None) -> None:
    diploid = ~is_sex_linked(POSITIONS, build)
    found = without_repeated_haplotypes(panel_on_x(diploid, length))
    told = without_repeated_haplotypes(panel_on_x(diploid, length_of("X", build)))
    assert [panel.ploidy.is_diploid for panel in found] == [panel.ploidy.is_diploid for panel in told]
    for one, other in zip(found, told, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.haplotypes(), other.haplotypes())
    assert sum(int(panel.ploidy.is_haploid.sum()) for panel in found) == N_SAMPLES // 2


def test_without_repeated_haplotypes__men_of_no_build_are_refused() -> None:
    # Where the region at the start ends late, as in GRCh38, and that at the end begins early, as in T2T-CHM13.
    diploid = (POSITIONS < 2_781_479) | (POSITIONS > 153_926_000)
    with pytest.raises(PloidyError, match="20 samples have two equal haplotypes on most of X, as men"):
        without_repeated_haplotypes(panel_on_x(diploid, None))


def test_without_repeated_haplotypes__women_alone_stay_as_they_are() -> None:
    panel = panel_on_x(np.ones(len(POSITIONS), dtype=np.bool_), None)
    (same,) = without_repeated_haplotypes(panel)
    assert same is panel
