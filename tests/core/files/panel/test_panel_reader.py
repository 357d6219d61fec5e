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
    EmptyInputError,
    InputError,
    MissingAlleleError,
    NotVcfError,
    PloidyError,
    TruncatedFileError,
    UnknownContigError,
    UnphasedError,
    UnsortedError,
    VcfragError,
)
from vcfrag_core.files.panel import calls as panel_calls
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.panel.reader import read_panel, read_panels
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.growing_bits import GrowingBits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy

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
        patch.setattr(panel_calls, "_BLOCK_BYTES", block_bytes)
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


def test_read_panel__bases_in_small_letters_are_the_same_bases(tmp_path: Path) -> None:
    calls = ["0|0", "1|0", "0|0"]
    small = read(tmp_path, [record(5, calls, ref="a", alt="c,<DEL>"), record(6, calls, ref="At", alt="a")])
    large = read(tmp_path, [record(5, calls, ref="A", alt="C,<DEL>"), record(6, calls, ref="AT", alt="A")])
    assert (small.refs, small.alts) == (("A", "A", "AT"), ("C", "<DEL>", "A"))
    assert small.digest == large.digest


def test_read_panel__other_fields_do_not_disturb(tmp_path: Path) -> None:
    calls = ["0|1:1.0", "0|0:0", "1|1:2"]
    panel = read(tmp_path, [record(5, calls, fmt="GT:DS"), record(6, ["0|1", "0|0", "1|1"])])
    assert panel.haplotypes().T.tolist() == [[0, 1, 0, 0, 1, 1]] * 2


REFUSED = [
    (["0|1", "0/1", "1|1"], UnphasedError, "sample B: is not phased, as 1 of 3 samples here; phase the panel first"),
    (["0/1", "0/1", "1|1"], UnphasedError, "sample A: is not phased, as 2 of 3"),
    (["0|1", "0|0", ".|1"], MissingAlleleError, "sample C: has a missing allele, as 1 of 3 samples here"),
    (["0|1", "./.", "0/1"], MissingAlleleError, "sample B: has a missing allele"),
    (["0|1", ".", "1|1"], MissingAlleleError, "sample B: has a missing allele"),
    ([".", ".", "."], MissingAlleleError, "sample A: has a missing allele, as 3 of 3"),
    (["0|1", "1|1", "0|1|1"], PloidyError, "sample C: has 3 alleles"),
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
        ([record(7, ["1"] * 3, fmt="DS")], InputError, "20:7 A>C", "has no GT"),
        ([record(4, ["0|0"] * 3)], UnsortedError, "20:4 A>C", "comes after position 5; `bcftools sort` puts"),
    ],
)
def test_read_panel__refuses_records(
    tmp_path: Path, records: list[str], error: type[VcfragError], where: str, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        read(tmp_path, [GOOD, *records])
    assert str(caught.value).startswith(f"{tmp_path / 'x.vcf'}, record {where}: ")


def test_read_panel__homozygotes_need_no_phase(tmp_path: Path) -> None:
    panel = read(tmp_path, [GOOD, record(7, ["0/0", "0|1", "1/1"])])
    assert panel.haplotypes()[:, 1].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("declared", ["Integer", "String", None])
def test_read_panel__counts_heterozygotes_of_other_phase_sets(tmp_path: Path, declared: str | None) -> None:
    calls = {
        5: ["0|1:5", "0|0:.", "1|1:5"],
        6: ["1|0:5", "0|1:6", "1|1:9"],
        7: ["0|1:7", "1|0:6", "0|1:."],
        8: ["0|0:7", "1|0:8", "0|1:."],
        9: ["0|1:.", "1|0:6", "1|0:9"],
    }
    text = vcf_text(SAMPLES, [record(at, of, fmt="GT:PS") for at, of in calls.items()], contigs={"20": 9})
    line = f'##FORMAT=<ID=PS,Number=1,Type={declared},Description="x">\n'
    path = write_vcf(tmp_path / "x.vcf", text if declared is None else text.replace("#CHROM", line + "#CHROM"))
    wanted = {} if declared is None else {"heterozygotes_of_other_phase_sets": 4}
    assert read_panel(path).counts == wanted


def test_read_panel__splits_multiallelic_records(tmp_path: Path) -> None:
    panel = read(tmp_path, [GOOD, record(7, ["0|1", "1|2", "2|0"], alt="C,<DEL>"), record(8, ["0|1"] * 3, alt="*")])
    assert panel.positions.tolist() == [5, 7, 7, 8]
    assert panel.alts == ("C", "C", "<DEL>", "*")
    assert panel.haplotypes()[:, 1].tolist() == [0, 1, 1, 0, 0, 0]
    assert panel.haplotypes()[:, 2].tolist() == [0, 0, 0, 1, 1, 0]
    assert panel.counts == {"multiallelic_records": 1, "symbolic_alleles": 2}


@given(data=st.data())
def test_read_panel__splits_as_bcftools_norm_does(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    alts = data.draw(st.lists(st.permutations(["C", "G", "T", "AT", "<DEL>", "*"]), min_size=1, max_size=6))
    records = []
    for i, of_record in enumerate(alts):
        chosen = of_record[: data.draw(st.integers(1, 4))]
        allele = st.integers(0, len(chosen)).map(str)
        calls = [f"{data.draw(allele)}|{data.draw(allele)}" for _ in SAMPLES]
        records.append(record(10 + i, calls, alt=",".join(chosen)))
    folder = tmp_path_factory.mktemp("split")
    path = write_vcf(folder / "x.vcf", vcf_text(SAMPLES, records, contigs={"20": 99}))
    ours, theirs = read_panel(path), read_panel(normalised(path))
    assert ours.digest == theirs.digest


def normalised(path: Path) -> Path:
    """The file as `bcftools norm -m-` splits it."""
    out = path.with_name("normalised.bcf")
    subprocess.run([need_bcftools(), "norm", "-m-", "-Ob", "-o", str(out), str(path)], check=True, capture_output=True)
    return out


def test_read_panel__keeps_the_first_of_equal_sites(tmp_path: Path) -> None:
    records = [
        GOOD,
        record(5, ["0|1", "0/0", "1|1"]),
        record(5, ["0|0", "0|0", "1|1"], alt="G,C"),
        record(6, ["0|0"] * 3, alt="."),
    ]
    panel = read(tmp_path, records)
    assert panel.alts == ("C", "G")
    assert panel.haplotypes().T.tolist() == [[0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert panel.counts == {
        "duplicate_sites": 1,
        "duplicate_sites_with_other_calls": 1,
        "multiallelic_records": 1,
        "records_without_alt": 1,
    }


@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_read_panel__missing_alleles_are_ref_where_one_says_so(tmp_path: Path, suffix: str) -> None:
    records = [GOOD, record(6, [".|1", ".", "./."]), record(7, ["0|1", "1|1", "1|."])]
    path = write_vcf(tmp_path / f"x{suffix}", vcf_text(SAMPLES, records, contigs={"20": 9}))
    panel = read_panel(path, missing=MissingRule.REFERENCE)
    assert panel.haplotypes().T.tolist() == [[0, 1, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0]]
    assert panel.counts == {"missing_alleles_as_reference": 6}


@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_read_panel__samples_with_one_allele_have_one_haplotype(tmp_path: Path, suffix: str) -> None:
    records = [record(5, ["0|1", "0", "1|1"]), record(7, ["1|0", "1", "0/0"])]
    panel = read_panel(write_vcf(tmp_path / f"x{suffix}", vcf_text(SAMPLES, records, contigs={"20": 9})))
    assert panel.ploidy == Ploidy.of([2, 1, 2])
    assert panel.haplotypes().tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]]
    all_haploid = [record(5, ["0", "1", "1"]), record(7, ["1", "0", "0"])]
    panel = read_panel(write_vcf(tmp_path / f"y{suffix}", vcf_text(SAMPLES, all_haploid, contigs={"20": 9})))
    assert panel.ploidy == Ploidy.haploid(3)
    assert panel.haplotypes().tolist() == [[0, 1], [1, 0], [1, 0]]


@given(seed=st.integers(0, 999), block=st.sampled_from([1, 100, 1 << 20]))
def test_read_panels__a_new_stretch_wherever_ploidy_changes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    patterns = [rng.integers(1, 3, 3) for _ in range(3)]
    records, expected = [], []
    for position in range(1, 61):
        pattern = patterns[(position - 1) // 20]
        alleles = [rng.integers(0, 2, n).tolist() for n in pattern]
        records.append(record(position, ["|".join(map(str, mine)) for mine in alleles]))
        expected.append([allele for mine in alleles for allele in mine])
    path = write_vcf(tmp_path_factory.mktemp("stretches") / "x.vcf", vcf_text(SAMPLES, records, contigs={"20": 99}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel_calls, "_BLOCK_BYTES", block)
        stretches = read_panels(path)
    found = [column.tolist() for panel in stretches for column in panel.haplotypes().T]
    assert found == expected
    changes = [i for i in range(1, 3) if (patterns[i] != patterns[i - 1]).any()]
    assert [int(panel.positions[0]) for panel in stretches] == [1, *(1 + 20 * i for i in changes)]
    assert [panel.ploidy for panel in stretches] == [Ploidy.of(patterns[i]) for i in (0, *changes)]
    if len(stretches) > 1:
        with pytest.raises(PloidyError, match=r"choose a region of 20:1-"):
            read_panel(path)
        last = stretches[-1]
        region = f"20:{last.positions[0]}-{last.positions[-1]}"
        assert read_panel(path, region=region).digest == last.digest


def test_read_panels__refuses_ploidy_that_comes_and_goes(tmp_path: Path) -> None:
    records = [record(i, ["0|1", "0" if i % 2 else "0|0", "1|1"]) for i in range(1, 20)]
    path = write_vcf(tmp_path / "x.vcf", vcf_text(SAMPLES, records, contigs={"20": 99}))
    with pytest.raises(PloidyError, match=r"record 20:9 A>C: .* has changed 8 times; write every sample with one"):
        read_panels(path)


def test_read_panel__a_male_of_x_is_one_haplotype_however_he_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    alleles = rng.integers(0, 2, (200, 6))
    haploid, diploid = [], []
    for i, (a, b, c, _, e, f) in enumerate(alleles.tolist()):
        haploid.append(record(3_000_000 + 10 * i, [f"{a}|{b}", f"{c}", f"{e}|{f}"], contig="X"))
        diploid.append(record(3_000_000 + 10 * i, [f"{a}|{b}", f"{c}/{c}", f"{e}|{f}"], contig="X"))
    files = [
        write_vcf(tmp_path / f"{name}.vcf", vcf_text(SAMPLES, records, contigs={"X": 155_270_560}))
        for name, records in (("haploid", haploid), ("diploid", diploid))
    ]
    one, other = map(read_panel, files)
    assert one.ploidy == Ploidy.of([2, 1, 2])
    assert one.digest == other.digest


def test_read_panels__pseudo_autosomal_regions_are_stretches_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    between = [2_699_521, *range(3_000_000, 3_000_100), 154_931_043]
    positions = [100_000, 2_699_520, *between, 154_931_044, 155_000_000]
    records = []
    for position in positions:
        man = rng.integers(0, 2) if 2_699_520 < position < 154_931_044 else None
        women = [f"{rng.integers(0, 2)}|{rng.integers(0, 2)}" for _ in range(2)]
        calls = [women[0], "0|1" if man is None else f"{man}|{man}", women[1]]
        records.append(record(position, calls, contig="chrX"))
    path = write_vcf(tmp_path / "x.vcf", vcf_text(SAMPLES, records, contigs={"chrX": 155_270_560}))
    stretches = read_panels(path)
    assert [panel.positions.tolist() for panel in stretches] == [positions[:2], between, positions[-2:]]
    assert [str(panel.ploidy) for panel in stretches] == ["2x3", "2x1 1x1 2x1", "2x3"]


def test_read_panel__refuses_a_male_who_is_heterozygous_now_and_then(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    records = []
    for i in range(200):
        a, b = rng.integers(0, 2, 2)
        males = [f"{m}|{m}" for m in rng.integers(0, 2, 3)]
        if i == 77:
            males[1] = "0|1"
        records.append(record(3_000_000 + i, [f"{a}|{b}", f"{b}|{1 - b}", *males], contig="X"))
    path = write_vcf(tmp_path / "x.vcf", vcf_text("ABCDE", records, contigs={"X": 155_270_560}))
    with pytest.raises(PloidyError, match=r"record X:3000077 A>C, sample D: is heterozygous at 1 of 200 sites"):
        read_panel(path)


def test_read_panel__refuses_several_contigs_without_a_region(tmp_path: Path) -> None:
    records = [GOOD, record(3, ["0|0"] * 3, contig="21")]
    with pytest.raises(InputError, match=r"several contigs \(20, 21\), of which one is read here: name it"):
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
    assert (caught.value.record, caught.value.sample) == ("20:1017286 A>G", "NA12878")


def test_read_panel__real_edge_cases_are_read_as_bcftools_splits_them(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "edge_cases_chr22_16.05-16.64Mb.vcf.gz"
    panel = read_panel(path, threads=2)
    copy = tmp_path / "x.vcf.gz"
    copy.symlink_to(path)
    assert panel.digest == read_panel(normalised(copy)).digest
    assert (panel.n_samples, panel.n_sites) == (2504, 9792)
    assert panel.counts == {"multiallelic_records": 40, "symbolic_alleles": 8}


def test_read_panel__real_file_cut_short_is_refused(data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "1kg_chr20_0.06-2.29Mb_2404.bcf").read_bytes()
    cut = tmp_path / "cut.bcf"
    cut.write_bytes(content[:3_000_000])
    with pytest.raises(TruncatedFileError, match="ends early"):
        read_panel(cut)


def test_growing_bits__holds_what_was_added() -> None:
    alleles = np.random.default_rng(0).random((1600, 70)) < 0.3
    growing = GrowingBits(70)
    for start in range(0, 1600, 8):
        growing.append(alleles[start : start + 8])
    growing.append(alleles[:3])
    expected = bit.pack(np.concatenate([alleles, alleles[:3]]).T)
    np.testing.assert_array_equal(growing.finish().packed(), expected)


PEAK_OF_GATHERING = """
import re
from pathlib import Path
import numpy as np
from vcfrag_core.panel.growing_bits import GrowingBits

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

alleles = np.ones((800, 4000), dtype=np.bool_)
growing = GrowingBits(4000)
growing.append(alleles)
before = peak_bytes()
for _ in range(200):
    growing.append(alleles)
packed = growing.finish().packed()
print((peak_bytes() - before) / packed.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_growing_bits__needs_the_panel_once_not_twice() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK_OF_GATHERING], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.3
