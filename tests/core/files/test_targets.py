"""Reading targets: kinds of files, what is refused, and what is kept."""

from __future__ import annotations

import os
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
    TargetError,
    TruncatedFileError,
    UnknownContigError,
    UnphasedError,
    UnsortedError,
)
from vcfrag_core.files.targets import read_target
from vcfrag_core.panel.panel import Panel
from vcfrag_core.targets.calls import NONE, TargetCalls, refuse_unphased

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
    assert records.positions.tolist() == [10, 20, 20, 20]
    assert records.refs == ("A", "A", "A", "A")
    assert records.alts == (("G",), ("C",), ("T",), ())
    assert records.site_ids == ("rs1", ".", ".", ".")
    assert records.alleles[0].tolist() == [[0, 1], [-1, -1], [1, 1]]
    assert records.alleles[1].tolist() == [[0, 0], [1, -1], [0, 1]]
    assert records.alleles[2].tolist() == [[0, 0], [0, -1], [1, 0]]
    assert records.alleles[3].tolist() == [[0, 0], [0, 0], [-1, NONE]]
    assert records.is_phased.all()
    assert records.ref_is_known.all()
    assert records.sexes == (None, None, None)
    assert records.label(1) == "20:20 A>C"


@pytest.mark.parametrize("other", ["<NON_REF>", "<*>"])
def test_read_target__any_other_allele_is_none_and_is_missing_where_it_is_called(tmp_path: Path, other: str) -> None:
    lines = [record(10, ["0|1", "1|2", "0|0"], alt=f"G,{other}"), record(20, ["0|0", "0|1", "0|0"], alt=other)]
    (records,) = read_target(target(tmp_path, *lines))
    assert records.alts == (("G",), ())
    assert records.alleles.tolist() == [[[0, 1], [1, -1], [0, 0]], [[0, 0], [0, -1], [0, 0]]]


def test_read_target__a_record_that_stands_for_many_sites_is_refused(tmp_path: Path) -> None:
    end = '##INFO=<ID=END,Number=1,Type=Integer,Description="Last position">\n#CHROM'
    text = vcf_text(SAMPLES, [record(10, ["0/0"] * 3, alt="<NON_REF>", info="END=12")]).replace("#CHROM", end)
    with pytest.raises(InputError, match=r"20:10 A><NON_REF>: stands for all sites to its END.*--gvcf2vcf"):
        read_target(write_vcf(tmp_path / "g.vcf", text))


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
    np.testing.assert_array_equal(records.alleles.reshape(panel.n_sites, -1), panel.haplotypes().T)


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
    contigs = read_target(path)
    assert [int(calls.unphased.sum()) for calls in contigs] == [3]
    with pytest.raises(UnphasedError) as caught:
        refuse_unphased(contigs)
    message = str(caught.value)
    assert (
        "record 20:20 A>C, sample B: 3 heterozygous genotypes in 2 records are not phased, this is the first" in message
    )
    for tool in ("Beagle", "SHAPEIT5", "Eagle"):
        assert tool in message


def test_read_target__a_half_missing_call_without_phase_is_told_apart(tmp_path: Path) -> None:
    (records,) = read_target(target(tmp_path, record(10, ["0/.", "0|.", "1/1"])))
    assert records.alleles[0].tolist() == [[0, -1], [0, -1], [1, 1]]
    assert records.is_phased[0].tolist() == [False, True, True]


@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_read_target__calls_of_one_allele(tmp_path: Path, suffix: str) -> None:
    lines = [record(10, ["0", "1", "."]), record(20, ["0|1", "1", "1/1"])]
    (records,) = read_target(target(tmp_path, *lines, name=f"t{suffix}"))
    assert records.alleles[0].tolist() == [[0, NONE], [1, NONE], [-1, NONE]]
    assert records.alleles[1].tolist() == [[0, 1], [1, NONE], [1, 1]]
    assert records.is_phased.all()


def test_read_target__more_than_two_alleles_are_refused(tmp_path: Path) -> None:
    path = target(tmp_path, record(10, ["0|1"] * 3), record(20, ["0|1", "0|1|1", "0|0"]))
    with pytest.raises(PloidyError, match=r"record 20:20 A>C, sample B: has 3 alleles, as 1 of 3 samples"):
        read_target(path)


def test_read_target__unphased_heterozygotes_of_x_wait_until_men_are_known(tmp_path: Path) -> None:
    lines = [record(10, ["0/1", "1|1", "0|0"], contig="chrX")]
    path = write_vcf(tmp_path / "x.vcf", vcf_text(SAMPLES, lines, contigs={"chrX": 99}))
    (records,) = read_target(path)
    assert records.unphased.tolist() == [[True, False, False]]
    refuse_unphased([records])


def test_read_target__phase_sets(tmp_path: Path) -> None:
    def with_sets(position: int, calls: str) -> str:
        return f"20\t{position}\t.\tA\tC\t.\tPASS\t.\tGT:PS\t" + "\t".join(calls.split())

    declared = '##FORMAT=<ID=PS,Number=1,Type=Integer,Description="Phase set">'
    head, _, rest = vcf_text(SAMPLES, []).partition("\n")

    def read(*lines: str) -> TargetCalls:
        text = "\n".join([head, declared, rest + "".join(f"{line}\n" for line in lines)])
        return read_target(write_vcf(tmp_path / "t.vcf", text))[0]

    one_each = read(with_sets(10, "0|1:7 0|1:10 0|0:."), with_sets(20, "1|0:7 0|0:. 0|1:."))
    assert one_each.phase_sets is None
    two = read(with_sets(10, "0|1:7 0|1:10 0|0:."), with_sets(20, "1|0:20 0|1:10 0|1:."))
    assert two.phase_sets is not None
    assert two.phase_sets.tolist() == [[7, 10, 0], [20, 10, 0]]
    assert two.between_sets.tolist() == [[False, False, False], [True, False, False]]
    with pytest.raises(
        UnphasedError, match=r"sample A: 1 heterozygous genotypes in 1 records are not in the phase set"
    ):
        refuse_unphased([two])
    refuse_unphased([one_each])
    assert two.select(np.array([False, True])).phase_sets.tolist() == [[20, 10, 0]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "declared",
    [
        '<ID=PS,Number=1,Type=String,Description="Set, ID=PS,Type=Float">',
        '<ID=PS,Number=.,Type=String,Description="Phase set">',
        '<ID=PS,Number=.,Type=Integer,Description="Phase set">',
        '<Number=1,Type=Integer,ID=PS,Description="Phase set">',
        "",
    ],
)
def test_read_target__phase_sets_however_they_are_declared(tmp_path: Path, declared: str) -> None:
    head, _, rest = vcf_text(SAMPLES, []).partition("\n")
    if declared:
        rest = f"##FORMAT={declared}\n{rest}"
    names = ("5", "17") if "Integer" in declared else ("5_a", "5_b")
    lines = [
        f"20\t10\t.\tA\tC\t.\tPASS\t.\tGT:PS\t0|1:{names[0]}\t0|1:{names[0]}\t0|1:.",
        "20\t20\t.\tA\tC\t.\tPASS\t.\tGT\t0|1\t0|0\t0|1",
        f"20\t30\t.\tA\tC\t.\tPASS\t.\tGT:PS\t1|0:{names[1]}\t0|1:{names[0]}\t0|1:.",
    ]
    text = "\n".join([head, rest + "\n".join(lines)]) + "\n"
    # A BCF has no field that is not declared.
    found = [
        read_target(write_vcf(tmp_path / f"t{suffix}", text))[0]
        for suffix in (".vcf", ".bcf")
        if declared or suffix == ".vcf"
    ]
    sets = found[0].phase_sets
    assert sets is not None
    for other in found:
        np.testing.assert_array_equal(other.phase_sets, sets)
    assert sets[0, 0] == sets[0, 1] == sets[2, 1] != 0
    assert sets[2, 0] not in (0, sets[0, 0])
    assert sets[1].tolist() == [0, 0, 0]
    assert sets[:, 2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("declared", "field", "message"),
    [
        ("<ID=PS,Number=1,Type=Float,Description=x>", "PS", "declared as Float; declare it as Integer or String"),
        ("<ID=PSL,Number=.,Type=String,Description=x>", "PSL", "record 20:10 A>C: names phase sets by PSL"),
    ],
)
def test_read_target__phase_sets_that_are_not_read_are_refused(
    tmp_path: Path, declared: str, field: str, message: str
) -> None:
    head, _, rest = vcf_text(SAMPLES, []).partition("\n")
    line = f"20\t10\t.\tA\tC\t.\tPASS\t.\tGT:{field}\t0|1:5\t0|1:5\t0|1:7"
    path = write_vcf(tmp_path / "t.vcf", f"{head}\n##FORMAT={declared}\n{rest}{line}\n")
    with pytest.raises(InputError, match=message):
        read_target(path)


@pytest.mark.parametrize(
    ("header", "infos", "known"),
    [
        ("", [".", "."], [True, True]),
        ('##INFO=<ID=PR,Number=0,Type=Flag,Description="Provisional">', ["PR", "."], [False, True]),
        ("##source=PLINKv1.90", [".", "."], [False, False]),
        ("##source=PLINKv2.00", [".", "."], [True, True]),
    ],
    ids=["plain", "flag", "PLINK 1", "PLINK 2"],
)
def test_read_target__provisional_ref(tmp_path: Path, header: str, infos: list[str], known: list[bool]) -> None:
    lines = [record(10 + i, ["0|1"] * 3).replace("\tPASS\t.\t", f"\tPASS\t{info}\t") for i, info in enumerate(infos)]
    first, _, rest = vcf_text(SAMPLES, lines).partition("\n")
    path = write_vcf(tmp_path / "t.vcf", "\n".join([first, *([header] if header else []), rest]))
    (records,) = read_target(path)
    assert records.ref_is_known.tolist() == known


def test_read_target__a_region_of_several_files_is_read_from_those_that_have_its_contig(tmp_path: Path) -> None:
    def of(contig: str, samples: tuple[str, ...] = tuple(SAMPLES)) -> Path:
        lines = [record(at, ["0|1"] * len(samples), contig=contig) for at in (10, 20, 30)]
        return write_vcf(tmp_path / f"{contig}.{len(samples)}.vcf", vcf_text(samples, lines, contigs={contig: 99}))

    (calls,) = read_target([of("chr19"), of("chr20")], region="20:15-30")
    assert (calls.contig, calls.positions.tolist(), tuple(calls.samples)) == ("chr20", [20, 30], tuple(SAMPLES))
    with pytest.raises(UnknownContigError, match="no contig '21' here"):
        read_target([of("chr19"), of("chr20")], region="21")
    with pytest.raises(TargetError, match=r"chr19.4.vcf.*has no record in 20, and 1 samples that no other.*such as Z"):
        read_target([of("chr19", (*SAMPLES, "Z")), of("chr20")], region="20")
    lines = [record(50, ["0|1"], contig="chr20")]
    beyond = write_vcf(tmp_path / "beyond.vcf", vcf_text(("Y",), lines, contigs={"chr20": 99}))
    with pytest.raises(TargetError, match=r"beyond.vcf.*has no record in 20:15-30, and 1 samples .*such as Y"):
        read_target([of("chr20"), beyond], region="20:15-30")


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
        refuse_unphased(read_target(data_dir / "unphased_chr20_203.bcf"))


def test_read_target__real_edge_cases(data_dir: Path) -> None:
    (records,) = read_target(data_dir / "edge_cases_chr22_16.05-16.64Mb.vcf.gz", region="chr22:16050000-16100000")
    assert len(records.split_at) > 0
    assert all(len(alts) <= 1 for alts in records.alts)
    assert records.alleles.max() == 1


def test_read_target__a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a pipe or a device, and a target is read more than once"):
        read_target(tmp_path / "pipe")
