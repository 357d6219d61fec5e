"""Opening VCF and BCF: regions, aliases, and every way in which a file may be no whole VCF."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vcf_text import need_bcftools, record, vcf_text, write_vcf
from vcfrag_core.errors import (
    EmptyInputError,
    InputError,
    NotVcfError,
    RangeError,
    TruncatedFileError,
    UnknownContigError,
    VcfragError,
)
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.vcf.reader import Region, open_vcf, parse_region

SAMPLES = ("A", "B")
HEADER = vcf_text(SAMPLES, [])
# Enough records, with contents of their own, for several BGZF blocks.
MANY = vcf_text(
    SAMPLES, [record(10 * i, ["0|1", "1|0"], site_id=f"rs{i * 7919 % 100_003:x}") for i in range(1, 20_000)]
)


def positions(path: Path, region: str | None = None, threads: int = 1) -> list[int]:
    with open_vcf(path, region=region, threads=threads) as reader:
        return [record.POS for record in reader]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vcf")


@pytest.fixture(scope="module", params=["many.vcf.gz", "many.bcf"])
def many(request: pytest.FixtureRequest, folder: Path) -> Path:
    return write_vcf(folder / request.param, MANY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20", Region("20")),
        ("20:100-200", Region("20", 100, 200)),
        ("chr20:1,000-2,000", Region("chr20", 1000, 2000)),
        ("20:100-", Region("20", 100)),
        ("20:100", Region("20", 100, 100)),
        ("HLA-A*01:01:5-7", Region("HLA-A*01:01", 5, 7)),
        ("20:abc", Region("20:abc")),
    ],
)
def test_parse_region__reads_what_bcftools_reads(text: str, expected: Region) -> None:
    assert parse_region(text) == expected


@pytest.mark.parametrize("text", ["20:200-100", "20:0-5"])
def test_parse_region__refuses_what_does_not_ascend(text: str) -> None:
    with pytest.raises(RangeError, match="1-based and ascend"):
        parse_region(text)


def test_region__is_written_as_it_is_read() -> None:
    for text in ("20", "20:5-", "20:5-9"):
        assert str(parse_region(text)) == text


def test_open_vcf__tells_samples_contigs_and_lengths(folder: Path) -> None:
    path = write_vcf(folder / "told.vcf", vcf_text(SAMPLES, [], contigs={"1": 7, "HLA-A*01": 9}))
    with open_vcf(path) as reader:
        assert reader.samples == SAMPLES
        assert reader.contigs == ("1", "HLA-A*01")
        assert reader.contig_length("HLA-A*01") == 9
        assert reader.contig_length("2") is None


@pytest.mark.parametrize("threads", [1, 2])
def test_open_vcf__region_with_and_without_index_is_the_same(many: Path, threads: int, tmp_path: Path) -> None:
    everything = list(range(10, 200_000, 10))
    indexed = write_vcf(tmp_path / many.name, MANY, index=True)
    for region, expected in (
        (None, everything),
        ("20", everything),
        ("20:95-125", [100, 110, 120]),
        ("20:199980-", [199_980, 199_990]),
        ("20:150000-150010", [150_000, 150_010]),
        ("20:300000-", []),
    ):
        assert positions(many, region, threads) == expected
        assert positions(indexed, region, threads) == expected


def test_open_vcf__index_older_than_the_file_is_not_used(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "x.vcf.gz", MANY, index=True)
    write_vcf(path, vcf_text(SAMPLES, [record(5, ["0|1", "0|0"])]))
    index = Path(f"{path}.csi")
    os.utime(index, ns=(0, path.stat().st_mtime_ns - 10**9))
    assert positions(path, "20:1-9") == [5]


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_open_vcf__an_index_of_another_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """As where a file was replaced by an older one, than which its index is newer."""
    names = ("20", "21", "22")
    lines = [record(at, ["0|1", "1|0"], contig=name) for name in names for at in range(10, 5_000, 10)]
    text = vcf_text(SAMPLES, lines, contigs=dict.fromkeys(names, 9_999))
    path = write_vcf(tmp_path / f"x{suffix}", text, index=True)
    fewer = [record(at, ["0|1"], contig=name) for name in names for at in range(10, 2_000, 10)]
    text = vcf_text(SAMPLES[:1], fewer, contigs=dict.fromkeys(names, 9_999))
    other = write_vcf(tmp_path / f"y{suffix}", text, index=True)
    assert len(positions(path, "21")) == 499
    shutil.copy(f"{other}.csi", f"{path}.csi")
    os.utime(f"{path}.csi", ns=(0, path.stat().st_mtime_ns + 10**9))
    for region in ("20", "21", "22:100-"):
        with pytest.raises(InputError, match="does not find its first record, 20:10, and is of another file"):
            positions(path, region)
    with open_vcf(path) as reader, pytest.raises(InputError, match="is of another file"):
        reader.contigs_with_records()


@pytest.mark.parametrize(
    ("suffix", "option"), [(".vcf.gz", "csi"), (".vcf.gz", "tbi"), (".bcf", "csi")], ids=lambda value: value.strip(".")
)
def test_open_vcf__an_index_of_a_longer_or_shorter_file_is_refused(tmp_path: Path, suffix: str, option: str) -> None:
    """As where contigs were added to a file whose first ones stayed as they were."""
    names = ("20", "21", "22")
    lines = [record(at, ["0|1", "1|0"], contig=name) for name in names for at in range(10, 40_000, 10)]
    indexes = {}
    for n_records in (3_999, 8_000, 11_997):
        text = vcf_text(SAMPLES, lines[:n_records], contigs=dict.fromkeys(names, 99_999))
        path = write_vcf(tmp_path / f"{n_records}{suffix}", text)
        subprocess.run([need_bcftools(), "index", f"--{option}", str(path)], check=True)
        indexes[path] = Path(f"{path}.{option}").read_bytes()
        assert positions(path, "20:100-120") == [100, 110, 120]
    for path in indexes:
        for other in indexes.keys() - {path}:
            Path(f"{path}.{option}").write_bytes(indexes[other])
            with pytest.raises(InputError, match="does not end where its last record does and is of another file"):
                positions(path, "20:100-120")


def test_open_vcf__a_first_record_at_a_telomere_speaks_against_no_index(tmp_path: Path) -> None:
    lines = [record(at, ["0|1", "1|0"]) for at in (0, 5, 7)]
    path = write_vcf(tmp_path / "x.bcf", vcf_text(SAMPLES, lines), index=True)
    assert positions(path, "20") == [5, 7]


def test_open_vcf__an_index_beside_plain_gzip_is_not_used(tmp_path: Path) -> None:
    text = vcf_text(SAMPLES, [record(at, ["0|1", "1|0"]) for at in range(10, 100, 10)])
    path = write_vcf(tmp_path / "x.vcf.gz", text, index=True)
    path.write_bytes(gzip.compress(text.encode()))
    os.utime(f"{path}.csi", ns=(0, path.stat().st_mtime_ns + 10**9))
    assert positions(path, "20:30-50") == [30, 40, 50]


def test_open_vcf__of_two_indexes_the_one_that_is_taken_must_be_newer(tmp_path: Path) -> None:
    lines = [record(at, ["0|1", "1|0"]) for at in range(10, 5_000, 10)]
    path = write_vcf(tmp_path / "x.vcf.gz", vcf_text(SAMPLES, lines[:20]), index=True)
    write_vcf(path, vcf_text(SAMPLES, lines))
    subprocess.run(["bcftools", "index", "--tbi", str(path)], check=True)
    os.utime(f"{path}.csi", ns=(0, path.stat().st_mtime_ns - 10**9))
    assert positions(path, "20:3000-3040") == [3000, 3010, 3020, 3030, 3040]


def test_open_vcf__an_index_beside_plain_text_is_not_used(tmp_path: Path) -> None:
    lines = [record(at, ["0|1", "1|0"]) for at in range(10, 100, 10)]
    indexed = write_vcf(tmp_path / "x.vcf.gz", vcf_text(SAMPLES, lines), index=True)
    plain = write_vcf(tmp_path / "y.vcf", vcf_text(SAMPLES, lines))
    shutil.copy(f"{indexed}.csi", f"{plain}.csi")
    os.utime(f"{plain}.csi", ns=(0, plain.stat().st_mtime_ns + 10**9))
    assert positions(plain, "20:30-50") == [30, 40, 50]


def test_open_vcf__an_index_is_checked_without_reading_all_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [record(at, ["0|1", "1|0"]) for at in range(10, 500, 10)]
    path = write_vcf(tmp_path / "x.vcf.gz", vcf_text(SAMPLES, lines), index=True)

    def refuse(path: Path) -> None:
        raise AssertionError(f"all of {path} was read")

    monkeypatch.setattr("vcfrag_core.files.vcf.reader.check_text", refuse)
    with open_vcf(path) as reader:
        (contig,) = reader.contigs_with_records()
    assert len(positions(path, f"{contig}:100-")) == 40


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1f\x8b\x08\x04"])
def test_open_vcf__damaged_index_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_vcf(tmp_path / "x.bcf", MANY, index=True)
    damaged(Path(f"{path}.csi"), content)
    with pytest.raises(InputError, match=f"its index is damaged; make it again with `bcftools index -f {path}`"):
        positions(path, "20:95-125")
    assert len(positions(path)) == 19_999


def test_open_vcf__bcf_under_the_name_of_a_vcf(tmp_path: Path) -> None:
    bcf = write_vcf(tmp_path / "x.bcf", MANY, index=True)
    named = tmp_path / "x.vcf.gz"
    bcf.rename(named)
    Path(f"{bcf}.csi").rename(f"{named}.csi")
    assert positions(named, "20:95-125") == [100, 110, 120]


def test_open_vcf__indel_belongs_to_its_position(tmp_path: Path) -> None:
    text = vcf_text(SAMPLES, [record(10, ["0|1", "0|0"], ref="ACGT", alt="A"), record(12, ["0|1", "0|0"])])
    path = write_vcf(tmp_path / "x.bcf", text, index=True)
    assert positions(path, "20:11-20") == [12]


def test_open_vcf__unknown_contig_names_those_declared(many: Path) -> None:
    with pytest.raises(UnknownContigError, match=r"no contig '21' here; the file has 20$") as caught:
        positions(many, "21")
    assert str(many) in str(caught.value)
    with pytest.raises(UnknownContigError, match="this file calls it '20', ask for that"):
        positions(many, "chr20:5-10")


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_open_vcf__refuses_a_file_cut_short(many: Path, tmp_path: Path) -> None:
    content = many.read_bytes()
    for n_bytes in (20, len(content) // 2, len(content) - 28, len(content) - 1):
        with pytest.raises(TruncatedFileError, match="closing BGZF block is missing"):
            positions(damaged(tmp_path / many.name, content[:n_bytes]))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("region", [None, "20", "20:100-"])
@pytest.mark.parametrize("indexed", [False, True])
def test_open_vcf__refuses_a_damaged_block(
    many: Path, tmp_path: Path, region: str | None, indexed: bool, threads: int
) -> None:
    path = write_vcf(tmp_path / many.name, MANY, index=indexed)
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0xFF
    times = path.stat().st_mtime_ns
    damaged(path, bytes(content))
    os.utime(path, ns=(times, times))
    with pytest.raises(TruncatedFileError, match=r"the record after 20:\d+ cannot be read: the file is damaged"):
        positions(path, region, threads)


def test_open_vcf__refuses_a_plain_gzip_cut_short(many: Path, tmp_path: Path) -> None:
    whole = gzip.compress(MANY.encode())
    assert len(positions(damaged(tmp_path / "x.vcf.gz", whole))) == 19_999
    with pytest.raises(TruncatedFileError, match="the record after 20:"):
        positions(damaged(tmp_path / "x.vcf.gz", whole[: len(whole) // 2]))


LINE = record(5, ["0|1", "0|0"]) + "\n"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", EmptyInputError, "the file is empty"),
        (b"hello\n", NotVcfError, "neither VCF nor BCF"),
        (b"\x89PNG\r\n\x1a\n0000", NotVcfError, "neither VCF nor BCF"),
        (b"\x1f\x8bxxxxxxxx", NotVcfError, "cannot be decompressed"),
        (b"##fileformat=VCFv4.2\n", NotVcfError, "its header is not whole"),
        (HEADER.replace("\tB\n", "\tA\n").encode(), NotVcfError, "line 5: .* has the sample A twice"),
        (HEADER.replace("\tB\n", "\tB\t\n").encode(), NotVcfError, "no name in column 12, after its last tab"),
        (HEADER.replace("\tA\t", "\t\t").encode(), NotVcfError, "no name in column 10$"),
        (HEADER.replace("\tA\tB\n", "\n").encode(), NotVcfError, "the column FORMAT and no sample after it"),
        (HEADER.replace("\t", " ").encode(), NotVcfError, "blanks between its columns"),
        ((HEADER + LINE)[:-5].encode(), TruncatedFileError, "in the middle of a line"),
        ((HEADER + LINE)[:-12].encode(), TruncatedFileError, "in the middle of a line"),
        ((HEADER + LINE)[:-2].encode(), NotVcfError, r"line 6, sample B: the call '0\|' is none"),
        ((HEADER + LINE + "\n").encode(), NotVcfError, "line 7: a blank line among the records; remove it"),
        ((HEADER + "\n" + LINE).encode(), NotVcfError, "line 6: a blank line among the records; remove it"),
        (gzip.compress((HEADER + LINE + "\n" + LINE).encode()), NotVcfError, "line 7: a blank line"),
        ((HEADER + LINE.replace("\t0|0", "")).encode(), NotVcfError, r"has 10 column\(s\) where the header has 11"),
        ((HEADER + LINE + LINE.replace("0|0", "x|0")).encode(), NotVcfError, r"line 7, sample B: the call 'x\|0'"),
        ((HEADER + LINE.replace("\t5\t", "\tfive\t")).encode(), NotVcfError, "its POS 'five' is no position"),
        ((HEADER + LINE.replace("0|0", "0|0\t1|1")).encode(), NotVcfError, r"has 12 column\(s\)"),
        ((HEADER + LINE.replace("\t5\t", "\t4294967301\t")).encode(), NotVcfError, "its POS '4294967301' is no"),
        ((HEADER + LINE.replace("\t", " ")).encode(), NotVcfError, "separated by blanks where a VCF has tabs"),
        ((HEADER + LINE + HEADER + LINE).encode(), NotVcfError, "line 7: a second header begins among the records"),
        ((HEADER + LINE + "# note\n" + LINE).encode(), NotVcfError, "line 7: a line of comment among the records"),
        (
            (HEADER + LINE.replace("20", "21").replace("0|1", "0|")).encode(),
            NotVcfError,
            "the call '0|' is none".replace("|", "[|]"),
        ),
        ((HEADER + LINE.replace("20", "2 0")).encode(), NotVcfError, "its CHROM '2 0' has a character"),
        ((HEADER + LINE.replace("0|1", "|0|1")).encode(), NotVcfError, "line 6: has calls that begin with their phase"),
        (
            HEADER.replace("\tB\n", "\tJ\u00f6rg\n").encode("latin-1"),
            NotVcfError,
            "name in column 11, .*reheader",
        ),
        (
            HEADER.replace("##contig", "##s\u00f6urce=x\n##contig", 1).encode("latin-1"),
            NotVcfError,
            "header is not UTF-8; convert",
        ),
    ],
)
def test_open_vcf__refuses_what_is_no_whole_vcf(
    tmp_path: Path, content: bytes, error: type[VcfragError], message: str
) -> None:
    path = damaged(tmp_path / "x.vcf", content)
    with pytest.raises(error, match=message) as caught:
        positions(path)
    assert str(path) in str(caught.value)


def test_open_vcf__last_line_may_lack_its_end(tmp_path: Path) -> None:
    assert positions(damaged(tmp_path / "x.vcf", (HEADER + LINE)[:-1].encode())) == [5]
    assert positions(damaged(tmp_path / "x.vcf", HEADER[:-1].encode())) == []
    sites = vcf_text([], ["20\t5\t.\tA\tC\t.\t.\t."])
    assert positions(damaged(tmp_path / "x.vcf", sites[:-1].encode())) == [5]


def test_open_vcf__refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        positions(tmp_path / "absent.vcf")
    with pytest.raises(InputError, match="no regular file"):
        positions(tmp_path)


def test_contigs_with_records__leaves_out_what_is_declared_only(tmp_path: Path) -> None:
    text = vcf_text(SAMPLES, [record(5, ["0|1", "0|0"], contig="2")], contigs={"1": 9, "2": 9, "3": 9})
    for name, index in (("x.vcf", False), ("x.vcf.gz", True), ("x.bcf", True)):
        with open_vcf(write_vcf(tmp_path / name, text, index=index)) as reader:
            assert reader.contigs_with_records() == ("2",)


def test_atomic_path__leaves_the_whole_file_or_none(tmp_path: Path) -> None:
    target = tmp_path / "out.vcf.gz"
    target.write_text("old")

    def write_and_fail() -> None:
        with atomic_path(target) as temporary:
            assert temporary.name.endswith("out.vcf.gz")
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.vcf.gz", "old")]
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.vcf.gz", "new")]


def test_open_vcf__says_that_it_takes_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "ref.chr{contig}.bcf"
    with pytest.raises(InputError, match=r"no such file; a pattern does not serve here: name one file"), open_vcf(path):
        pass


def test_region__a_contig_that_looks_like_a_region(tmp_path: Path) -> None:
    """Written out it is that contig, and who asks for it by its name alone is told what to write."""
    assert str(Region("HLA-A*01:01")) == "HLA-A*01:01:1-"
    assert parse_region("HLA-A*01:01:1-") == Region("HLA-A*01:01")
    contig = "HLA-A*01:01"
    lines = [record(10 * i, ["0|1", "1|0"], contig=contig) for i in range(1, 5)]
    path = write_vcf(tmp_path / "a.vcf.gz", vcf_text(SAMPLES, lines, contigs={contig: 4000}))
    assert positions(path, str(Region(contig))) == [10, 20, 30, 40]
    with pytest.raises(UnknownContigError, match=r"all of 'HLA-A\*01:01' is HLA-A\*01:01:1-"):
        positions(path, contig)
