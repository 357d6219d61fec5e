"""The text of a VCF before htslib: every line that is no record is found, against a slow reading line by line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import NotVcfError, TruncatedFileError
from vcfrag_core.files.vcf import text
from vcfrag_core.files.vcf.text import check_text, line_of

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=20>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\n"
GOOD = b"20\t7\t.\tA\tC\t.\t.\t.\tGT\t0|1"
FIELDS = st.lists(
    st.sampled_from([b"20", b"7", b"", b"#", b"A", b" ", b"x y", b"99999999999", b"2147483646", b"\xe9", b"0|1\0"])
)


def is_record(line: bytes) -> bool:
    """What a line must be, one after the other."""
    columns = line.split(b"\t")
    if len(columns) != 10 or line.startswith(b"#") or any(byte < 32 and byte not in b"\t\r" for byte in line):
        return False
    chrom, pos, *names = columns[:5]
    if not all((chrom, pos, *names)) or not pos.isdigit() or len(pos) > 10 or int(pos) > 2**31 - 2:
        return False
    return all(b" " not in value and value.isascii() for value in (chrom, *names))


def lines() -> st.SearchStrategy[bytes]:
    """Records, records with a field replaced, and lines of anything."""
    columns = GOOD.split(b"\t")
    mended = st.tuples(st.integers(0, 9), FIELDS).map(
        lambda at: b"\t".join([*columns[: at[0]], *at[1], *columns[at[0] + 1 :]])
    )
    return st.just(GOOD) | mended | st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b""))


@given(body=st.lists(lines(), max_size=6), block=st.integers(1, 40), packed=st.booleans())
def test_check_text__finds_the_first_line_that_is_no_record(
    tmp_path_factory: pytest.TempPathFactory, body: list[bytes], block: int, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.vcf"
    content = HEADER.encode() + b"".join(line + b"\n" for line in body)
    path.write_bytes(gzip.compress(content) if packed else content)
    wrong = next((i for i, line in enumerate(body) if not is_record(line)), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)
        if wrong is None:
            check_text(path)
            return
        with pytest.raises(NotVcfError, match=rf"record line {4 + wrong}: "):
            check_text(path)


def test_check_text__a_blank_line_of_the_header_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blank.vcf"
    path.write_bytes(HEADER.replace("##contig", "\n##contig").encode() + GOOD + b"\n\n" + GOOD + b"\n")
    with pytest.raises(NotVcfError, match="record line 6: a blank line"):
        check_text(path)
    path.write_bytes(HEADER.rpartition("#CHROM")[0].encode() + GOOD)
    with pytest.raises(NotVcfError, match="no line #CHROM stands before the records"):
        check_text(path)


def test_check_text__a_last_line_cut_short_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    path = tmp_path / "cut.vcf"
    path.write_bytes(HEADER.encode() + GOOD + b"\n" + GOOD[:12])
    with pytest.raises(TruncatedFileError, match="in the middle of a line"):
        check_text(path)
    path.write_bytes(HEADER.encode() + GOOD)
    check_text(path)


def test_check_text__a_line_without_end_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_BLOCK", 100)
    monkeypatch.setattr(text, "_LONGEST_LINE", 1000)
    path = tmp_path / "long.vcf"
    path.write_bytes(HEADER.encode() + b"x" * 5000)
    with pytest.raises(NotVcfError, match="a line of more than 1000 bytes"):
        check_text(path)


def test_line_of__counts_the_records_after_the_header(tmp_path: Path) -> None:
    path = tmp_path / "two.vcf"
    path.write_bytes(HEADER.encode() + GOOD + b"\n" + GOOD.replace(b"7", b"9") + b"\n")
    assert line_of(path, 1) == (5, GOOD.replace(b"7", b"9") + b"\n")
    assert line_of(path, 2) == (6, b"")
