"""Genotype columns from haplotype dosages, and the statistics of a site."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import NotFiniteError, RangeError, ShapeError
from vcfrag_core.output.genotypes import (
    N_PAIRS,
    NONE,
    ColumnTable,
    empirical_r2,
    genotype_columns,
    pair_key,
    pair_of,
    possible_both,
    thousandths,
)

dosages = st.integers(0, 1000)


@given(a=dosages, b=dosages, share=st.floats(0, 1))
def test_genotype_columns__of_haplotypes_that_depend_on_each_other(a: int, b: int, share: float) -> None:
    least, most = max(0, a + b - 1000), min(a, b)
    both = round(least + share * (most - least))
    columns = genotype_columns(np.array([a]), np.array([b]), np.array([both]))
    gp = columns.gp[0].tolist()
    assert gp == [1000 - a - b + both, a + b - 2 * both, both]
    assert min(gp) >= 0
    assert columns.ds[0] == a + b == gp[1] + 2 * gp[2]
    gt = columns.gt[0].tolist()
    assert gp[sum(gt)] == max(gp)
    if sum(gt) == 1:
        assert gt == [int(a >= b), int(a < b)]


def test_genotype_columns__independent_where_both_is_none() -> None:
    first, second = np.array([[100, 900], [500, 250]]), np.array([[700, 40], [NONE, 250]])
    both = np.array([[NONE, 30], [NONE, NONE]])
    table = ColumnTable()
    made, plain = table.columns(first, second, both), table.columns(first, second)
    assert made.gp[0, 1].tolist() == [1000 - 940 + 30, 940 - 60, 30]
    for place in ((0, 0), (1, 0), (1, 1)):
        assert np.array_equal(made.gp[place], plain.gp[place])
        assert np.array_equal(made.gt[place], plain.gt[place])
    assert np.array_equal(made.ds, plain.ds)


def test_possible_both__lies_within_what_the_dosages_allow() -> None:
    made = possible_both(np.array([900, 100, 5]), np.array([800, 50, 5]), np.array([10, 400, NONE]))
    assert made.tolist() == [700, 50, NONE]


@given(a=dosages, b=dosages)
def test_genotype_columns__agree_with_exact_fractions(a: int, b: int) -> None:
    columns = genotype_columns(np.array([a]), np.array([b]))
    p, q = Fraction(a, 1000), Fraction(b, 1000)
    exact = [(1 - p) * (1 - q), p * (1 - q) + q * (1 - p), p * q]
    gp = columns.gp[0].tolist()
    assert sum(gp) == 1000
    assert all(abs(Fraction(x, 1000) - e) < Fraction(1, 1000) for x, e in zip(gp, exact, strict=True))
    assert columns.ds[0] == a + b
    copies = exact.index(max(exact))
    first, second = columns.gt[0].tolist()
    assert first + second == copies
    assert gp[copies] == max(gp)
    if copies == 1:
        assert (first, second) == ((1, 0) if a >= b else (0, 1))


@pytest.mark.parametrize(
    ("a", "b", "gt"),
    [
        (0, 0, (0, 0)),
        (1000, 0, (1, 0)),
        (0, 1000, (0, 1)),
        (1000, 1000, (1, 1)),
        (600, 600, (1, 0)),  # a heterozygote on a tie: the first
        (500, 0, (0, 0)),  # 0 and 1 copies equally likely: the fewer
        (0, 501, (0, 1)),
        (900, 900, (1, 1)),
        (667, 666, (1, 0)),
    ],
)
def test_genotype_columns__most_likely_genotype(a: int, b: int, gt: tuple[int, int]) -> None:
    assert tuple(genotype_columns(np.array([a]), np.array([b])).gt[0].tolist()) == gt


def test_column_table__is_genotype_columns_by_look_up() -> None:
    rng = np.random.default_rng(1)
    table = ColumnTable()
    for _ in range(3):
        first, second = rng.integers(0, 1001, (2, 7, 30))
        made = table.columns(first, second)
        plain = genotype_columns(first.reshape(-1), second.reshape(-1))
        np.testing.assert_array_equal(made.gt.reshape(-1, 2), plain.gt)
        np.testing.assert_array_equal(made.ds.reshape(-1), plain.ds)
        np.testing.assert_array_equal(made.gp.reshape(-1, 3), plain.gp)


@given(a=dosages)
def test_genotype_columns__of_one_haplotype(a: int) -> None:
    columns = genotype_columns(np.array([a]), np.array([NONE]))
    assert columns.gt[0].tolist() == [int(a > 500), NONE]
    assert columns.ds[0] == a
    assert columns.gp[0].tolist() == [1000 - a, a, NONE]
    table = ColumnTable().columns(np.array([a, a]), np.array([NONE, a]))
    assert table.gp[0].tolist() == columns.gp[0].tolist()
    assert table.gp[1].tolist() == genotype_columns(np.array([a]), np.array([a])).gp[0].tolist()


@given(a=dosages, b=st.integers(-1, 1000))
def test_pair_key__can_be_undone(a: int, b: int) -> None:
    key = pair_key(np.array([a]), np.array([b]))
    assert 0 <= int(key[0]) < N_PAIRS
    assert tuple(int(value[0]) for value in pair_of(key)) == (a, b)


def test_thousandths() -> None:
    values = np.array([0.0, 1.0, 0.0004, 0.0006, 0.5, 1 + 1e-6, -1e-6], dtype=np.float32)
    assert thousandths(values).tolist() == [0, 1000, 0, 1, 500, 1000, 0]
    with pytest.raises(NotFiniteError):
        thousandths(np.array([0.1, np.nan], dtype=np.float32))
    with pytest.raises(RangeError, match=r"0\.2 to 1\.5"):
        thousandths(np.array([0.2, 1.5], dtype=np.float64))


def test_empirical_r2__is_the_squared_correlation_of_called_alleles() -> None:
    rng = np.random.default_rng(3)
    alleles = rng.integers(-1, 2, (60, 12)).astype(np.int8)
    dosage = rng.random((60, 12)).astype(np.float32)
    dosage[5, 3] = np.nan
    found = empirical_r2(dosage, alleles)
    for site in range(12):
        known = (alleles[:, site] >= 0) & np.isfinite(dosage[:, site])
        r = np.corrcoef(dosage[known, site], alleles[known, site])[0, 1]
        assert found[site] == pytest.approx(max(r, 0) ** 2, abs=1e-6)


def test_empirical_r2__no_variation_is_nan() -> None:
    alleles = np.array([[0, 0], [0, 1]], dtype=np.int8)
    dosage = np.array([[0.1, 0.5], [0.2, 0.5]], dtype=np.float32)
    assert np.isnan(empirical_r2(dosage, alleles)).all()
    two, three = np.array([[0], [1]], dtype=np.int8), np.array([[0], [1], [1]], dtype=np.int8)
    assert np.isnan(empirical_r2(np.array([[0.4], [0.6]], dtype=np.float32), two)).all()
    assert empirical_r2(np.array([[0.4], [0.6], [0.6]], dtype=np.float32), three)[0] == pytest.approx(1)
    with pytest.raises(ShapeError):
        empirical_r2(dosage, alleles[:, :1])
