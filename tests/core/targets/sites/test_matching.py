"""Matching target records with a panel: what each record is, and whether the coordinates fit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vcf_text import panels
from vcfrag_core.errors import TargetError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.records import MEANING, Reason, TargetRecords
from vcfrag_core.targets.sites.matching import (
    check_build,
    match_records,
)
from vcfrag_core.targets.sites.orientation import is_ambiguous
from vcfrag_core.targets.sites.site_tests import target_alleles

Line = tuple[int, str, str]

SITES: list[Line] = [
    (100, "A", "C"),
    (200, "A", "T"),
    (300, "C", "G"),
    (400, "AT", "A"),
    (400, "A", "G"),
    (500, "G", "T"),
]


def small_panel() -> Panel:
    rng = np.random.default_rng(1)
    return Panel.from_haplotypes(
        rng.integers(0, 2, (4, len(SITES))),
        contig="20",
        positions=np.array([p for p, _, _ in SITES]),
        refs=[ref for _, ref, _ in SITES],
        alts=[alt for _, _, alt in SITES],
    )


def target_of(lines: Sequence[Line], alleles: np.ndarray | None = None, contig: str = "20") -> TargetRecords:
    n = len(lines)
    if alleles is None:
        alleles = np.tile(np.array([0, 1, 1, -1], dtype=np.int8), (n, 1))
    return TargetRecords(
        contig=contig,
        samples=tuple(f"T{i}" for i in range(alleles.shape[1] // 2)),
        ploidy=Ploidy.diploid(alleles.shape[1] // 2),
        positions=np.array([p for p, _, _ in lines], dtype=np.int32),
        refs=tuple(ref for _, ref, _ in lines),
        alts=tuple(tuple(alt.split(",")) if alt != "." else () for _, _, alt in lines),
        site_ids=(".",) * n,
        alleles=alleles.astype(np.int8),
        is_phased=np.ones((n, alleles.shape[1] // 2), dtype=np.bool_),
        ref_is_known=np.ones(n, dtype=np.bool_),
        source="target.vcf",
    )


def of_panel(panel: Panel) -> TargetRecords:
    lines = list(zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True))
    return target_of(lines, panel.haplotypes().T.astype(np.int8), panel.contig)


@pytest.mark.parametrize(
    ("line", "plain", "repaired"),
    [
        ((100, "A", "C"), Reason.USED, Reason.USED),
        ((100, "C", "A"), Reason.SWAPPED, Reason.SWAP_REPAIRED),
        ((100, "T", "G"), Reason.FLIPPED, Reason.FLIP_REPAIRED),
        ((100, "G", "T"), Reason.FLIPPED_SWAPPED, Reason.BOTH_REPAIRED),
        ((100, "A", "G"), Reason.OTHER_ALLELES, Reason.OTHER_ALLELES),
        ((100, "A", "."), Reason.WITHOUT_ALT, Reason.WITHOUT_ALT),
        ((100, "C", "."), Reason.NO_ALT, Reason.NO_ALT),
        ((100, "I", "D"), Reason.INDEL_CODE, Reason.INDEL_CODE),
        ((100, "A", "-"), Reason.INDEL_CODE, Reason.INDEL_CODE),
        ((100, "A", "<DEL>"), Reason.NO_ALT, Reason.NO_ALT),
        ((101, "A", "C"), Reason.NOT_IN_PANEL, Reason.NOT_IN_PANEL),
        ((99, "A", "C"), Reason.NOT_IN_PANEL, Reason.NOT_IN_PANEL),
        ((900, "A", "C"), Reason.NOT_IN_PANEL, Reason.NOT_IN_PANEL),
        ((200, "A", "T"), Reason.USED, Reason.USED),
        ((200, "T", "A"), Reason.AMBIGUOUS, Reason.AMBIGUOUS),
        ((300, "G", "C"), Reason.AMBIGUOUS, Reason.AMBIGUOUS),
        ((400, "AT", "A"), Reason.USED, Reason.USED),
        # An insertion is not the deletion read backwards.
        ((400, "A", "AT"), Reason.OTHER_ALLELES, Reason.OTHER_ALLELES),
        ((400, "G", "A"), Reason.SWAPPED, Reason.SWAP_REPAIRED),
    ],
)
def test_match_records__every_kind(line: Line, plain: Reason, repaired: Reason) -> None:
    panel = small_panel()
    assert match_records(target_of([line]), panel).reasons == (plain,)
    fixed = match_records(target_of([line]), panel, fix_swaps=True, fix_flips=True)
    assert fixed.reasons == (repaired,)
    if repaired.is_used:
        site = int(fixed.sites[0])
        assert panel.positions[site] == line[0]


def test_match_records__of_several_alts_the_panels_is_used_and_ref_is_never_taken_for_alt() -> None:
    lines = [(100, "A", "C"), (100, "A", "G"), (200, "T", "A"), (200, "T", "G"), (400, "G", "A"), (400, "G", "T")]
    split = np.array([100, 200, 400], dtype=np.int32)
    records = dataclasses.replace(target_of(lines), split_at=split)
    matching = match_records(records, small_panel(), fix_swaps=True, fix_flips=True)
    assert matching.reasons == (
        Reason.USED,
        Reason.OTHER_ALLELES,
        Reason.AMBIGUOUS,
        Reason.OTHER_ALLELES,
        Reason.MULTIALLELIC,
        Reason.OTHER_ALLELES,
    )
    # Records of which the panel has one ALT allele and not the others do not speak for another build.
    assert matching.build.explained_share == 1


def test_match_records__one_fix_does_not_mend_both() -> None:
    records = target_of([(100, "G", "T")])
    for fixes in ({"fix_swaps": True}, {"fix_flips": True}):
        assert match_records(records, small_panel(), **fixes).reasons == (Reason.FLIPPED_SWAPPED,)


def test_match_records__repeats_are_duplicates_and_exact_records_win() -> None:
    lines = [(100, "C", "A"), (100, "A", "C"), (100, "A", "C"), (100, "T", "G")]
    matching = match_records(target_of(lines), small_panel(), fix_swaps=True, fix_flips=True)
    assert matching.reasons == (Reason.DUPLICATE, Reason.USED, Reason.DUPLICATE, Reason.DUPLICATE)


def test_match_records__first_mended_record_wins_where_none_is_exact() -> None:
    lines = [(100, "C", "A"), (100, "T", "G")]
    matching = match_records(target_of(lines), small_panel(), fix_swaps=True, fix_flips=True)
    assert matching.reasons == (Reason.SWAP_REPAIRED, Reason.DUPLICATE)


def test_target_alleles__mended_swaps_are_recoded_and_flips_are_not() -> None:
    lines = [(100, "C", "A"), (400, "T", "C"), (500, "A", "C")]
    matching = match_records(target_of(lines), small_panel(), fix_swaps=True, fix_flips=True)
    assert matching.reasons == (Reason.SWAP_REPAIRED, Reason.FLIP_REPAIRED, Reason.BOTH_REPAIRED)
    alleles, observed = target_alleles(target_of(lines), matching, len(SITES))
    assert np.flatnonzero(observed).tolist() == [0, 4, 5]
    assert alleles[:, 0].tolist() == [1, 0, 0, -1]
    assert alleles[:, 4].tolist() == [0, 1, 1, -1]
    assert alleles[:, 5].tolist() == [1, 0, 0, -1]
    assert (alleles[:, ~observed] == -1).all()


@given(panel=panels(), seed=st.integers(0, 2**16))
def test_match_records__a_panel_matches_itself_however_it_is_damaged(panel: Panel, seed: int) -> None:
    """Every damage that leaves the variant recognisable is repaired to the panel's own alleles."""
    rng = np.random.default_rng(seed)
    records = of_panel(panel)
    complement = str.maketrans("ACGT", "TGCA")
    refs, alts, alleles, expected = [], [], records.alleles.copy(), []
    several = Counter(panel.positions.tolist())
    for i, (ref, alt) in enumerate(zip(panel.refs, panel.alts, strict=True)):
        kind = rng.choice([Reason.USED, Reason.SWAP_REPAIRED, Reason.FLIP_REPAIRED, Reason.BOTH_REPAIRED])
        # Where a position has several sites, another one may look like this one's other strand.
        if len(ref + alt) > 2 or is_ambiguous(ref, alt) or several[int(panel.positions[i])] > 1:
            kind = Reason.USED
        if kind in (Reason.FLIP_REPAIRED, Reason.BOTH_REPAIRED):
            ref, alt = ref.translate(complement), alt.translate(complement)
        if kind in (Reason.SWAP_REPAIRED, Reason.BOTH_REPAIRED):
            ref, alt = alt, ref
            alleles[i] = 1 - alleles[i]
        refs.append(ref)
        alts.append((alt,))
        expected.append(kind)
    damaged = dataclasses.replace(records, refs=tuple(refs), alts=tuple(alts), alleles=alleles)
    matching = match_records(damaged, panel, fix_swaps=True, fix_flips=True)
    assert matching.reasons == tuple(expected)
    repaired, observed = target_alleles(damaged, matching, panel.n_sites)
    assert observed.all()
    np.testing.assert_array_equal(repaired, panel.haplotypes())


def random_panel(n_sites: int, seed: int, contig: str = "20") -> Panel:
    """Sites at one of 30 positions on average, as in a panel of whole genomes, with ten times as many transitions."""
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.choice(30 * n_sites, n_sites, replace=False)) + 1
    refs = rng.choice(list("ACGT"), n_sites)
    transition = dict(zip("ACGT", "GTAC", strict=True))
    others = {base: [b for b in "ACGT" if b not in (base, transition[base])] for base in "ACGT"}
    alts = [transition[r] if rng.random() < 0.7 else rng.choice(others[r]) for r in refs]
    haplotypes = rng.integers(0, 2, (4, n_sites))
    return Panel.from_haplotypes(haplotypes, contig=contig, positions=positions, refs=refs.tolist(), alts=alts)


@pytest.mark.parametrize("shift", [1, 13, -7])
def test_check_build__shifted_coordinates_are_refused(shift: int) -> None:
    panel = random_panel(3000, 1)
    records = of_panel(panel)
    moved = dataclasses.replace(records, positions=records.positions + np.int32(shift), build="GRCh38")
    matching = match_records(moved, dataclasses.replace(panel, contig_length=63_025_520))
    with pytest.raises(TargetError) as caught:
        check_build(moved, panel, matching.build)
    message = str(caught.value)
    assert "contig 20: the panel has " in message
    assert "the target is on GRCh38 and the panel is on GRCh37" in message
    assert f"{matching.build.n_positions} of {matching.build.n_records} positions" in message
    assert f"of those {matching.build.ref_share:.1%} the same REF allele" in message
    assert "`CrossMap vcf hg38ToHg19.over.chain.gz target.vcf hg19.fa target.hg19.vcf`" in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r,
        lambda r: dataclasses.replace(r, refs=tuple(a[0] for a in r.alts), alts=tuple((x,) for x in r.refs)),
        lambda r: r.select(np.arange(r.n_records) % 20 == 0),
        lambda r: r.select(np.arange(r.n_records) < 5),
    ],
    ids=["as it is", "all swapped", "few sites", "very few sites"],
)
def test_check_build__the_same_build_is_not_refused(damage: Callable[[TargetRecords], TargetRecords]) -> None:
    panel = random_panel(2000, 2)
    records = damage(of_panel(panel))
    build = match_records(records, panel).build
    assert not build.is_other_build
    check_build(records, panel, build)


def test_check_build__many_private_sites_are_no_other_build() -> None:
    """A sequenced cohort shares less than half of its positions with a small panel, but there the REF is the same."""
    panel = random_panel(2000, 3)
    sparse = panel.select_sites(np.arange(0, 2000, 5))
    build = match_records(of_panel(panel), sparse).build
    assert build.position_share < 0.25
    assert build.ref_share == 1.0
    assert not build.is_other_build


def test_meaning__every_reason_is_explained() -> None:
    assert set(MEANING) == set(Reason)
