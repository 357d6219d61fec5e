"""Reads targets from PLINK 1's .bed and PLINK 2's .pgen by Pgenlib, which knows both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import InputError
from vcfrag_core.files.kinds import Kind, kind_of
from vcfrag_core.files.pgen.tables import Variants, read_samples, read_variants, said
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.targets.calls import MISSING, Sex, TargetCalls
from vcfrag_core.targets.merging import Keep
from vcfrag_core.types import BoolArray, I8Array, I64Array

_BLOCK: Final = 2048
# Genotypes that are read at a time: of a large cohort fewer records.
_MAX_GENOTYPES: Final = 4_000_000
_MAX_ALLELES: Final = 126
# The third byte of a .bed says how it is laid out.
_BY_SAMPLE: Final = b"\x6c\x1b\x00"


@dataclasses.dataclass(frozen=True, slots=True)
class PlinkFiles:
    """The three files of a PLINK set."""

    genotypes: Path
    variants: Path
    samples: Path


def plink_files(genotypes: Path) -> PlinkFiles:
    """The tables that lie beside a .bed or .pgen.

    Raises:
        InputError: There is none of a kind; names those looked for.
    """
    endings = ((".bim",), (".fam",))
    if kind_of(genotypes) is Kind.PLINK2:
        endings = ((".pvar", ".pvar.zst", ".bim"), (".psam", ".fam"))  # type: ignore[assignment]
    return PlinkFiles(genotypes, *(_beside(genotypes, ends) for ends in endings))


def _beside(genotypes: Path, endings: tuple[str, ...]) -> Path:
    stem = genotypes.name.removesuffix(genotypes.suffix)
    found = [path for end in endings if (path := genotypes.with_name(stem + end)).is_file()]
    if not found:
        wanted = " nor ".join(stem + end for end in endings)
        raise InputError(f"there is no {wanted} beside it", path=genotypes)
    return found[0]


def read_plink_target(
    genotypes: Path, contig: str | None = None, *, keep: Keep = lambda calls: calls
) -> list[TargetCalls]:
    """The calls of every contig of a PLINK set, or of one; contigs as they first come, records by position.

    PLINK 1's sets name no REF, and heterozygotes have no phase; PLINK 2's say both.

    Args:
        genotypes: The .bed or .pgen; its tables lie beside it.
        contig: Any name of the contig that is wanted.
        keep: Is given each contig's calls, and returns what is kept of them while others are read.

    Raises:
        InputError: A file is missing or not what it should be, or they do not belong together.
    """
    files = plink_files(genotypes)
    if _start(genotypes) == _BY_SAMPLE:
        raise InputError(
            "lies sample by sample, as PLINK has not written it for long; `plink --bfile NAME --make-bed` turns it",
            path=genotypes,
        )
    samples, sexes = read_samples(files.samples)
    variants = _variants(files)
    with _opened(files, len(samples), variants) as reader:
        return [
            keep(_contig(reader, name, samples, sexes, variants, rows, str(genotypes)))
            for name, rows in _by_contig(variants, contig)
        ]


def plink_variants(genotypes: Path) -> Variants:
    """The variants of a PLINK set.

    Raises:
        InputError: A table is missing or not what it should be.
    """
    return _variants(plink_files(genotypes))


def _variants(files: PlinkFiles) -> Variants:
    return read_variants(files.variants, any_order=files.variants.suffix == ".bim")


def plink_samples(genotypes: Path) -> tuple[str, ...]:
    """The samples of a PLINK set.

    Raises:
        InputError: A table is missing or not what it should be.
    """
    return read_samples(plink_files(genotypes).samples)[0]


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(3)


def _opened(files: PlinkFiles, n_samples: int, variants: Variants) -> Any:
    import pgenlib

    try:
        return pgenlib.PgenReader(
            bytes(files.genotypes),
            raw_sample_ct=n_samples,
            variant_ct=len(variants.contigs),
            allele_idx_offsets=variants.offsets.astype(np.uintp),
        )
    except (RuntimeError, MemoryError) as error:
        raise InputError(
            f"cannot be read with {files.variants.name} ({len(variants.contigs)} variants) and {files.samples.name}"
            f" ({n_samples} samples): {said(error)}",
            path=files.genotypes,
        ) from error


def _by_contig(variants: Variants, wanted: str | None) -> Iterator[tuple[str, I64Array]]:
    """Each contig, and its (R,) records by position."""
    names = np.array(variants.contigs)
    for name in dict.fromkeys(variants.contigs):
        if wanted is None or contig_alias(wanted, [name]) is not None:
            rows = np.flatnonzero(names == name)
            yield name, rows[np.argsort(variants.positions[rows], kind="stable")]


def _contig(
    reader: Any,
    name: str,
    samples: tuple[str, ...],
    sexes: tuple[Sex | None, ...],
    variants: Variants,
    rows: I64Array,
    source: str,
) -> TargetCalls:
    alleles, is_phased = _genotypes(reader, rows, len(samples), source)
    chosen = rows.tolist()
    return TargetCalls(
        contig=name,
        samples=samples,
        sexes=sexes,
        positions=variants.positions[rows],
        refs=tuple(variants.alleles[i][0] for i in chosen),
        alts=tuple(variants.alleles[i][1:] for i in chosen),
        site_ids=tuple(variants.site_ids[i] for i in chosen),
        alleles=alleles,
        is_phased=is_phased,
        ref_is_known=variants.ref_is_known[rows],
        source=source,
    )


def _genotypes(reader: Any, rows: I64Array, n_samples: int, source: str) -> tuple[I8Array, BoolArray]:
    """(R, S, 2) alleles, and (R, S) whether their phase is known."""
    alleles = np.empty((len(rows), n_samples, 2), dtype=np.int8)
    is_phased = np.empty((len(rows), n_samples), dtype=np.bool_)
    n_records = max(1, min(_BLOCK, _MAX_GENOTYPES // n_samples))
    for start in range(0, len(rows), n_records):
        block = rows[start : start + n_records].astype(np.uint32)
        read = np.empty((len(block), 2 * n_samples), dtype=np.int32)
        phased = np.empty((len(block), n_samples), dtype=np.uint8)
        try:
            reader.read_alleles_and_phasepresent_list(block, read, phased)
        except RuntimeError as error:
            raise InputError(f"cannot be read: {said(error)}", path=source) from error
        read[(read < 0) | (read > _MAX_ALLELES)] = MISSING
        alleles[start : start + len(block)] = read.reshape(len(block), n_samples, 2)
        is_phased[start : start + len(block)] = (phased > 0) | (read[:, 0::2] == read[:, 1::2])
    return alleles, is_phased
