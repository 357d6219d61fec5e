"""The tables beside PLINK's genotypes: samples in .fam and .psam, variants in .bim and .pvar."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import EmptyInputError, InputError
from vcfrag_core.targets.calls import Sex
from vcfrag_core.types import BoolArray, I32Array, I64Array

_SEXES: Final = {"1": Sex.MALE, "M": Sex.MALE, "m": Sex.MALE, "2": Sex.FEMALE, "F": Sex.FEMALE, "f": Sex.FEMALE}
_FAM: Final = ("FID", "IID", "PAT", "MAT", "SEX", "PHENO1")
_ABSENT: Final = ("0", ".", "")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The variants of a PLINK file, in its order.

    Attributes:
        contigs: R names.
        positions: (R,) 1-based positions; 0 or less where a variant is not placed.
        site_ids: R identifiers.
        alleles: R tuples of alleles in upper case, REF (PLINK 1: the second of the .bim) first, absent ones left out.
        ref_is_known: (R,) whether the first is the reference genome's.
        offsets: (R + 1,) alleles before each variant, absent ones counted.
    """

    contigs: tuple[str, ...]
    positions: I32Array
    site_ids: tuple[str, ...]
    alleles: tuple[tuple[str, ...], ...]
    ref_is_known: BoolArray
    offsets: I64Array


def read_samples(path: Path) -> tuple[tuple[str, ...], tuple[Sex | None, ...]]:
    """Names and sexes of a .fam or .psam.

    A sample is called by its individual's name; those that share one, by family and individual (`FID_IID`).

    Raises:
        InputError: Not such a table, or two samples of one name.
    """
    lines = [line.split() for line in _text(path).splitlines() if line.strip() and not line.startswith("##")]
    columns: Sequence[str] = _FAM
    if lines and lines[0][0] in ("#FID", "#IID"):
        columns = [lines[0][0][1:], *lines[0][1:]]
        lines = lines[1:]
    if not lines:
        raise EmptyInputError("the file has no samples: there is nothing to impute", path=path)
    for number, line in enumerate(lines, start=1):
        if len(line) < (len(columns) if columns is not _FAM else 5):
            raise InputError(
                f"has {len(line)} columns where {' '.join(columns)} are wanted", path=path, record=f"sample {number}"
            )
    place = {name: i for i, name in enumerate(columns)}
    families = [line[place["FID"]] if "FID" in place else "0" for line in lines]
    sexes = tuple(_SEXES.get(line[place["SEX"]]) if "SEX" in place else None for line in lines)
    return _names(families, [line[place["IID"]] for line in lines], path), sexes


def _names(families: Sequence[str], individuals: Sequence[str], path: Path) -> tuple[str, ...]:
    count = Counter(individuals)
    pairs = zip(families, individuals, strict=True)
    names = tuple(f"{family}_{name}" if count[name] > 1 else name for family, name in pairs)
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise InputError("two samples have this name; rename one (`plink2 --update-ids`)", path=path, sample=twice[0])
    return names


def read_variants(path: Path, *, any_order: bool = False) -> Variants:
    """The variants of a .bim or .pvar (.zst too).

    Args:
        path: The table.
        any_order: Whether no file of this kind says which allele is the reference's, as PLINK 1's do not.

    Raises:
        InputError: Not such a table.
    """
    import pgenlib

    if path.suffix != ".zst":
        _text(path)
    try:
        table = pgenlib.PvarReader(bytes(path))
    except RuntimeError as error:
        raise InputError(f"not a table of PLINK's variants: {said(error)}", path=path) from error
    n = int(table.get_variant_ct())
    offsets = np.asarray(table.get_allele_idx_offsets(), dtype=np.int64)
    counts = np.diff(offsets).tolist()
    codes = [tuple(_allele(table.get_allele_code(i, a)) for a in range(count)) for i, count in enumerate(counts)]
    return Variants(
        contigs=tuple(table.get_variant_chrom(i).decode() for i in range(n)),
        positions=np.fromiter((table.get_variant_pos(i) for i in range(n)), dtype=np.int32, count=n),
        site_ids=tuple(table.get_variant_id(i).decode() for i in range(n)),
        alleles=tuple((here[0], *(code for code in here[1:] if code not in _ABSENT)) for here in codes),
        ref_is_known=np.zeros(n, dtype=np.bool_) if any_order else _ref_is_known(path, n),
        offsets=offsets,
    )


def _allele(code: bytes) -> str:
    return code.decode().upper()


def _ref_is_known(path: Path, n: int) -> BoolArray:
    """(R,) false where INFO calls REF provisional, and everywhere where that cannot be looked up."""
    if path.suffix != ".pvar":
        return np.zeros(n, dtype=np.bool_)
    lines = [line for line in _text(path).splitlines() if line and not line.startswith("##")]
    columns = lines[0].split() if lines[0].startswith("#") else []
    if "INFO" not in columns:
        return np.ones(n, dtype=np.bool_)
    place = columns.index("INFO")
    return np.array(["PR" not in line.split("\t")[place].split(";") for line in lines[1:]], dtype=np.bool_)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"is no UTF-8 text: {error.reason} at byte {error.start}", path=path) from error


def said(error: Exception) -> str:
    """Pgenlib's message, which comes as bytes."""
    (message,) = error.args
    return (message.decode(errors="replace") if isinstance(message, bytes) else str(message)).strip().rstrip(".")
