"""The genetic map as a function; reading one from a file is tested elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import GeneticMapError
from vcfrag_core.panel.genetic_map import GeneticMap


def genetic_map(positions: list[int], cm: list[float], contig: str = "20") -> GeneticMap:
    return GeneticMap(positions=np.array(positions, dtype=np.int64), cm=np.array(cm), contig=contig, source="m.gz")


@given(
    steps=st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 3)), min_size=2, max_size=20),
    asked=st.lists(st.integers(1, 300_000), min_size=2, max_size=20),
)
def test_at__never_falls_and_hits_the_knots(steps: list[tuple[int, float]], asked: list[int]) -> None:
    positions, cm = (np.cumsum(column) for column in zip(*steps, strict=True))
    mapped = genetic_map(positions.tolist(), cm.tolist())
    np.testing.assert_allclose(mapped.at(positions), cm, rtol=1e-12, atol=1e-12)
    assert bool((np.diff(mapped.at(np.sort(np.array(asked)))) >= -1e-9).all())


def test_at__mean_rate_beyond_the_ends() -> None:
    mapped = genetic_map([1000, 2000, 3000], [1.0, 1.0, 5.0])
    np.testing.assert_allclose(mapped.at(np.array([500, 1500, 2500, 3500])), [0.0, 1.0, 3.0, 6.0])


def test_at__takes_the_panels_int32() -> None:
    mapped = genetic_map([1_000_000_000, 2_000_000_000], [0.0, 1000.0])
    np.testing.assert_allclose(mapped.at(np.array([2_147_483_647], dtype=np.int32)), 1147.483647)


@pytest.mark.parametrize(("start", "stop"), [(1, 5_000_000), (7, 7)])
def test_constant__one_centimorgan_per_megabase(start: int, stop: int) -> None:
    mapped = GeneticMap.constant("20", start, stop)
    np.testing.assert_allclose(np.diff(mapped.at(np.array([1_000_000, 3_500_000]))), 2.5)


def test_digest__depends_on_every_number_and_the_contig() -> None:
    first = genetic_map([1, 2], [0.0, 1.0])
    others = [
        genetic_map([1, 3], [0.0, 1.0]),
        genetic_map([1, 2], [0.0, 1.5]),
        genetic_map([1, 2], [0.0, 1.0], contig="21"),
    ]
    assert len({m.digest for m in (first, *others)}) == 4
    assert genetic_map([1, 2], [0.0, 1.0]).digest == first.digest


@pytest.mark.parametrize(
    ("positions", "cm"),
    [
        ([1], [0.0]),
        ([1, 2], [0.0]),
        ([2, 2], [0.0, 1.0]),
        ([1, 2], [1.0, 0.5]),
        ([1, 2], [0.0, float("nan")]),
        ([1, 2], [0.0, float("inf")]),
    ],
)
def test_genetic_map__nonsense_is_refused_with_its_file(positions: list[int], cm: list[float]) -> None:
    with pytest.raises(GeneticMapError, match=r"m\.gz"):
        genetic_map(positions, cm)
