"""Records of files that name no REF, and several records of one site."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.sites.duplicates import lend_calls
from vcfrag_core.targets.sites.matching import match_records
from vcfrag_core.targets.sites.orientation import find_record
from vcfrag_core.targets.sites.site_tests import target_alleles
from vcfrag_core.types import I8Array

COMPLEMENT = str.maketrans("ACGT", "TGCA")
PAIRS = [(a, b) for a in "ACGT" for b in "ACGT" if a != b]


def records_of(lines: list[tuple[int, str, str]], alleles: I8Array, *, ref_is_known: bool = False) -> TargetRecords:
    n, h = alleles.shape
    return TargetRecords(
        contig="20",
        samples=tuple(f"T{i}" for i in range(h // 2)),
        ploidy=Ploidy.diploid(h // 2),
        positions=np.array([p for p, _, _ in lines], dtype=np.int32),
        refs=tuple(ref for _, ref, _ in lines),
        alts=tuple((alt,) if alt != "." else () for _, _, alt in lines),
        site_ids=(".",) * n,
        alleles=alleles.astype(np.int8),
        is_phased=np.ones((n, h // 2), dtype=np.bool_),
        ref_is_known=np.full(n, ref_is_known),
        source="target.bed",
    )


def panel_at(sites: list[tuple[int, str, str]]) -> Panel:
    rng = np.random.default_rng(1)
    return Panel.from_haplotypes(
        rng.integers(0, 2, (8, len(sites))),
        contig="20",
        positions=np.array([p for p, _, _ in sites]),
        refs=[ref for _, ref, _ in sites],
        alts=[alt for _, _, alt in sites],
    )


@pytest.mark.parametrize(("ref", "alt"), PAIRS)
def test_match_records__without_ref_the_panel_says_what_is_what(ref: str, alt: str) -> None:
    """Every way to write a variant gives the panel's alleles; A/T and C/G are told to fit either way."""
    panel = panel_at([(100, ref, alt)])
    carriers = np.array([[0, 1, 1, -1]], dtype=np.int8)
    palindromic = alt == ref.translate(COMPLEMENT)
    for flipped in (False, True):
        first, second = (base.translate(COMPLEMENT) if flipped else base for base in (ref, alt))
        for line, alleles in (((100, first, second), carriers), ((100, second, first), _other(carriers))):
            records = records_of([line], alleles)
            matching = match_records(records, panel)
            assert matching.reasons[0].is_used
            assert bool(matching.either_strand[0]) is palindromic
            if palindromic and flipped:
                matching = matching.turn([0])
                assert matching.reasons == (Reason.TURNED,)
            coded, _ = target_alleles(records, matching, 1)
            assert coded[:, 0].tolist() == carriers[0].tolist()


def _other(alleles: I8Array) -> I8Array:
    return np.where(alleles >= 0, 1 - alleles, alleles).astype(np.int8)


@pytest.mark.parametrize(
    ("ref", "known", "reason", "coded"),
    [
        ("A", True, Reason.WITHOUT_ALT, 0),
        ("C", True, Reason.NO_ALT, None),
        ("A", False, Reason.WITHOUT_ALT, 0),
        ("C", False, Reason.WITHOUT_ALT, 1),
        ("T", False, Reason.WITHOUT_ALT, 0),
        ("G", False, Reason.WITHOUT_ALT, 1),
        ("AT", False, Reason.NO_ALT, None),
    ],
)
def test_match_records__everybody_has_one_allele(ref: str, known: bool, reason: Reason, coded: int | None) -> None:
    panel = panel_at([(100, "A", "C")])
    records = records_of([(100, ref, ".")], np.array([[0, 0, 0, -1]], dtype=np.int8), ref_is_known=known)
    matching = match_records(records, panel)
    assert matching.reasons == (reason,)
    alleles, observed = target_alleles(records, matching, 1)
    assert observed.tolist() == [coded is not None]
    if coded is not None:
        assert alleles[:, 0].tolist() == [coded, coded, coded, -1]


def test_match_records__one_allele_where_the_panel_has_several_sites() -> None:
    """An SNV and an insertion: it is the SNV. Two SNVs: nobody knows which."""
    alleles = np.zeros((1, 4), dtype=np.int8)
    with_insertion = panel_at([(100, "A", "AT"), (100, "A", "C")])
    matching = match_records(records_of([(100, "A", ".")], alleles, ref_is_known=True), with_insertion)
    assert matching.reasons == (Reason.WITHOUT_ALT,)
    assert with_insertion.alts[int(matching.sites[0])] == "C"
    matching = match_records(
        records_of([(100, "A", ".")], alleles, ref_is_known=True), panel_at([(100, "A", "C"), (100, "A", "G")])
    )
    assert matching.reasons == (Reason.NO_ALT,)


def test_find_record__indels_without_ref_are_told_by_their_sequence() -> None:
    here = {("AT", "A"): 7}
    assert find_record("AT", ("A",), here, ref_is_known=False).reason is Reason.USED
    turned = find_record("A", ("AT",), here, ref_is_known=False)
    assert (turned.reason, turned.site, turned.exchanged) == (Reason.ORIENTED, 7, True)
    for ref, alt in (("I", "D"), ("D", "I"), ("A", "-"), ("D", "A")):
        assert find_record(ref, (alt,), here, ref_is_known=False).reason is Reason.INDEL_CODE


def test_strand_odds__follow_the_records_that_tell() -> None:
    sites = [(100 + i, "A", "C") for i in range(20)]
    lines = [(p, *(("T", "G") if i < 5 else ("A", "C"))) for i, (p, _, _) in enumerate(sites)]
    matching = match_records(records_of(lines, np.zeros((20, 4), dtype=np.int8)), panel_at(sites))
    assert matching.strand_odds() == pytest.approx(np.log(5.5 / 15.5))


def test_match_records__the_record_with_most_calls_is_used_and_the_others_lend_theirs() -> None:
    """Three probes: one without calls, one that is exchanged, and the best one, which misses a sample."""
    lines = [(100, "A", "C"), (100, "C", "A"), (100, "A", "C")]
    alleles = np.array(
        [[-1, -1, -1, -1, -1, -1, -1, -1], [1, 0, 0, 0, -1, -1, -1, -1], [0, 1, -1, -1, 1, 1, 0, 0]], dtype=np.int8
    )
    records = records_of(lines, alleles)
    matching = match_records(records, panel_at([(100, "A", "C")]))
    assert matching.reasons == (Reason.DUPLICATE, Reason.DUPLICATE, Reason.USED)
    lent, discordant = lend_calls(records, matching)
    assert not discordant
    coded, _ = target_alleles(lent, matching, 1)
    assert coded[:, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    np.testing.assert_array_equal(records.alleles, alleles)


def test_lend_calls__a_probe_that_says_otherwise_is_told_and_lends_nothing() -> None:
    lines = [(100, "A", "C"), (100, "A", "C")]
    alleles = np.array([[0, 1, -1, -1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, -1, -1]], dtype=np.int8)
    records = records_of(lines, alleles)
    matching = match_records(records, panel_at([(100, "A", "C")]))
    lent, (found,) = lend_calls(records, matching)
    assert (found.record, found.n_both, found.n_differ, found.lends) == (1, 2, 2, False)
    np.testing.assert_array_equal(lent.alleles, alleles)


@given(seed=st.integers(0, 200))
def test_lend_calls__phase_goes_with_the_call(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 20).astype(np.int8)
    alleles = np.stack([truth, truth])
    for row in range(2):
        alleles[row, np.repeat(rng.random(10) < 0.4, 2)] = -1
    records = records_of([(100, "A", "C")] * 2, alleles)
    phased = rng.random((2, 10)) < 0.5
    records = dataclasses.replace(records, is_phased=phased)
    matching = match_records(records, panel_at([(100, "A", "C")]))
    (used,) = matching.used().tolist()
    lent, discordant = lend_calls(records, matching)
    assert not discordant
    for sample in range(10):
        columns = slice(2 * sample, 2 * sample + 2)
        row = next((r for r in (used, 1 - used) if alleles[r, 2 * sample] >= 0), used)
        assert lent.alleles[used, columns].tolist() == alleles[row, columns].tolist()
        assert lent.is_phased[used, sample] == phased[row, sample]
