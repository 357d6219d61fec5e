"""Ploidy against loops over samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.panel.ploidy import NOBODY, Ploidy

counts = st.lists(st.integers(1, 2), min_size=1, max_size=12)


def owners(of: list[int]) -> list[int]:
    """Sample of each haplotype, the slow way."""
    return [s for s, n in enumerate(of) for _ in range(n)]


@given(of=counts)
def test_ploidy__says_whose_every_haplotype_is(of: list[int]) -> None:
    ploidy = Ploidy.of(of)
    mine = owners(of)
    assert (ploidy.n_samples, ploidy.n_haplotypes) == (len(of), len(mine))
    assert ploidy.sample_of.tolist() == mine
    for h, sample in enumerate(mine):
        others = [i for i, other in enumerate(mine) if other == sample and i != h]
        assert ploidy.partner_of[h] == (others[0] if others else NOBODY)
        assert h in ploidy.span(sample)
    assert [len(ploidy.span(s)) for s in range(len(of))] == of
    assert ploidy.is_diploid == all(n == 2 for n in of)
    assert ploidy.is_haploid.tolist() == [n == 1 for n in of]
    assert ploidy.of_haplotypes(range(len(of))) == tuple(mine)


@given(of=counts, data=st.data())
def test_ploidy__of_chosen_samples(of: list[int], data: st.DataObject) -> None:
    ploidy = Ploidy.of(of)
    chosen = data.draw(st.lists(st.integers(0, len(of) - 1), max_size=6))
    assert ploidy.rows(chosen).tolist() == [h for s in chosen for h in ploidy.span(s)]
    assert ploidy.select(chosen).counts.tolist() == [of[s] for s in chosen]


@given(of=counts, seed=st.integers(0, 99))
def test_ploidy__values_of_samples(of: list[int], seed: int) -> None:
    ploidy, rng = Ploidy.of(of), np.random.default_rng(seed)
    values = rng.random((ploidy.n_haplotypes, 3)).astype(np.float32)
    spans = [list(ploidy.span(s)) for s in range(len(of))]
    np.testing.assert_array_equal(ploidy.sums(values), [values[mine].sum(axis=0) for mine in spans])
    np.testing.assert_array_equal(ploidy.copies(values), [values[mine].sum(axis=0) * (3 - len(mine)) for mine in spans])
    flags = values > 0.5
    np.testing.assert_array_equal(ploidy.every(flags), [flags[mine].all(axis=0) for mine in spans])
    pairs = ploidy.pairs(values, -1)
    for pair, mine in zip(pairs, spans, strict=True):
        np.testing.assert_array_equal(pair[: len(mine)], values[mine])
        assert (pair[len(mine) :] == -1).all()


@given(of=counts)
def test_ploidy__is_written_and_read_back(of: list[int]) -> None:
    ploidy = Ploidy.of(of)
    assert Ploidy.parse(str(ploidy)) == ploidy
    assert hash(Ploidy.parse(str(ploidy))) == hash(ploidy)


def test_ploidy__text() -> None:
    assert str(Ploidy.of([2, 2, 1, 2])) == "2x2 1x1 2x1"
    assert Ploidy.parse("2x1000") == Ploidy.diploid(1000)
    assert Ploidy.parse("2x1 1x1") != Ploidy.parse("1x1 2x1")
    for text in ("2", "3x1", "2x", "ax2", "2x-1"):
        with pytest.raises(RangeError, match="no ploidy"):
            Ploidy.parse(text)


def test_ploidy__refuses() -> None:
    for of in ([0, 2], [3], [-1]):
        with pytest.raises(RangeError, match="one haplotype or two"):
            Ploidy.of(of)
    with pytest.raises(ShapeError, match="uint8"):
        Ploidy(np.array([2, 2]))
    with pytest.raises(ShapeError, match="2 samples have 3 haplotypes, got 4"):
        Ploidy.of([1, 2]).sums(np.zeros(4))
    with pytest.raises(ShapeError, match="3 haplotypes are no pairs"):
        Ploidy.of_rows(3, None)
    assert Ploidy.of_rows(4, None) == Ploidy.diploid(2)
    assert Ploidy.of_rows(2, Ploidy.haploid(2)) == Ploidy.haploid(2)
