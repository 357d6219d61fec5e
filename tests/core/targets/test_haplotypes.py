"""Who has one haplotype, and what calls of every coding say of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import PloidyError, TargetError, UnphasedError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.calls import MISSING, NONE, Sex, TargetCalls
from vcfrag_core.targets.haplotypes import heterozygosity, settle_haplotypes
from vcfrag_core.targets.splitting import split_records
from vcfrag_core.types import I8Array

V = 120


def panel_of(ploidy: Ploidy, contig: str = "X") -> Panel:
    rng = np.random.default_rng(1)
    frequency = rng.uniform(0.2, 0.8, V)
    haplotypes = (rng.random((ploidy.n_haplotypes, V)) < frequency).astype(np.int8)
    return Panel.from_haplotypes(haplotypes, contig=contig, positions=1000 + 10 * np.arange(V), ploidy=ploidy)


MIXED = Ploidy.of([1, 2] * 40)


def calls_of(
    alleles: I8Array, *, contig: str = "X", phased: bool = True, sexes: tuple[Sex | None, ...] | None = None
) -> TargetCalls:
    n, s, _ = alleles.shape
    same = (alleles[:, :, 0] == alleles[:, :, 1]) | (alleles[:, :, 1] == NONE)
    return TargetCalls(
        contig=contig,
        samples=tuple(f"T{i}" for i in range(s)),
        sexes=sexes or (None,) * s,
        positions=(1000 + 10 * np.arange(n)).astype(np.int32),
        refs=("A",) * n,
        alts=(("C",),) * n,
        site_ids=(".",) * n,
        alleles=alleles,
        is_phased=same | np.bool_(phased),
        ref_is_known=np.ones(n, dtype=np.bool_),
        source="target.vcf",
    )


def men_and_women(seed: int = 2) -> tuple[I8Array, I8Array]:
    """(V, 2) alleles of two men, and (V, 2, 2) of two women."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (V, 2)).astype(np.int8), rng.integers(0, 2, (V, 2, 2)).astype(np.int8)


CODINGS = {
    "one allele": lambda men: np.stack([men, np.full_like(men, NONE)], axis=2),
    "two equal ones": lambda men: np.stack([men, men], axis=2),
    "one and a missing one": lambda men: np.stack([men, np.full_like(men, MISSING)], axis=2),
    "a missing one and one": lambda men: np.stack([np.full_like(men, MISSING), men], axis=2),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("phased", [True, False])
def test_settle_haplotypes__men_are_one_haplotype_in_every_coding(coding: str, phased: bool) -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS[coding](men), women], axis=1).astype(np.int8)
    calls = calls_of(alleles, phased=phased)
    calls = dataclasses.replace(calls, is_phased=calls.is_phased | np.array([False, False, True, True]))
    records, report = settle_haplotypes(calls, panel_of(MIXED))
    assert records.ploidy == Ploidy.of([1, 1, 2, 2])
    np.testing.assert_array_equal(records.alleles, np.concatenate([men, women.reshape(V, 4)], axis=1))
    assert report.men == ("T0", "T1")
    way = "heterozygosity" if coding == "two equal ones" else "one allele"
    assert report.told_by == {"T0": way, "T1": way, "T2": "heterozygosity", "T3": "heterozygosity"}
    assert not report.heterozygous
    assert not report.one_allele
    assert not report.unlikely


def test_settle_haplotypes__heterozygous_men_are_missing_and_counted() -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    alleles[[3, 8], 1] = [0, 1]
    records, report = settle_haplotypes(calls_of(alleles), panel_of(MIXED))
    assert report.heterozygous == {"T1": 2}
    assert records.alleles[[3, 8], 1].tolist() == [MISSING, MISSING]
    assert records.alleles[:, 0].tolist() == men[:, 0].tolist()


def test_settle_haplotypes__a_half_call_of_several_alt_alleles_counts_once() -> None:
    rng = np.random.default_rng(3)
    alleles = rng.integers(0, 2, (V, 2, 2)).astype(np.int8)
    alleles[4, :, :] = [[1, MISSING], [1, 2]]
    alleles[5, :, :] = [[0, 1], [MISSING, 1]]
    calls = calls_of(alleles, contig="20", phased=False)
    alts = (("C",),) * 4 + (("C", "G", "T"),) + (("C",),) * (V - 5)
    split = split_records(dataclasses.replace(calls, alts=alts))
    assert split.n_records == V + 2
    records, report = settle_haplotypes(split, panel_of(Ploidy.of([2] * 40), "20"))
    assert report.half_calls == {"T0": 1, "T1": 1}
    assert (records.alleles[4:7, :2] == MISSING).all()
    assert records.alleles[4:7, 2:].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_settle_haplotypes__what_is_given_goes_before_what_the_file_says_and_that_before_its_calls() -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    of_file = (Sex.FEMALE, None, Sex.FEMALE, Sex.MALE)
    records, report = settle_haplotypes(calls_of(alleles, sexes=of_file), panel_of(MIXED), {"T0": Sex.MALE})
    assert records.ploidy == Ploidy.of([1, 1, 2, 1])
    assert report.told_by == {"T0": "given", "T1": "heterozygosity", "T2": "given", "T3": "given"}
    assert list(report.unlikely) == ["T3"]
    assert report.unlikely["T3"] > 0.7
    n_het = int((women[:, 1, 0] != women[:, 1, 1]).sum())
    assert report.heterozygous == {"T3": n_het}


def test_settle_haplotypes__a_woman_without_heterozygous_calls_is_named() -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    records, report = settle_haplotypes(calls_of(alleles), panel_of(MIXED), {"T0": Sex.FEMALE})
    assert records.ploidy == Ploidy.of([2, 1, 2, 2])
    assert report.unlikely == {"T0": 0.0}


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_settle_haplotypes__a_man_who_is_given_as_a_woman_is_named_however_he_is_written(coding: str) -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS[coding](men), women], axis=1).astype(np.int8)
    _, report = settle_haplotypes(calls_of(alleles), panel_of(MIXED), {"T0": Sex.FEMALE})
    assert report.unlikely == {"T0": 0.0}


def test_settle_haplotypes__sexes_that_most_contradict_are_refused() -> None:
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    exchanged = {"T0": Sex.FEMALE, "T1": Sex.FEMALE, "T2": Sex.MALE, "T3": Sex.MALE}
    with pytest.raises(TargetError, match=r"sample T0: .*contradicts the sex given of 4 of 4 samples.*exchanged"):
        settle_haplotypes(calls_of(alleles), panel_of(MIXED), exchanged)
    _, report = settle_haplotypes(calls_of(alleles), panel_of(MIXED), exchanged | {"T0": Sex.MALE})
    assert list(report.unlikely) == ["T1", "T2", "T3"]


def test_settle_haplotypes__women_of_an_inbred_line_are_believed() -> None:
    men, _ = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men)] * 2, axis=1).astype(np.int8)
    women = {f"T{i}": Sex.FEMALE for i in range(4)}
    records, report = settle_haplotypes(calls_of(alleles), panel_of(MIXED), women)
    assert records.ploidy == Ploidy.of([2] * 4)
    assert list(report.unlikely) == list(women)


def test_settle_haplotypes__neither_man_nor_woman() -> None:
    men, women = men_and_women()
    women[: V * 2 // 3, 0, 1] = women[: V * 2 // 3, 0, 0]
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    panel = panel_of(MIXED)
    with pytest.raises(TargetError, match=r"sample T2: man or woman\? On X it has .* --sex FILE"):
        settle_haplotypes(calls_of(alleles), panel)
    few = calls_of(alleles).select(np.arange(V) < 6)
    with pytest.raises(TargetError, match=r"sample T0: man or woman.* too few calls to tell"):
        settle_haplotypes(few, panel)
    sexes = {"T0": Sex.MALE, "T1": Sex.MALE, "T2": Sex.FEMALE, "T3": Sex.FEMALE}
    assert settle_haplotypes(few, panel, sexes)[0].ploidy == Ploidy.of([1, 1, 2, 2])


@given(seed=st.integers(0, 99))
def test_heterozygosity__is_about_one_for_women_and_none_for_men(seed: int) -> None:
    rng = np.random.default_rng(seed)
    panel = panel_of(MIXED)
    drawn = (rng.random((4, V)) < panel.alt_frequency()).astype(np.int8)
    alleles = np.stack([np.stack([drawn[0], drawn[1]], axis=1), np.stack([drawn[2], drawn[2]], axis=1)], axis=1)
    share = heterozygosity(calls_of(alleles), panel)
    assert 0.6 < share[0] < 1.4
    assert share[1] == 0


def test_settle_haplotypes__where_everybody_has_one() -> None:
    alleles = np.array([[[0, NONE], [1, 1], [0, 1]], [[1, MISSING], [MISSING, NONE], [0, 0]]], dtype=np.int8)
    records, report = settle_haplotypes(calls_of(alleles, contig="MT", phased=False), panel_of(Ploidy.haploid(9), "MT"))
    assert records.ploidy == Ploidy.haploid(3)
    assert records.alleles.tolist() == [[0, 1, MISSING], [1, MISSING, 0]]
    assert report.heterozygous == {"T2": 1}
    assert report.men == ()


def test_settle_haplotypes__where_everybody_has_two() -> None:
    alleles = np.array([[[0, 1], [1, 1], [MISSING, NONE]], [[0, MISSING], [1, 0], [0, 0]]], dtype=np.int8)
    calls = calls_of(alleles, contig="20")
    records, _ = settle_haplotypes(calls, panel_of(Ploidy.diploid(9), "20"))
    assert records.alleles.tolist() == [[0, 1, 1, 1, MISSING, MISSING], [0, MISSING, 1, 0, 0, 0]]
    unphased = dataclasses.replace(calls, is_phased=np.array([[True, True, True], [False, True, True]]))
    records, _ = settle_haplotypes(unphased, panel_of(Ploidy.diploid(9), "20"))
    assert records.alleles[1].tolist() == [MISSING, MISSING, 1, 0, 0, 0]
    with pytest.raises(UnphasedError, match=r"record 20:1000 A>C, sample T0: 1 heterozygous genotypes in 1 records"):
        settle_haplotypes(
            dataclasses.replace(calls, is_phased=~(alleles[:, :, 0] != alleles[:, :, 1]) | np.array([[False], [True]])),
            panel_of(Ploidy.diploid(9), "20"),
        )[0].refuse_unphased()


@pytest.mark.parametrize(("contig", "n_haploid"), [("20", 1), ("chr7", 40), ("MT", 40), ("scaffold_9", 3)])
def test_settle_haplotypes__nobody_is_a_man_on_an_autosome(contig: str, n_haploid: int) -> None:
    """As where a few genomes of a panel are haploid: two alleles are two haplotypes, however alike."""
    men, women = men_and_women()
    lone = np.stack([men[:, 1], np.full_like(men[:, 1], NONE)], axis=1)
    alleles = np.stack([np.stack([men[:, 0], men[:, 0]], axis=1), women[:, 0], lone], axis=1)
    panel = panel_of(Ploidy.of([1] * n_haploid + [2] * 40), contig)
    records, report = settle_haplotypes(calls_of(alleles, contig=contig), panel)
    assert records.ploidy.counts.tolist() == [2, 2, 1]
    assert not report.told_by
    np.testing.assert_array_equal(records.alleles[:, :4], alleles[:, :2].reshape(V, 4))
    np.testing.assert_array_equal(records.alleles[:, 4], men[:, 1])


def test_settle_haplotypes__one_allele_where_two_are_needed() -> None:
    alleles = np.array([[[0, 1], [1, NONE]]], dtype=np.int8)
    with pytest.raises(
        PloidyError, match=r"record 20:1000 A>C, sample T1: has 1 allele where the panel's samples have"
    ):
        settle_haplotypes(calls_of(alleles, contig="20"), panel_of(Ploidy.diploid(9), "20"))
    in_par = dataclasses.replace(panel_of(Ploidy.diploid(9)), contig_length=155_270_560)
    records, report = settle_haplotypes(calls_of(alleles), in_par)
    assert records.alleles.tolist() == [[0, 1, MISSING, MISSING]]
    assert report.one_allele == {"T1": 1}


@pytest.mark.parametrize("ploidy", [Ploidy.diploid(40), Ploidy.haploid(80)], ids=["women", "men"])
@pytest.mark.parametrize("length", [155_270_560, None])
def test_settle_haplotypes__panels_of_one_sex(ploidy: Ploidy, length: int | None) -> None:
    """Targets of both sexes are told beyond the pseudo-autosomal regions, whoever is in the panel."""
    panel = panel_of(ploidy)
    moved = panel.positions + np.int32(5_000_000)
    panel = dataclasses.replace(panel, positions=moved, contig_length=length)
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["one allele"](men), women], axis=1).astype(np.int8)
    calls = dataclasses.replace(calls_of(alleles), positions=moved)
    records, report = settle_haplotypes(calls, panel)
    assert records.ploidy == Ploidy.of([1, 1, 2, 2])
    assert report.men == ("T0", "T1")


def test_settle_haplotypes__given_men_are_refused_where_x_may_end_anywhere() -> None:
    """Women alone in the panel, on both sides of a pseudo-autosomal region's end that no build tells."""
    panel = panel_of(Ploidy.diploid(40))
    moved = np.linspace(1_000_000, 9_000_000, V).astype(np.int32)
    panel = dataclasses.replace(panel, positions=moved)
    men, women = men_and_women()
    alleles = np.concatenate([CODINGS["two equal ones"](men), women], axis=1).astype(np.int8)
    calls = dataclasses.replace(calls_of(alleles), positions=moved)
    with pytest.raises(TargetError, match=r"T1.* is a man.*give the panel's contig its length"):
        settle_haplotypes(calls, panel, {"T1": Sex.MALE})
    # Those who have one allele beyond the region are men, too, whatever build the targets' file tells.
    one = np.concatenate([CODINGS["one allele"](men), women], axis=1).astype(np.int8)
    one[:20, :2, 1] = 1 - one[:20, :2, 0]
    for build in (None, "GRCh38"):
        haploid = dataclasses.replace(calls_of(one), positions=moved, build=build)
        with pytest.raises(TargetError, match=r"T0.* is a man"):
            settle_haplotypes(haploid, panel)
    everybody, _ = settle_haplotypes(calls, panel)
    assert everybody.ploidy.is_diploid
    inside = dataclasses.replace(panel, positions=(moved // 10).astype(np.int32))
    records, _ = settle_haplotypes(dataclasses.replace(calls, positions=inside.positions), inside, {"T1": Sex.MALE})
    assert records.ploidy.is_diploid


def test_settle_haplotypes__women_have_no_y() -> None:
    """Whoever is told to be a woman, and whoever has no call, is named; a woman's calls are nobody's."""
    rng = np.random.default_rng(3)
    first = rng.integers(0, 2, (V, 4)).astype(np.int8)
    first[:, 3] = MISSING
    alleles = np.stack([first, np.full_like(first, NONE)], axis=2)
    calls = calls_of(alleles, contig="Y", sexes=(Sex.MALE, Sex.FEMALE, None, None))
    records, report = settle_haplotypes(calls, panel_of(Ploidy.haploid(9), "Y"), {"T0": Sex.MALE})
    assert report.without_y == {"T1": V, "T3": 0}
    np.testing.assert_array_equal(records.alleles[:, [0, 2]], first[:, [0, 2]])
    assert (records.alleles[:, [1, 3]] == MISSING).all()
    assert settle_haplotypes(calls, panel_of(Ploidy.haploid(9), "Y"), {"T1": Sex.MALE})[1].without_y == {"T3": 0}
