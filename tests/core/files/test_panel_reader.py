"""Reading reference panels: what is read is what was written, and everything else is refused by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vcf_text import need_bcftools, panel_text, panels, record, vcf_text, write_vcf
from vcfrag_core.errors import (
    DuplicateRecordError,
    EmptyInputError,
    InputError,
    MissingAlleleError,
    MultiallelicError,
    NotVcfError,
    PloidyError,
    TruncatedFileError,
    UnknownContigError,
    UnphasedError,
    UnsortedError,
    VcfragError,
)
from vcfrag_core.files.panel import reader as panel_reader
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel

SAMPLES = ("A", "B", "C")
GOOD = record(5, ["0|1", "0|0", "1|1"])


def read(folder: Path, records: Sequence[str], *, region: str | None = None, name: str = "x.vcf") -> Panel:
    return read_panel(write_vcf(folder / name, vcf_text(SAMPLES, records, contigs={"20": 9, "21": 9})), region=region)


@given(panel=panels(), suffix=st.sampled_from([".vcf", ".vcf.gz", ".bcf"]), threads=st.sampled_from([1, 2]))
def test_read_panel__gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, suffix: str, threads: int
) -> None:
    path = write_vcf(tmp_path_factory.mktemp("round") / f"x{suffix}", panel_text(panel))
    again = read_panel(path, threads=threads)
    assert again.digest == panel.digest
    np.testing.assert_array_equal(again.packed, panel.packed)
    assert again.site_ids == panel.site_ids
    assert again.source == str(path)
    assert again.contig_length == 250_000_000


@given(panel=panels(max_samples=40, max_sites=100), block_bytes=st.integers(1, 8000))
def test_read_panel__does_not_depend_on_the_size_of_blocks(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, block_bytes: int
) -> None:
    path = write_vcf(tmp_path_factory.mktemp("blocks") / "x.bcf", panel_text(panel))
    progress: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel_reader, "_BLOCK_BYTES", block_bytes)
        again = read_panel(path, progress=progress.append)
    assert again.digest == panel.digest
    assert progress == sorted(set(progress))
    assert progress[-1:] <= [panel.n_sites]


@given(panel=panels(), data=st.data())
def test_read_panel__region_is_the_sites_within(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, data: st.DataObject
) -> None:
    path = write_vcf(tmp_path_factory.mktemp("region") / "x.bcf", panel_text(panel))
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, panel.n_sites - 1)] * 2)))
    start, stop = int(panel.positions[first]), int(panel.positions[last])
    inside = np.flatnonzero((panel.positions >= start) & (panel.positions <= stop))
    assert read_panel(path, region=f"{panel.contig}:{start}-{stop}").digest == panel.select_sites(inside).digest


def test_read_panel__position_with_two_alternate_alleles_is_two_sites(tmp_path: Path) -> None:
    panel = read(tmp_path, [GOOD, record(5, ["0|0", "1|0", "0|0"], alt="G"), record(5, ["0|0"] * 3, ref="AC", alt="A")])
    assert panel.positions.tolist() == [5, 5, 5]
    assert panel.alts == ("C", "G", "A")
    assert panel.haplotypes()[:, 1].tolist() == [0, 0, 1, 0, 0, 0]


def test_read_panel__other_fields_do_not_disturb(tmp_path: Path) -> None:
    calls = ["0|1:1.0", "0|0:0", "1|1:2"]
    panel = read(tmp_path, [record(5, calls, fmt="GT:DS"), record(6, ["0|1", "0|0", "1|1"])])
    assert panel.haplotypes().T.tolist() == [[0, 1, 0, 0, 1, 1]] * 2


REFUSED = [
    (["0|1", "0/1", "1|1"], UnphasedError, "sample B: is not phased, as 1 of 3 samples here; phase the panel first"),
    (["0/0", "0/1", "1|1"], UnphasedError, "sample A: is not phased, as 2 of 3"),
    (["0|1", "0|0", ".|1"], MissingAlleleError, "sample C: has a missing allele, as 1 of 3 samples here"),
    (["0|1", "./.", "0/1"], MissingAlleleError, "sample B: has a missing allele"),
    (["0|1", ".", "1|1"], MissingAlleleError, "sample B: has a missing allele"),
    ([".", ".", "."], MissingAlleleError, "sample A: has a missing allele, as 3 of 3"),
    (["0|1", "1", "1|1"], PloidyError, "sample B: has 1 allele.s. where two are needed"),
    (["0", "1", "1"], PloidyError, "sample A: has 1 allele"),
    (["0|1", "1|1", "0|1|1"], PloidyError, "sample C: has 3 allele"),
    (["0|1", "1|1", "0|2"], NotVcfError, "sample C: names an allele that the record does not have"),
]


@pytest.mark.parametrize(("calls", "error", "message"), REFUSED)
@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
@pytest.mark.parametrize("after", [0, 3])
def test_read_panel__refuses_calls_that_are_not_two_phased_alleles(
    tmp_path: Path, calls: list[str], error: type[VcfragError], message: str, suffix: str, after: int
) -> None:
    with pytest.raises(error, match=message) as caught:
        read(tmp_path, [GOOD, record(7, calls, alt="G")] + [record(8 + i, ["0|0"] * 3) for i in range(after)])
    assert str(caught.value).startswith(f"{tmp_path / 'x.vcf'}, record 20:7 A>G, sample ")
    assert isinstance(caught.value, InputError)
    assert caught.value.record == "20:7 A>G"


@pytest.mark.parametrize(
    ("records", "error", "where", "message"),
    [
        ([record(7, ["0|1", "1|2", "0|0"], alt="C,G")], MultiallelicError, "20:7 A>C,G", "has 2 ALT alleles"),
        ([record(7, ["0|0"] * 3, alt=".")], InputError, "20:7 A>.", "there is no ALT"),
        ([record(7, ["0|0"] * 3, alt="<DEL>")], InputError, "20:7 A><DEL>", "the ALT <DEL> is no sequence"),
        ([record(7, ["0|0"] * 3, alt="*")], InputError, "20:7 A>*", "the ALT [*] is no sequence"),
        ([record(7, ["0|0"] * 3, alt="A[20:9[")], InputError, "20:7 A>A[20:9[", "is no sequence"),
        ([record(7, ["1"] * 3, fmt="DS")], InputError, "20:7 A>C", "has no GT"),
        ([GOOD], DuplicateRecordError, "20:5 A>C", "is there twice; `bcftools norm -d exact -Ob -o unique.bcf"),
        ([record(5, ["0|0"] * 3, alt="G"), GOOD], DuplicateRecordError, "20:5 A>C", "is there twice"),
        ([record(4, ["0|0"] * 3)], UnsortedError, "20:4 A>C", "comes after position 5; `bcftools sort` puts"),
    ],
)
def test_read_panel__refuses_records(
    tmp_path: Path, records: list[str], error: type[VcfragError], where: str, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        read(tmp_path, [GOOD, *records])
    assert str(caught.value).startswith(f"{tmp_path / 'x.vcf'}, record {where}: ")


def test_read_panel__says_how_to_split_multiallelic_records(tmp_path: Path) -> None:
    with pytest.raises(MultiallelicError) as caught:
        read(tmp_path, [record(7, ["0|1", "1|2", "0|0"], alt="C,G")])
    command = str(caught.value).split("`")[1]
    assert command == f"bcftools norm -m -any -Ob -o split.bcf {tmp_path / 'x.vcf'}"
    subprocess.run([need_bcftools(), *command.split()[1:]], cwd=tmp_path, check=True, capture_output=True)
    panel = read_panel(tmp_path / "split.bcf")
    assert panel.alts == ("C", "G")
    assert panel.haplotypes().T.tolist() == [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_read_panel__refuses_several_contigs_without_a_region(tmp_path: Path) -> None:
    records = [GOOD, record(3, ["0|0"] * 3, contig="21")]
    with pytest.raises(InputError, match=r"several contigs \(20, 21\); choose one with a region"):
        read(tmp_path, records)
    assert read(tmp_path, records, region="21").positions.tolist() == [3]
    assert read(tmp_path, records, region="20").positions.tolist() == [5]


def test_read_panel__refuses_unsorted_records_within_a_region(tmp_path: Path) -> None:
    records = [GOOD, record(8, ["0|0"] * 3), record(4, ["0|0"] * 3)]
    with pytest.raises(UnsortedError, match="comes after position 5"):
        read(tmp_path, records, region="20:1-6")


def test_read_panel__refuses_what_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="the file has no records"):
        read(tmp_path, [])
    with pytest.raises(EmptyInputError, match="no record lies in 20:6-8"):
        read(tmp_path, [GOOD], region="20:6-8")
    no_samples = write_vcf(tmp_path / "sites.vcf", vcf_text([], ["20\t5\t.\tA\tC\t.\t.\t."]))
    with pytest.raises(EmptyInputError, match="no samples"):
        read_panel(no_samples)


@pytest.mark.parametrize(
    ("contigs", "region", "message"),
    [
        ({"20": 9}, "21:1-5", "no contig '21' here; the file has 20"),
        ({"20": 9}, "chr20", "this file calls it '20', ask for that; the file has 20"),
        ({"20": 9, "21": 9}, "21", "no contig '21' here; the file has 20"),
        ({}, "chr20", "this file calls it '20', ask for that; the file has 20"),
        ({f"c{i}": 9 for i in range(40)}, "21", "c28, c29 and 10 more"),
    ],
)
def test_read_panel__refuses_a_contig_that_is_not_there(
    tmp_path: Path, contigs: dict[str, int], region: str, message: str
) -> None:
    path = write_vcf(tmp_path / "x.vcf", vcf_text(SAMPLES, [GOOD], contigs=contigs))
    with pytest.raises(UnknownContigError, match=message):
        read_panel(path, region=region)


def test_read_panel__real_chr20_is_what_bcftools_says(data_dir: Path) -> None:
    bcftools = need_bcftools()
    path = data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf"
    panel = read_panel(path, threads=2)
    assert (panel.n_sites, panel.n_samples, panel.contig) == (24_804, 2_404, "20")
    assert (int(panel.positions[0]), int(panel.positions[-1])) == (60_479, 2_286_028)
    counts = subprocess.run(
        [bcftools, "query", "-f", "%POS %REF %ALT %INFO/AC\n", str(path)], check=True, capture_output=True, text=True
    )
    rows = [line.split() for line in counts.stdout.splitlines()]
    assert [(row[0], row[1], row[2]) for row in rows] == list(
        zip(map(str, panel.positions.tolist()), panel.refs, panel.alts, strict=True)
    )
    alt_counts = np.rint(panel.alt_frequency() * panel.n_haplotypes).astype(int)
    assert [int(row[3]) for row in rows] == alt_counts.tolist()


def test_read_panel__real_genotypes_of_a_region_are_what_bcftools_says(data_dir: Path) -> None:
    path, region = data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf", "20:1000000-1003000"
    panel = read_panel(path, region=region)
    query = [need_bcftools(), "query", "-r", region, "-f", "[%GT ]\n", str(path)]
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = np.array([[int(call[0]) for call in line.replace("|", " ").split()] for line in lines])
    assert len(expected) > 20
    np.testing.assert_array_equal(panel.haplotypes().T, expected)


def test_read_panel__real_unphased_file_is_refused_by_record_and_sample(data_dir: Path) -> None:
    with pytest.raises(UnphasedError) as caught:
        read_panel(data_dir / "unphased_chr20_203.bcf")
    assert (caught.value.record, caught.value.sample) == ("20:1000226 A>T", "NA12878")


def test_read_panel__real_edge_cases_are_refused_until_they_are_mended_as_told(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "edge_cases_chr22_16.05-16.64Mb.vcf.gz"
    with pytest.raises(MultiallelicError, match="record 22:16050654 A><CN0>,<CN2>,<CN3>,<CN4>: has 4 ALT") as caught:
        read_panel(path)
    split = follow(str(caught.value), tmp_path)
    with pytest.raises(InputError, match="record 22:16050654 A><CN0>: the ALT <CN0> is no sequence") as refused:
        read_panel(split)
    sequences = follow(str(refused.value), tmp_path)
    panel = read_panel(sequences, threads=2)
    assert panel.n_samples == 2504
    assert panel.n_sites == 9784
    assert len(set(panel.positions.tolist())) < panel.n_sites
    assert max(map(len, panel.refs)) > 1


def follow(message: str, folder: Path) -> Path:
    """Runs the bcftools command of a message; the file that it makes."""
    command = message.split("`")[1].split()
    subprocess.run([need_bcftools(), *command[1:]], cwd=folder, check=True, capture_output=True)
    return folder / command[command.index("-o") + 1]


def test_read_panel__real_file_cut_short_is_refused(data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf").read_bytes()
    cut = tmp_path / "cut.bcf"
    cut.write_bytes(content[:3_000_000])
    with pytest.raises(TruncatedFileError, match="ends early"):
        read_panel(cut)


def test_growing_bits__holds_what_was_added() -> None:
    alleles = np.random.default_rng(0).random((1600, 70)) < 0.3
    growing = panel_reader._GrowingBits(70)
    for start in range(0, 1600, 8):
        growing.append(alleles[start : start + 8])
    growing.append(alleles[:3])
    expected = bit.pack(np.concatenate([alleles, alleles[:3]]).T)
    np.testing.assert_array_equal(growing.haplotype_major(), expected)


PEAK_OF_GATHERING = """
import re
from pathlib import Path
import numpy as np
from vcfrag_core.files.panel.reader import _GrowingBits

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

alleles = np.ones((800, 4000), dtype=np.bool_)
growing = _GrowingBits(4000)
growing.append(alleles)
before = peak_bytes()
for _ in range(200):
    growing.append(alleles)
packed = growing.haplotype_major()
print((peak_bytes() - before) / packed.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_growing_bits__needs_the_panel_once_not_twice() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK_OF_GATHERING], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.3
