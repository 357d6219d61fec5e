"""Reading targets: kinds of files, what is refused, and what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from tests.vcf_text import panel_text, panels, record, vcf_text, write_vcf
from vcfrag_core.errors import (
    EmptyInputError,
    InputError,
    NotVcfError,
    PloidyError,
    TruncatedFileError,
    UnknownContigError,
    UnphasedError,
    UnsortedError,
)
from vcfrag_core.files.targets import read_target
from vcfrag_core.panel.panel import Panel

SAMPLES = ["A", "B", "C"]


def target(folder: Path, *lines: str, name: str = "target.vcf", **options: object) -> Path:
    return write_vcf(folder / name, vcf_text(SAMPLES, lines), **options)  # type: ignore[arg-type]


def test_read_target__what_is_written_is_read(tmp_path: Path) -> None:
    path = target(
        tmp_path,
        record(10, ["0|1", ".|.", "1|1"], ref="a", alt="g", site_id="rs1"),
        record(20, ["0|0", "1|.", "2|1"], alt="C,T"),
        record(20, ["0/0", "0/0", "."], alt="."),
    )
    (records,) = read_target(path)
    assert records.contig == "20"
    assert records.contig_length == 63_025_520
    assert records.samples == ("A", "B", "C")
    assert records.positions.tolist() == [10, 20, 20]
    assert records.refs == ("A", "A", "A")
    assert records.alts == (("G",), ("C", "T"), ())
    assert records.site_ids == ("rs1", ".", ".")
    assert records.alleles[0].tolist() == [0, 1, -1, -1, 1, 1]
    assert records.alleles[1].tolist() == [0, 0, 1, -1, 2, 1]
    assert records.label(1) == "20:20 A>C,T"


def test_read_target__allele_that_the_record_does_not_have(tmp_path: Path) -> None:
    path = target(tmp_path, record(10, ["0|1", "0|2", "1|1"]))
    with pytest.raises(NotVcfError, match=r"record 20:10 A>C, sample B: names an allele"):
        read_target(path)


@given(panel=panels())
@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_read_target__every_kind_of_file_gives_the_same(
    panel: Panel, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_vcf(tmp_path_factory.mktemp("target") / f"target{suffix}", panel_text(panel))
    (records,) = read_target(path)
    assert records.samples == panel.samples
    assert records.refs == panel.refs
    assert tuple(alts[0] for alts in records.alts) == panel.alts
    np.testing.assert_array_equal(records.positions, panel.positions)
    np.testing.assert_array_equal(records.alleles, panel.haplotypes().T)


def test_read_target__several_contigs(tmp_path: Path) -> None:
    lines = [record(5, ["0|0"] * 3, contig="21"), record(9, ["0|1"] * 3, contig="21"), record(1, ["1|1"] * 3)]
    path = write_vcf(tmp_path / "t.vcf", vcf_text(SAMPLES, lines, contigs={"21": 48_129_895, "20": 63_025_520}))
    first, second = read_target(path)
    assert (first.contig, first.n_records) == ("21", 2)
    assert (second.contig, second.n_records) == ("20", 1)


@pytest.mark.parametrize("indexed", [True, False])
def test_read_target__region_under_either_name_of_the_contig(tmp_path: Path, indexed: bool) -> None:
    lines = [record(position, ["0|1"] * 3) for position in (100, 200, 300)]
    path = target(tmp_path, *lines, name="t.vcf.gz", index=indexed)
    for region in ("20:150-250", "chr20:150-250"):
        (records,) = read_target(path, region=region)
        assert records.positions.tolist() == [200]
    with pytest.raises(EmptyInputError, match="no record in 20:1000-2000"):
        read_target(path, region="20:1000-2000")
    with pytest.raises(UnknownContigError, match="no contig '19'"):
        read_target(path, region="19")


def test_read_target__unphased_heterozygotes_are_counted_and_the_first_named(tmp_path: Path) -> None:
    path = target(
        tmp_path,
        record(10, ["0/0", "1/1", "0|1"]),
        record(20, ["0|1", "0/1", "1/0"]),
        record(30, ["0/1", "0/.", "./."]),
    )
    with pytest.raises(UnphasedError) as caught:
        read_target(path)
    message = str(caught.value)
    assert "record 20:20 A>C, sample B: 3 heterozygous genotypes in 2 records are not phased" in message
    for tool in ("Beagle", "SHAPEIT5", "Eagle"):
        assert tool in message


def test_read_target__unphased_half_missing_call_is_missing(tmp_path: Path) -> None:
    (records,) = read_target(target(tmp_path, record(10, ["0/.", "0|.", "1/1"])))
    assert records.alleles[0].tolist() == [-1, -1, 0, -1, 1, 1]


@pytest.mark.parametrize(("call", "n"), [("0", 1), ("1", 1), ("0|1|1", 3)])
def test_read_target__other_ploidy_names_sample_and_site(tmp_path: Path, call: str, n: int) -> None:
    path = target(tmp_path, record(10, ["0|1"] * 3), record(20, ["0|1", call, "0|0"]))
    with pytest.raises(PloidyError, match=rf"record 20:20 A>C, sample B: has {n} allele\(s\) where two are needed"):
        read_target(path)


def test_read_target__haploid_samples_only(tmp_path: Path) -> None:
    with pytest.raises(PloidyError, match=r"sample A: has 1 allele.* as 3 of 3 samples"):
        read_target(target(tmp_path, record(10, ["0", "1", "0"])))


def test_read_target__unsorted(tmp_path: Path) -> None:
    path = target(tmp_path, record(20, ["0|1"] * 3), record(10, ["0|1"] * 3))
    with pytest.raises(UnsortedError, match=r"record 20:10 A>C: comes after position 20; `bcftools sort`"):
        read_target(path)


def test_read_target__contig_that_comes_again(tmp_path: Path) -> None:
    lines = [record(1, ["0|0"] * 3, contig=contig) for contig in ("20", "21", "20")]
    path = write_vcf(tmp_path / "t.vcf", vcf_text(SAMPLES, lines, contigs={"20": 10**6, "21": 10**6}))
    with pytest.raises(UnsortedError, match="contig 20 comes a second time"):
        read_target(path)


def test_read_target__no_samples(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "t.vcf", vcf_text([], ["20\t1\t.\tA\tC\t.\tPASS\t."]))
    with pytest.raises(EmptyInputError, match="no samples"):
        read_target(path)


def test_read_target__no_record_and_no_byte(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="no record"):
        read_target(target(tmp_path))
    empty = tmp_path / "empty.vcf.gz"
    empty.touch()
    with pytest.raises(EmptyInputError, match="empty"):
        read_target(empty)


def test_read_target__no_genotypes(tmp_path: Path) -> None:
    path = target(tmp_path, record(10, ["1.2"] * 3, fmt="DS"))
    with pytest.raises(InputError, match="record 20:10 A>C: the record has no GT"):
        read_target(path)


@pytest.mark.parametrize("name", ["t.vcf.gz", "t.bcf"])
def test_read_target__truncated(tmp_path: Path, name: str) -> None:
    path = target(tmp_path, *(record(position, ["0|1"] * 3) for position in range(1, 3000)), name=name)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TruncatedFileError, match="ends early"):
        read_target(path)


def test_read_target__no_such_file_and_no_vcf(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_target(tmp_path / "nothing.vcf")
    text = tmp_path / "text.vcf"
    text.write_text("not a vcf\n")
    with pytest.raises(NotVcfError):
        read_target(text)


def test_read_target__progress(tmp_path: Path) -> None:
    seen: list[int] = []
    path = target(tmp_path, *(record(position, ["0|1"] * 3) for position in range(1, 5000)))
    (records,) = read_target(path, progress=seen.append)
    assert records.n_records == 4999
    assert seen == [2048, 4096]


def test_read_target__real_unphased_file(data_dir: Path) -> None:
    with pytest.raises(UnphasedError, match="570 heterozygous genotypes in 570 records"):
        read_target(data_dir / "unphased_chr20_203.bcf")


def test_read_target__real_edge_cases(data_dir: Path) -> None:
    (records,) = read_target(data_dir / "edge_cases_chr22_16.05-16.64Mb.vcf.gz", region="chr22:16050000-16100000")
    assert sum(len(alts) > 1 for alts in records.alts) > 0
    assert records.alleles.max() > 1
