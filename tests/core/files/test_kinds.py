"""Files are told by what they hold, and named where they cannot be used."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vcf_text import need_bcftools, record, vcf_text
from vcfrag_core.errors import NotVcfError
from vcfrag_core.files.kinds import Kind, kind_of
from vcfrag_core.files.vcf.reader import open_vcf

TEXT = vcf_text(["A"], [record(5, ["0|1"])])


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.vcf", TEXT)


def bcf(path: Path) -> None:
    made = subprocess.run([need_bcftools(), "view", "-Ob", "-"], input=TEXT.encode(), capture_output=True, check=True)
    path.write_bytes(made.stdout)


FILES: dict[Kind | None, Callable[[Path], object]] = {
    Kind.VCF: lambda p: p.write_text(TEXT),
    Kind.BCF: bcf,
    Kind.PLINK1: lambda p: p.write_bytes(b"\x6c\x1b\x01\xdc"),
    Kind.PLINK2: lambda p: p.write_bytes(b"\x6c\x1b\x10\x11\x01\x00\x00\x00"),
    Kind.PREPARED: lambda p: p.write_bytes(b"vcfragB9" + bytes(32)),
    Kind.BREF3: lambda p: p.write_bytes(bytes.fromhex("7a8874f4") + b"\x00\x15bref3"),
    Kind.M3VCF: lambda p: p.write_bytes(gzip.compress(b"##fileformat=M3VCF\n##version=1.2\n")),
    Kind.ZSTD: lambda p: p.write_bytes(bytes.fromhex("28b52ffd00587d12")),
    Kind.BGEN: lambda p: p.write_bytes(bytes(16) + b"bgen" + bytes(20)),
    Kind.XZ: lambda p: p.write_bytes(lzma.compress(TEXT.encode())),
    Kind.BZIP2: lambda p: p.write_bytes(bz2.compress(TEXT.encode())),
    Kind.ZIP: zipped,
    None: lambda p: p.write_text("hello\n"),
}


@pytest.mark.parametrize("kind", FILES, ids=str)
@pytest.mark.parametrize("name", ["x.vcf.gz", "x.bed"])
def test_kind_of__is_told_by_content(tmp_path: Path, kind: Kind | None, name: str) -> None:
    FILES[kind](tmp_path / name)
    assert kind_of(tmp_path / name) is kind


def test_kind_of__within_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert kind_of(path) is Kind.VCF
    path.write_bytes(path.read_bytes()[:12])
    assert kind_of(path) is None
    assert kind_of(tmp_path / "nothing") is None


@pytest.mark.parametrize("kind", [k for k in FILES if k not in (Kind.VCF, Kind.BCF, None)], ids=str)
def test_open_vcf__names_another_kind_of_file_and_what_to_do(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "panel.vcf.gz"
    FILES[kind](path)
    with pytest.raises(NotVcfError, match=f"neither VCF nor BCF, but {kind.value}; ") as caught, open_vcf(path):
        pass
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf" + TEXT.encode(), "begins with a byte order mark; remove it"),
        (TEXT.partition("\n")[2].encode(), "its first line is not `##fileformat"),
    ],
)
def test_open_vcf__names_what_is_wrong_with_the_first_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.vcf"
    path.write_bytes(content)
    with pytest.raises(NotVcfError, match=message), open_vcf(path):
        pass
