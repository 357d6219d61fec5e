"""What evaluation reads from VCF and BCF: fields, matching, order of samples, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import World, imputed_text, noisy_haplotypes, small_world
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.errors import (
    DuplicateRecordError,
    EmptyInputError,
    InputError,
    MissingAlleleError,
    PloidyError,
    RangeError,
    UnknownContigError,
    UnknownSampleError,
)
from vcfrag_core.files.dosages import (
    read_haplotypes,
    read_imputed,
    read_truth,
    sample_names,
    sites_present,
)
from vcfrag_core.files.tables.sites import SiteKey, every_coding, read_typed_sites, site_rows
from vcfrag_core.scoring import accuracy


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_reference=4, n_targets=5, n_sites=30)


def rows_of(world: World) -> dict[SiteKey, int]:
    panel = world.targets
    return site_rows(panel.positions.tolist(), panel.refs, panel.alts)


@pytest.mark.parametrize("name", ["imputed.vcf", "imputed.vcf.gz", "imputed.bcf"])
@pytest.mark.parametrize(
    ("fields", "used"),
    [
        (("GT", "DS", "HDS", "GP"), "DS"),
        (("DS",), "DS"),
        (("GT", "HDS"), "HDS"),
        (("GT", "GP"), "GP"),
        (("GT",), "GT"),
    ],
)
def test_read_imputed__takes_the_first_of_ds_hds_gp_gt(
    world: World, tmp_path: Path, name: str, fields: tuple[str, ...], used: str
) -> None:
    haplotypes = noisy_haplotypes(world, 0.2)
    path = write_vcf(tmp_path / name, imputed_text(world, haplotypes, fields))
    got = read_imputed(path, "20", rows_of(world), world.targets.samples)
    expected = haplotypes.sum(axis=2) if used != "GT" else np.vectorize(round)(haplotypes).sum(axis=2)
    assert got.field == used
    assert got.found.all()
    np.testing.assert_allclose(got.dosage, expected, atol=2e-3)


def test_read_imputed__probabilities_from_gp_hds_or_calls_but_not_from_ds(world: World, tmp_path: Path) -> None:
    haplotypes = noisy_haplotypes(world, 0.2)
    expected = accuracy.posterior_of_haplotypes(haplotypes)

    def posterior(*fields: str) -> object:
        path = write_vcf(tmp_path / f"{'-'.join(fields)}.vcf", imputed_text(world, haplotypes, fields))
        return read_imputed(path, "20", rows_of(world), world.targets.samples).posterior

    np.testing.assert_allclose(posterior("DS", "GP"), expected, atol=1e-5)
    np.testing.assert_allclose(posterior("DS", "HDS"), expected, atol=1e-5)
    assert posterior("GT", "DS") is None
    hard = posterior("GT")
    assert isinstance(hard, np.ndarray)
    assert np.isin(hard, [0, 1]).all()


def test_read_imputed__samples_come_in_the_order_asked_for(world: World, tmp_path: Path) -> None:
    haplotypes = noisy_haplotypes(world, 0.2)
    path = write_vcf(tmp_path / "imputed.vcf", imputed_text(world, haplotypes))
    names = world.targets.samples
    some = (names[3], names[0])
    got = read_imputed(path, "20", rows_of(world), some)
    np.testing.assert_allclose(got.dosage, haplotypes.sum(axis=2)[:, [3, 0]], atol=2e-3)
    truth = write_vcf(tmp_path / "truth.vcf", panel_text(world.targets))
    np.testing.assert_array_equal(read_truth(truth, "20", rows_of(world), some).genotypes, world.copies[:, [3, 0]])


@pytest.mark.parametrize(("info", "expected"), [("R2=0.75;DR2=0.5", 0.75), ("DR2=0.5", 0.5), (".", np.nan)])
def test_read_imputed__estimate_of_either_name(world: World, tmp_path: Path, info: str, expected: float) -> None:
    path = write_vcf(tmp_path / "imputed.vcf", imputed_text(world, noisy_haplotypes(world, 0.1), info=info))
    got = read_imputed(path, "20", rows_of(world), world.targets.samples)
    np.testing.assert_allclose(got.estimated_r2, expected)


def test_reading__chr20_is_20(world: World, tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "imputed.vcf", imputed_text(world, noisy_haplotypes(world, 0.1), contig="chr20"))
    assert read_imputed(path, "20", rows_of(world), world.targets.samples).found.all()
    with pytest.raises(UnknownContigError, match="chr20"):
        read_imputed(path, "21", rows_of(world), world.targets.samples)


def test_reading__matches_by_alleles_too(tmp_path: Path) -> None:
    lines = [record(100, ["0|1"], alt="C"), record(100, ["1|1"], alt="G"), record(200, ["0|1"], alt="T")]
    path = write_vcf(tmp_path / "a.vcf", vcf_text(["s"], lines))
    rows: dict[SiteKey, int] = {(100, "A", "G"): 0, (200, "A", "C"): 1, (300, "A", "C"): 2}
    got = read_truth(path, "20", rows, ["s"])
    assert got.found.tolist() == [True, False, False]
    assert got.genotypes[:, 0].tolist() == [2, -1, -1]
    np.testing.assert_array_equal(sites_present(path, "20", rows), got.found)


def test_reading__several_alts_are_a_site_each_in_a_truth_and_none_in_an_imputed_file(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "a.vcf", vcf_text(list("abcd"), [record(100, ["0|1", "1|2", "2|2", ".|2"], alt="C,G")]))
    rows: dict[SiteKey, int] = {(100, "A", "C"): 0, (100, "A", "G"): 1, (100, "A", "T"): 2}
    got = read_truth(path, "20", rows, list("abcd"))
    assert got.found.tolist() == [True, True, False]
    assert got.genotypes[:2].tolist() == [[1, 1, 0, -1], [0, 1, 2, -1]]
    assert read_haplotypes(path, "20", rows, ["b"])[:2, 0].tolist() == [[1, 0], [0, 1]]
    assert sites_present(path, "20", rows, split=True).tolist() == [True, True, False]
    assert not sites_present(path, "20", rows).any()


def test_read_truth__a_sites_own_record_goes_before_one_of_several_alts(tmp_path: Path) -> None:
    both = [record(100, ["0|1"], alt="C"), record(100, ["1|1"], alt="C,G")]
    for name, lines in (("a", both), ("b", both[::-1])):
        path = write_vcf(tmp_path / f"{name}.vcf", vcf_text(["s"], lines))
        got = read_truth(path, "20", {(100, "A", "C"): 0, (100, "A", "G"): 1}, ["s"])
        assert got.genotypes.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("declared", "infos", "expected"),
    [
        ("IMP", ("DR2=1", "DR2=.5"), [False, False]),
        ("TYPED", ("TYPED", "IMP"), [True, False]),
        ("IMP", ("DR2=1", "IMP"), [True, False]),
        ("DR2", ("DR2=1", "DR2=.5"), [False, False]),
    ],
)
def test_read_imputed__says_which_sites_are_marked_as_typed(
    tmp_path: Path, declared: str, infos: tuple[str, str], expected: list[bool]
) -> None:
    lines = [record(100 * i, ["0|1"], info=info) for i, info in enumerate(infos, start=1)]
    kind = "Number=1,Type=Float" if declared == "DR2" else "Number=0,Type=Flag"
    header = f'##INFO=<ID={declared},{kind},Description="x">\n##INFO=<ID=DR2,Number=1,Type=Float,Description="x">\n'
    if "IMP" in infos and declared == "TYPED":
        header += '##INFO=<ID=IMP,Number=0,Type=Flag,Description="x">\n'
    text = vcf_text(["s"], lines)
    path = write_vcf(tmp_path / "a.vcf", text.replace("#CHROM", header + "#CHROM"))
    rows: dict[SiteKey, int] = {(100, "A", "C"): 0, (200, "A", "C"): 1}
    assert read_imputed(path, "20", rows, ["s"]).typed.tolist() == expected


def test_read_truth__phase_is_ignored_and_half_calls_are_missing(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "a.vcf", vcf_text(list("abcde"), [record(100, ["0/1", "1|0", "./.", ".|1", "1/1"])]))
    got = read_truth(path, "20", {(100, "A", "C"): 0}, list("abcde"))
    assert got.genotypes.tolist() == [[1, 1, -1, -1, 2]]


def test_read_haplotypes__keeps_the_alleles_in_order(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "a.vcf", vcf_text(list("abc"), [record(100, ["0|1", "1|0", ".|."])]))
    rows: dict[SiteKey, int] = {(100, "A", "C"): 1, (50, "A", "C"): 0}
    got = read_haplotypes(path, "20", rows, ["a", "b", "c"])
    assert got.tolist() == [[[-1, -1]] * 3, [[0, 1], [1, 0], [-1, -1]]]


def test_reading__refuses_unknown_samples_and_says_how_many(world: World, tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "a.vcf", panel_text(world.targets))
    with pytest.raises(UnknownSampleError, match=r"2 of 3 samples are not in it, such as 'x'"):
        read_truth(path, "20", rows_of(world), [world.targets.samples[0], "x", "y"])


@pytest.mark.parametrize(
    ("lines", "error", "match"),
    [
        ([record(100, ["0|1"], fmt="GT"), record(100, ["0|1"], fmt="GT")], DuplicateRecordError, "second record"),
        ([record(100, ["0|1|1"], fmt="GT")], PloidyError, "20:100 A>C"),
        ([record(100, ["."], fmt="DS")], MissingAlleleError, "sample s"),
        ([record(100, ["2.2"], fmt="DS")], RangeError, "2.2"),
        ([record(100, [".|1"], fmt="GT")], MissingAlleleError, "20:100 A>C"),
    ],
)
def test_read_imputed__refuses(tmp_path: Path, lines: list[str], error: type[Exception], match: str) -> None:
    path = write_vcf(tmp_path / "a.vcf", vcf_text(["s"], lines))
    with pytest.raises(error, match=match):
        read_imputed(path, "20", {(100, "A", "C"): 0}, ["s"])


def test_read_imputed__refuses_a_record_without_any_dosage(tmp_path: Path) -> None:
    header = '##FORMAT=<ID=XX,Number=1,Type=Float,Description="no dosage">\n#CHROM'
    text = vcf_text(["s"], [record(100, ["1"], fmt="XX")]).replace("#CHROM", header, 1)
    with pytest.raises(InputError, match="no GT here, nor a dosage"):
        read_imputed(write_vcf(tmp_path / "a.vcf", text), "20", {(100, "A", "C"): 0}, ["s"])


def test_sample_names__in_the_files_order(world: World, tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "a.bcf", panel_text(world.targets))
    assert sample_names(path) == world.targets.samples


def test_read_typed_sites__from_vcf_and_from_table(tmp_path: Path) -> None:
    expected = {(100, "A", "C"), (200, "A", "G"), (200, "A", "T")}
    lines = [record(100, [], fmt=""), record(200, [], alt="G,T", fmt="")]
    vcf = vcf_text([], [line.rstrip("\t") for line in lines])
    assert read_typed_sites(write_vcf(tmp_path / "a.vcf.gz", vcf), "chr20") == expected
    table = tmp_path / "a.tsv"
    table.write_text("chrom\tpos\tref\talt\n20\t100\tA\tC\n21\t5\tA\tC\nchr20\t200\tA\tG\n20\t200\tA\tT\n")
    assert read_typed_sites(table, "20") == expected


def test_read_typed_sites__a_column_typed_chooses(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("chrom\tpos\tref\talt\ttyped\n20\t100\tA\tC\t1\n20\t200\tA\tG\t0\n")
    assert read_typed_sites(table, "20") == {(100, "A", "C")}


def test_read_typed_sites__of_a_plink_set_in_both_orders_of_the_alleles(tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_bytes(bytes.fromhex("6c1b01") + bytes(2))
    (tmp_path / "a.bim").write_text("20\trs1\t0\t100\tC\tA\n21\trs2\t0\t5\tC\tA\n")
    (tmp_path / "a.fam").write_text("F S 0 0 1 -9\n")
    both = {(100, "A", "C"), (100, "C", "A")}
    assert read_typed_sites(tmp_path / "a", "chr20") == read_typed_sites(tmp_path / "a.bed", "20") == both


def test_read_typed_sites__records_without_alt_on_request(tmp_path: Path) -> None:
    lines = [record(100, ["0/0"], alt="."), record(200, ["0/1"], alt="G")]
    path = write_vcf(tmp_path / "a.vcf", vcf_text(["s"], lines))
    assert read_typed_sites(path, "20") == {(200, "A", "G")}
    found = read_typed_sites(path, "20", without_alt=True)
    assert found == {(200, "A", "G"), (100, "A", "")}
    assert every_coding(found) >= {(100, "A", ""), (100, "T", ""), (200, "C", "T")}


def test_every_coding__exchanges_alleles_and_single_bases_strands() -> None:
    assert every_coding({(1, "A", "C")}) == {(1, *pair) for pair in ("AC", "CA", "TG", "GT")}
    assert every_coding({(2, "A", "T"), (3, "A", "AC")}) == {
        (2, "A", "T"),
        (2, "T", "A"),
        (3, "A", "AC"),
        (3, "AC", "A"),
    }


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("pos\tref\talt\n100\tA\tC\n", InputError, "'chrom' is missing"),
        ("chrom\tpos\tref\talt\n20\tx\tA\tC\n", InputError, "line 2"),
        ("chrom\tpos\tref\talt\n21\t100\tA\tC\n", EmptyInputError, "no typed site on contig '20'"),
        ("", InputError, "'chrom' is missing"),
    ],
)
def test_read_typed_sites__refuses(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(error, match=match):
        read_typed_sites(path, "20")


def test_read_typed_sites__refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_typed_sites(tmp_path / "none.tsv", "20")


@pytest.mark.parametrize(
    ("fmt", "woman", "man"),
    [
        ("GT:DS:HDS:GP", "0|1:0.9:0.1,0.8:0.18,0.74,0.08", "1:0.8:0.8:0.2,0.8"),
        ("GT:DS:HDS", "0|1:0.9:0.1,0.8", "1:1.6:0.8"),
        ("GT:DS", "0|1:0.9", "1:0.8"),
        ("GT:DS", "0|1:0.9", "1:1.6"),
        ("DS:GP", "0.9:0.18,0.74,0.08", "1.6:0.2,0.8"),
        ("DS:HDS", "0.9:0.1,0.8", "0.8:0.8"),
        ("GT:DS:GP", "0|1:0.9:0.18,0.74,0.08", "1:0.8"),
        ("GT:DS:GP", "0|1:0.9:0.18,0.74,0.08", "1:1.6:."),
        ("HDS", "0.1,0.8", "0.8"),
        ("GP", "0.18,0.74,0.08", "0.2,0.8"),
        ("DS", "0.9", "0.8"),
        ("DS", "0.9", "1.6"),
    ],
)
@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_read_imputed__one_haplotype_counts_twice(tmp_path: Path, fmt: str, woman: str, man: str, suffix: str) -> None:
    """A man's DS, of 0 to 1 or of 0 to 2, is on the scale of a woman's; alone, it takes somebody who knows."""
    declared = "".join(f'##FORMAT=<ID={name},Number=.,Type=Float,Description="{name}">\n' for name in ("HDS", "GP"))
    text = vcf_text(["w", "m"], [record(100, [woman, man], fmt=fmt)]).replace("#CHROM", f"{declared}#CHROM")
    path = write_vcf(tmp_path / f"a{suffix}", text)
    lone = np.array([True, False])
    got = read_imputed(
        path, "20", {(100, "A", "C"): 0}, ["m", "w"], lone=lone if "DS" in fmt and "GT" not in fmt else None
    )
    np.testing.assert_allclose(got.dosage, [[1.6, 0.9]], atol=1e-6)
    if got.posterior is not None:
        np.testing.assert_allclose(got.posterior, [[[0.2, 0, 0.8], [0.18, 0.74, 0.08]]], atol=1e-6)
    # Without probabilities of everybody there are none; Beagle leaves out those of one haplotype.
    assert (got.posterior is None) == (fmt in ("GT:DS", "DS", "GT:DS:GP"))


@pytest.mark.parametrize(
    ("command", "values", "expected"),
    [
        ("impute --x-male-dosage 2", ["0.4", "0.8"], [0.4, 0.8]),
        ("impute --x-male-dosage=2", ["0.4", "0.8"], [0.4, 0.8]),
        ("impute --x-male-dosage 1", ["0.4", "0.8"], [0.8, 1.6]),
        ("impute", ["0.4", "1.8"], [0.4, 1.8]),
        ("impute", ["0.4", "0.99"], [0.8, 1.98]),
    ],
)
def test_read_imputed__a_mans_ds_is_of_one_scale_in_all_of_a_file(
    tmp_path: Path, command: str, values: list[str], expected: list[float]
) -> None:
    """By the file's own word, or since a man's DS of 0 to 1 is never above 1 anywhere."""
    records = [record(100 + i, [f"1:{value}", "0|1:1.2"], fmt="GT:DS") for i, value in enumerate(values)]
    text = vcf_text(["m", "w"], records).replace("#CHROM", f"##vcfrag_command=vcfrag {command} --out x\n#CHROM")
    rows = {(100 + i, "A", "C"): i for i in range(len(values))}
    got = read_imputed(write_vcf(tmp_path / "a.vcf", text), "20", rows, ["m", "w"])
    np.testing.assert_allclose(got.dosage[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(got.dosage[:, 1], 1.2, atol=1e-6)


def test_read_truth__one_haplotype_counts_twice_and_is_told(tmp_path: Path) -> None:
    lines = [record(100, ["0|1", "1", "0"], fmt="GT"), record(200, ["1|1", "0", "."], fmt="GT")]
    path = write_vcf(tmp_path / "a.vcf", vcf_text(["w", "m", "n"], lines))
    got = read_truth(path, "20", {(100, "A", "C"): 0, (200, "A", "C"): 1}, ["w", "m", "n"])
    assert got.genotypes.tolist() == [[1, 2, 0], [2, 0, -1]]
    assert got.lone.tolist() == [False, True, True]
