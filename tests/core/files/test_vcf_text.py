"""Lines among a VCF's records that are none, and other text that htslib does not take."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_core.errors import NotVcfError
from vcfrag_core.files.targets import read_target
from vcfrag_core.files.vcf import text as vcf_lines
from vcfrag_core.files.vcf.text import check_records

SAMPLES = ["A", "B"]
LINES = [record(10 * i, ["0|1", "1|1"]) for i in range(1, 41)]
TEXT = vcf_text(SAMPLES, LINES)
HEADER = TEXT[: TEXT.index("20\t10\t")]
N_HEADER = HEADER.count("\n")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("##INFO=<ID=X>", "begins a second header: .* `bcftools concat`"),
        (HEADER.splitlines()[-1], "begins a second header"),
        ("# half time", "is a comment among the records"),
        ("a line of text", "is no record: .*'a line of text'"),
        (LINES[3].replace("\t", " "), "is no record"),
        ("20\tnowhere\t.\tA\tC", "is no record"),
        ("", "is blank"),
    ],
)
def test_read_target__a_line_that_is_no_record_is_named(tmp_path: Path, packed: bool, line: str, what: str) -> None:
    text = HEADER + "\n".join([*LINES[:20], line, *LINES[20:]]) + "\n"
    path = tmp_path / "t.vcf.gz"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(NotVcfError, match=f"line {N_HEADER + 21} {what}"):
        read_target(path)


@given(cut=st.integers(1, 400), where=st.integers(0, 39))
def test_check_records__lines_are_counted_over_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, cut: int, where: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "t.vcf"
    path.write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_lines, "_BLOCK", cut)
        check_records(path)
        path.write_text(TEXT.rstrip("\n"))
        check_records(path)
        path.write_text(HEADER + "\n".join([*LINES[:where], "text", *LINES[where:]]))
        with pytest.raises(NotVcfError, match=f"line {N_HEADER + where + 1} is no record"):
            check_records(path)


def test_check_records__a_file_without_records_and_a_bcf(tmp_path: Path) -> None:
    path = tmp_path / "t.vcf"
    path.write_text(HEADER)
    check_records(path)
    check_records(write_vcf(tmp_path / "t.bcf", TEXT))


@pytest.mark.parametrize("packed", [False, True])
def test_read_target__a_name_that_is_not_utf8_is_named_with_its_column(tmp_path: Path, packed: bool) -> None:
    data = TEXT.replace("\tA\tB\n", "\tA\tBj\u00f6rn\n").encode("latin-1")
    path = tmp_path / "t.vcf.gz"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(NotVcfError, match=r"name in column 11 is not UTF-8 \(b'Bj.xf6rn'\); .*`bcftools reheader"):
        read_target(path)


def test_read_target__calls_with_a_prefixed_phase(tmp_path: Path) -> None:
    path = tmp_path / "t.vcf"
    path.write_text(TEXT.replace("20\t40\t.\tA\tC\t.\tPASS\t.\tGT\t0|1", "20\t40\t.\tA\tC\t.\tPASS\t.\tGT\t|0|1"))
    assert path.read_text() != TEXT
    with pytest.raises(NotVcfError, match=f"line {N_HEADER + 4} has calls that begin with . or /, as VCF 4.4"):
        read_target(path)
