"""Which sites a file speaks of: a VCF, a PLINK set or a table; and records matched by position and alleles."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vcfrag_core.errors import EmptyInputError, InputError, UnknownContigError
from vcfrag_core.files.kinds import Kind, kind_of
from vcfrag_core.files.pgen.reader import plink_variants
from vcfrag_core.files.targets import target_file
from vcfrag_core.files.vcf.reader import (
    InfoRecord,
    Record,
    Region,
    VcfReader,
    alleles_named,
    in_capitals,
    name_contigs,
    open_vcf,
)
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.targets.sites.orientation import codings

# Position, REF, ALT: what identifies a site on its contig.
SiteKey = tuple[int, str, str]
_COLUMNS = ("chrom", "pos", "ref", "alt")
_VCF_STARTS = (b"##fileformat=VCF", b"BCF")


def read_typed_sites(
    path: str | Path, contig: str, *, threads: int = 1, without_alt: bool = False
) -> frozenset[SiteKey]:
    """The sites of one contig in a VCF or BCF, in a PLINK set, or in a table `chrom pos ref alt`.

    A table is tab-separated, with that header. It may hold a column `typed`: then only the rows with 1 count. `20` and
    `chr20` are the same contig. Where a PLINK set does not say which allele is REF, a site comes in both orders. A
    record with several ALT alleles is a site for each.

    Args:
        path: The file, or the name of a PLINK set; its content decides what it is, and it may be compressed.
        contig: The panel's contig.
        threads: Threads that decompress.
        without_alt: Whether records at which nobody has another allele come, too: with "" for ALT.

    Raises:
        InputError: No such file; a table without the four columns, or with a position that is no number.
        EmptyInputError: No site on this contig.
        UnknownContigError: A VCF that declares contigs, but not this one.
    """
    path = target_file(path)
    if _is_plink(path):
        sites = frozenset(_plink_sites(path, contig, without_alt))
    elif _is_vcf(path):
        records = records_of(path, contig, threads=threads)
        sites = frozenset(key for record in records for key in keys_of(record, without_alt=without_alt))
    else:
        sites = frozenset(_table_sites(path, contig))
    if not sites:
        raise EmptyInputError(f"no typed site on contig {contig!r}", path=path)
    return sites


def every_coding(keys: Iterable[SiteKey]) -> frozenset[SiteKey]:
    """The sites however another file may write them: alleles exchanged, single bases on the other strand.

    An array's own file need not be in a panel's coding; a site that it types is typed all the same. A key without ALT
    stays one.
    """
    keys = list(keys)
    lone = {(position, one, "") for position, ref, alt in keys if not alt for one, _ in codings(ref, ref)}
    keys = [key for key in keys if key[2]]
    return frozenset((position, *pair) for position, ref, alt in keys for pair in codings(ref, alt)) | lone


def check_sites(path: Path) -> None:
    """Refuses before any work a file of sites that cannot be used; of a VCF what its header tells.

    Raises:
        InputError and its kinds: See `read_typed_sites`.
    """
    path = target_file(path)
    if _is_plink(path):
        plink_variants(path)
        return
    if _is_vcf(path):
        with open_vcf(path):
            return
    for _ in _table_sites(path, None):
        pass


def records_of(path: Path, contig: str, *, threads: int = 1) -> Iterator[InfoRecord]:
    """The records of a contig, whether the file calls it `20` or `chr20`.

    Raises:
        UnknownContigError: The file declares contigs, but not this one.
    """
    with open_vcf(path) as reader:
        name = _own_name(reader, contig)
    with open_vcf(path, threads=threads, region=None if name is None else Region(name)) as reader:
        for record in reader:
            if name is not None or contig_alias(record.CHROM, (contig,)):
                yield cast(InfoRecord, record)


def key_of(record: Record) -> SiteKey | None:
    """The record's site; None where it has not exactly one ALT."""
    if len(record.ALT) != 1:
        return None
    ref, alt = alleles_named(record)
    return record.POS, ref, alt


def keys_of(record: Record, *, without_alt: bool = False) -> tuple[SiteKey, ...]:
    """The record's sites, one for each ALT, as `bcftools norm -m-` splits it.

    A record without ALT has none, or on request one with "" for it.
    """
    ref, *alts = alleles_named(record)
    return tuple((record.POS, ref, alt) for alt in alts or [""] * without_alt)


def site_rows(positions: list[int], refs: tuple[str, ...], alts: tuple[str, ...]) -> dict[SiteKey, int]:
    """Row number of every site."""
    return {key: row for row, key in enumerate(zip(positions, refs, alts, strict=True))}


def label(contig: str, key: SiteKey) -> str:
    """`contig:position REF>ALT`, for messages."""
    return f"{contig}:{key[0]} {key[1]}>{key[2]}"


def _own_name(reader: VcfReader, contig: str) -> str | None:
    if not reader.contigs:
        return None
    name = contig_alias(contig, reader.contigs)
    if name is None:
        raise UnknownContigError(
            f"no contig {contig!r} here; the file has {name_contigs(reader.contigs)}", path=reader.path
        )
    return name


def _is_plink(path: Path) -> bool:
    return kind_of(path) in (Kind.PLINK1, Kind.PLINK2)


def _plink_sites(genotypes: Path, contig: str, without_alt: bool) -> Iterator[SiteKey]:
    variants = plink_variants(genotypes)
    here = {name for name in set(variants.contigs) if contig_alias(name, (contig,)) is not None}
    for row, alleles in enumerate(variants.alleles):
        if variants.contigs[row] in here:
            position = int(variants.positions[row])
            if without_alt and len(alleles) == 1:
                yield position, alleles[0], ""
            for alt in alleles[1:]:
                yield position, alleles[0], alt
                if not variants.ref_is_known[row]:
                    yield position, alt, alleles[0]


def _is_vcf(path: Path) -> bool:
    try:
        with _unpacked(path) as file:
            start: bytes = file.read(16)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error
    return start.startswith(_VCF_STARTS)


def _unpacked(path: Path) -> Any:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def _table_sites(path: Path, contig: str | None) -> Iterator[SiteKey]:
    """The sites of a contig, or of all of them."""
    with _unpacked(path) as file:
        lines = (line.decode("utf-8-sig", errors="replace") for line in file)
        rows = csv.DictReader(lines, delimiter="\t")
        try:
            _check_columns(rows.fieldnames or (), path)
            for row in rows:
                here = contig is None or contig_alias(row["chrom"] or "", (contig,)) is not None
                if here and row.get("typed") != "0":
                    yield _table_key(row, path, rows.line_num)
        except csv.Error as error:
            raise InputError(f"line {rows.line_num + 1} is no row of a table: {error}", path=path) from error


def _check_columns(names: Sequence[str], path: Path) -> None:
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise InputError(
            f"neither VCF nor a table whose first line names its columns {' '.join(_COLUMNS)}, between tabs:"
            f" {missing[0]!r} is missing",
            path=path,
        )


def _table_key(row: Mapping[str, str | None], path: Path, line: int) -> SiteKey:
    try:
        return int(row["pos"] or ""), in_capitals(row["ref"] or ""), in_capitals(row["alt"] or "")
    except ValueError as error:
        raise InputError(f"{row['pos']!r} is no position", path=path, record=f"line {line}") from error
