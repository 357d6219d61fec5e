"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import enum
import gzip
import zlib
from pathlib import Path
from typing import Final

from vcfrag_core.errors import NotVcfError

_BYTES_LOOKED_AT: Final = 64


class Kind(enum.StrEnum):
    """Kinds of files of genotypes, and what files of genotypes are packed in."""

    VCF = "VCF"
    BCF = "BCF"
    PLINK1 = "a PLINK 1 .bed file"
    PLINK2 = "a PLINK 2 .pgen file"
    PREPARED = "a prepared panel"
    BREF3 = "a Beagle .bref3 panel"
    M3VCF = "a Minimac3 .m3vcf panel"
    ZSTD = "compressed by zstd, as Minimac4's .msav panels are"
    BGEN = "a BGEN file"
    XZ = "compressed by xz"
    BZIP2 = "compressed by bzip2"
    ZIP = "a zip archive"
    CRAM = "a CRAM file"
    BAM = "a BAM file"
    HDF5 = "an HDF5 file"


_STARTS: Final = {
    b"##fileformat=M3VCF": Kind.M3VCF,
    b"##fileformat=OPTM3VCF": Kind.M3VCF,
    b"##fileformat": Kind.VCF,
    b"#CHROM": Kind.VCF,
    b"BCF": Kind.BCF,
    b"\x6c\x1b\x01": Kind.PLINK1,
    b"\x6c\x1b\x00": Kind.PLINK1,
    b"\x6c\x1b": Kind.PLINK2,
    b"vcfragB": Kind.PREPARED,
    b"\x7a\x88\x74\xf4": Kind.BREF3,
    b"\x28\xb5\x2f\xfd": Kind.ZSTD,
    b"\xfd7zXZ\x00": Kind.XZ,
    b"BZh": Kind.BZIP2,
    b"PK\x03\x04": Kind.ZIP,
    b"CRAM": Kind.CRAM,
    b"BAM\x01": Kind.BAM,
    b"\x89HDF": Kind.HDF5,
}
_ADVICE: Final = {
    Kind.PLINK1: "`impute` and `phase` take it as --target; elsewhere convert it: `plink2 --bfile {stem} --export vcf"
    " bgz --out {stem}`; a panel must be phased, which PLINK 1 cannot say",
    Kind.PLINK2: "`impute` and `phase` take it as --target; elsewhere, as for a panel, convert it: `plink2 --pfile"
    " {stem} --export bcf id-paste=iid vcf-dosage=DS-force --out {stem}`",
    Kind.BREF3: "convert it with unbref3.jar from Beagle's site, `java -jar unbref3.jar {name} > {stem}.vcf`",
    Kind.M3VCF: "give the VCF or BCF that it was made from",
    Kind.ZSTD: "of a .msav panel give the VCF or BCF that it was made from; unpack anything else: `zstd -d {name}`",
    Kind.BGEN: "convert it: `plink2 --bgen {name} ref-first --sample {stem}.sample --export vcf bgz id-paste=iid"
    " vcf-dosage=DS-force --out {stem}.of-bgen`",
    Kind.XZ: "unpack it: `xz -dc {name} | bgzip > {stem}.gz`",
    Kind.BZIP2: "unpack it: `bunzip2 -c {name} | bgzip > {stem}.gz`",
    Kind.ZIP: "unpack it: `unzip {name}`",
}


def kind_of(path: str | Path) -> Kind | None:
    """What the file is, within gzip if it is so compressed; None where it is none of these, or cannot be read."""
    start = _start(Path(path))
    if start[16:20] == b"bgen":
        return Kind.BGEN
    return next((kind for magic, kind in _STARTS.items() if start.startswith(magic)), None)


def refuse_other(path: Path) -> None:
    """Refuses a file of another kind than VCF and BCF, of which it names what it is and what to do.

    Raises:
        NotVcfError: It is of another known kind, or a VCF without its first line or behind a byte order mark.
    """
    kind = kind_of(path)
    if kind in (Kind.VCF, Kind.BCF):
        return
    if kind is not None:
        advice = _ADVICE.get(kind, "a VCF or BCF is wanted").format(name=path.name, stem=_stem(path))
        raise NotVcfError(f"neither VCF nor BCF, but {kind.value}; {advice}", path=path)
    start = _start(path)
    if start.startswith(b"\xef\xbb\xbf#"):
        raise NotVcfError(
            f"begins with a byte order mark; remove it: `sed -i '1s/^\\xEF\\xBB\\xBF//' {path}`", path=path
        )
    if start.startswith(b"##"):
        raise NotVcfError(
            "its first line is not `##fileformat=VCFv4.x`; put one before the others: `sed -i"
            f" '1i ##fileformat=VCFv4.2' {path}`",
            path=path,
        )


def _start(path: Path) -> bytes:
    """The first bytes; none where they cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_BYTES_LOOKED_AT)
        if start[:2] != b"\x1f\x8b":
            return start
        with gzip.open(path) as packed:
            return packed.read(_BYTES_LOOKED_AT)
    except (OSError, EOFError, zlib.error):
        return b""


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]
