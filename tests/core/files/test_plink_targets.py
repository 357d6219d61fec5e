"""Targets from PLINK's files, and from several files at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.plink_files import Variant, write_bed, write_pgen
from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_core.errors import EmptyInputError, InputError, TargetError
from vcfrag_core.files.targets import read_target
from vcfrag_core.targets.calls import Sex, TargetCalls

FAM = ["F1 A 0 0 1 -9", "F1 B 0 0 2 -9", "F2 C 0 0 0 -9"]
PSAM = ["#FID\tIID\tSEX", "F1\tA\tM", "F1\tB\t2", "F2\tC\tNA"]
VARIANTS: list[Variant] = [("20", 10, "A", "C"), ("20", 20, "G", "T"), ("20", 20, "AT", "A"), ("20", 35, "C", "G")]
ALLELES = np.array(
    [
        [[0, 1], [1, 0], [1, 1]],
        [[-1, -1], [0, 0], [1, 0]],
        [[1, 1], [0, 1], [0, 0]],
        [[0, 0], [1, 0], [-1, -1]],
    ],
    dtype=np.int8,
)


def bim(variants: list[Variant]) -> list[Variant]:
    """As PLINK 1 writes them: ALT before REF."""
    return [(contig, position, alt, ref) for contig, position, ref, alt in variants]


@pytest.mark.parametrize("given", ["set.pgen", "set", "set.pvar", "set.psam"])
def test_read_target__a_phased_pgen_is_its_vcf(tmp_path: Path, given: str) -> None:
    write_pgen(tmp_path / "set", VARIANTS, ALLELES, PSAM)
    cells = [[f"{a}|{b}".replace("-1", ".") for a, b in row] for row in ALLELES.tolist()]
    lines = [record(p, row, ref=ref, alt=alt) for (_, p, ref, alt), row in zip(VARIANTS, cells, strict=True)]
    (vcf,) = read_target(write_vcf(tmp_path / "t.vcf", vcf_text(["A", "B", "C"], lines)))
    (calls,) = read_target(tmp_path / given)
    assert (calls.contig, calls.samples, calls.refs, calls.alts) == (vcf.contig, vcf.samples, vcf.refs, vcf.alts)
    np.testing.assert_array_equal(calls.positions, vcf.positions)
    np.testing.assert_array_equal(calls.alleles, vcf.alleles)
    np.testing.assert_array_equal(calls.is_phased, vcf.is_phased)
    assert calls.ref_is_known.all()
    assert calls.site_ids == ("rs0", "rs1", "rs2", "rs3")
    assert calls.sexes == (Sex.MALE, Sex.FEMALE, None)


def test_read_target__an_unphased_pgen_has_unphased_heterozygotes(tmp_path: Path) -> None:
    (calls,) = read_target(write_pgen(tmp_path / "set", VARIANTS, ALLELES, PSAM, phased=False))
    np.testing.assert_array_equal(calls.unphased, (ALLELES >= 0).all(axis=2) & (ALLELES[:, :, 0] != ALLELES[:, :, 1]))
    np.testing.assert_array_equal(calls.alleles.sum(axis=2), ALLELES.sum(axis=2))


def test_read_target__several_alt_alleles_of_a_pgen(tmp_path: Path) -> None:
    alleles = np.array([[[0, 2], [1, 0]], [[0, 0], [1, 1]]], dtype=np.int8)
    variants = [("20", 10, "A", "C,T"), ("20", 20, "A", "G")]
    (calls,) = read_target(write_pgen(tmp_path / "set", variants, alleles, ["#IID", "A", "B"]))
    assert calls.alts == (("C",), ("T",), ("G",))
    np.testing.assert_array_equal(calls.alleles[:2], np.stack([alleles[0] == 1, alleles[0] == 2]))
    np.testing.assert_array_equal(calls.alleles[2], alleles[1])
    assert calls.sexes == (None, None)


def test_read_target__provisional_ref_of_a_pgen(tmp_path: Path) -> None:
    (calls,) = read_target(write_pgen(tmp_path / "set", VARIANTS, ALLELES, PSAM, info="PR"))
    assert not calls.ref_is_known.any()


@pytest.mark.parametrize("given", ["set.bed", "set", "set.bim", "set.fam"])
def test_read_target__a_bed_has_neither_ref_nor_phase(tmp_path: Path, given: str) -> None:
    write_bed(tmp_path / "set", bim(VARIANTS), ALLELES, FAM)
    (calls,) = read_target(tmp_path / given)
    assert calls.samples == ("A", "B", "C")
    assert calls.sexes == (Sex.MALE, Sex.FEMALE, None)
    assert calls.refs == ("A", "G", "AT", "C")
    assert calls.alts == (("C",), ("T",), ("A",), ("G",))
    np.testing.assert_array_equal(calls.alleles.sum(axis=2), ALLELES.sum(axis=2))
    np.testing.assert_array_equal(calls.unphased, (ALLELES >= 0).all(axis=2) & (ALLELES[:, :, 0] != ALLELES[:, :, 1]))
    assert not calls.ref_is_known.any()


def test_read_target__a_bed_in_any_order_with_unplaced_and_monomorphic_variants(tmp_path: Path) -> None:
    variants = [("21", 5, "C", "A"), ("20", 35, "0", "G"), ("0", 0, "A", "G"), ("20", 10, "T", "C")]
    write_bed(tmp_path / "set", variants, np.where(np.arange(4)[:, None, None] == 1, 0, ALLELES).astype(np.int8), FAM)
    contigs = read_target(tmp_path / "set")
    assert [calls.contig for calls in contigs] == ["21", "20", "0"]
    assert contigs[1].positions.tolist() == [10, 35]
    assert contigs[1].alts == (("T",), ())
    assert contigs[1].site_ids == ("rs3", "rs1")
    np.testing.assert_array_equal(contigs[1].alleles[0].sum(axis=1), ALLELES[3].sum(axis=1))


def test_read_target__only_samples_that_share_a_name_are_called_by_family_too(tmp_path: Path) -> None:
    fam = ["F1 1 0 0 1 -9", "F2 1 0 0 2 -9", "F3 2 0 0 0 -9"]
    (calls,) = read_target(write_bed(tmp_path / "set", bim(VARIANTS), ALLELES, fam))
    assert calls.samples == ("F1_1", "F2_1", "2")
    write_bed(tmp_path / "set", bim(VARIANTS), ALLELES, [fam[0], fam[0], fam[2]])
    with pytest.raises(InputError, match=r"set.fam, sample F1_1: two samples have this name"):
        read_target(tmp_path / "set")


def test_read_target__codes_of_x_and_its_ends_are_one_contig(tmp_path: Path) -> None:
    variants = [
        ("23", 5_000_000, "A", "C"),
        ("25", 100_000, "A", "G"),
        ("25", 155_000_000, "A", "G"),
        ("20", 9, "A", "C"),
    ]
    contigs = read_target(write_bed(tmp_path / "set", bim(variants), ALLELES, FAM))
    assert [calls.contig for calls in contigs] == ["23", "20"]
    assert contigs[0].positions.tolist() == [100_000, 5_000_000, 155_000_000]
    np.testing.assert_array_equal(contigs[0].alleles.sum(axis=2), ALLELES[[1, 0, 2]].sum(axis=2))


def test_read_target__region_of_a_bed(tmp_path: Path) -> None:
    write_bed(tmp_path / "set", bim(VARIANTS), ALLELES, FAM)
    (calls,) = read_target(tmp_path / "set", region="chr20:15-30")
    assert calls.positions.tolist() == [20, 20]
    with pytest.raises(EmptyInputError, match="no record in 20:1000-2000"):
        read_target(tmp_path / "set", region="20:1000-2000")


def test_read_target__a_set_that_is_not_whole_is_named(tmp_path: Path) -> None:
    path = write_bed(tmp_path / "set", bim(VARIANTS), ALLELES, FAM)
    with pytest.raises(InputError, match=r"there is no such file, nor PLINK's other.pgen or other.bed"):
        read_target(tmp_path / "other")
    for folder in (tmp_path, Path("/")):
        with pytest.raises(InputError, match="is a folder; name a file in it"):
            read_target(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"set.bed: cannot be read with set.bim \(4 variants\) and set.fam \(3"):
        read_target(path)
    path.write_bytes(b"\x6c\x1b\x00" + path.read_bytes()[3:])
    with pytest.raises(InputError, match="lies sample by sample"):
        read_target(path)
    (tmp_path / "set.bim").write_text("nothing\n")
    path.write_bytes(b"\x6c\x1b\x01" + path.read_bytes()[3:])
    with pytest.raises(InputError, match=r"set.bim: not a table of PLINK's variants"):
        read_target(path)
    (tmp_path / "set.fam").unlink()
    with pytest.raises(InputError, match=r"there is no set.fam beside it"):
        read_target(path)
    write_pgen(tmp_path / "set", VARIANTS, ALLELES, PSAM)
    with pytest.raises(InputError, match=r"which one, set.pgen or set.bed\?"):
        read_target(tmp_path / "set")


def vcf_of(path: Path, samples: list[str], lines: list[str]) -> Path:
    return write_vcf(path, vcf_text(samples, lines, contigs={"20": 99, "21": 99, "chr20": 99}))


def cells(calls: TargetCalls) -> list[str]:
    return ["".join(str(a) for a in pair).replace("-1", ".") for pair in calls.alleles.reshape(-1, 2).tolist()]


def test_read_target__files_of_several_contigs(tmp_path: Path) -> None:
    paths = [vcf_of(tmp_path / f"{c}.vcf", ["A", "B"], [record(10, ["0|1", "1|1"], contig=c)]) for c in ("20", "21")]
    one, other = read_target(paths)
    assert (one.contig, other.contig) == ("20", "21")
    assert one.samples == other.samples == ("A", "B")
    assert cells(one) == cells(other) == ["01", "11"]


def test_read_target__files_of_several_people(tmp_path: Path) -> None:
    first = vcf_of(tmp_path / "a.vcf", ["A", "B"], [record(p, ["0|1", "1|1"]) for p in (10, 30)])
    second = vcf_of(tmp_path / "b.vcf", ["C"], [record(p, ["1|0"], contig="chr20") for p in (20, 30, 40)])
    (calls,) = read_target([first, second])
    assert calls.samples == ("A", "B", "C")
    assert calls.positions.tolist() == [10, 20, 30, 40]
    assert cells(calls) == ["01", "11", "..", "..", "..", "10", "01", "11", "10", "..", "..", "10"]
    assert "a.vcf" in calls.source
    assert "b.vcf" in calls.source


def test_read_target__one_person_in_two_files(tmp_path: Path) -> None:
    first = vcf_of(tmp_path / "a.vcf", ["A", "B"], [record(p, ["0|1", "1|1"]) for p in (10, 30)])
    second = vcf_of(tmp_path / "b.vcf", ["B"], [record(p, ["1|0"]) for p in (20, 40)])
    with pytest.raises(TargetError, match=r"sample B: is in .*a.vcf and in .*b.vcf, both on 20"):
        read_target([first, second])
    with pytest.raises(InputError, match=r"is given as a target twice"):
        read_target([first, first])
    beyond = vcf_of(tmp_path / "c.vcf", ["A", "B"], [record(50, ["1|0", "0|0"])])
    (calls,) = read_target([first, beyond])
    assert calls.positions.tolist() == [10, 30, 50]
    assert cells(calls) == ["01", "11", "01", "11", "10", "00"]
