"""What one VCF record says of genotypes: alleles, dosages, probabilities, the imputation's own r²."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import InputError, PloidyError
from vcfrag_core.files.tables.sites import label
from vcfrag_core.files.vcf.reader import InfoRecord, raw_calls
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import BoolArray, F64Array, I64Array

_NO_ALLELE: Final = -2147483647
_ESTIMATES: Final = ("R2", "DR2")


def lone_of(record: InfoRecord) -> BoolArray | None:
    """(S,) samples with one haplotype, by GT, else by HDS or GP; None where the record has none of them."""
    calls = raw_calls(record)
    if calls is not None:
        return np.asarray(calls[:, 1] == _NO_ALLELE) if calls.shape[1] > 1 else np.ones(len(calls), dtype=np.bool_)
    for field, width in (("HDS", 2), ("GP", 3)):
        values: Any = record.format(field, float)
        if values is not None:
            there = np.isfinite(values).sum(axis=1)
            return np.asarray((there > 0) & (there < width))
    return None


def dosage_of(record: InfoRecord, path: Path, lone: BoolArray | None = None) -> tuple[str, F64Array]:
    """The first of DS, HDS, GP and GT that the record has, and (S,) ALT copies from it; NaN where missing.

    Those of a sample with one haplotype count twice, so that everybody's lie in [0, 2]. A DS of theirs for which no
    other field speaks is taken to be one of 0 to 1; see `doubtful_ds`.

    Args:
        record: The record.
        path: Its file.
        lone: (S,) samples with one haplotype, where the record itself does not say.

    Raises:
        InputError: It has none of them, or one of another width.
        PloidyError: A call of more than two alleles.
    """
    own = lone_of(record)
    lone = own if own is not None else lone
    if (values := _values(record, "DS", 1, path)) is not None:
        if lone is None or not bool(lone.any()):
            return "DS", values[:, 0]
        # DS of a lone haplotype is 0 to 1 or, for association tools, 0 to 2; HDS or GP say which.
        told = _lone_dosage(record, path)
        return "DS", np.where(lone, 2 * np.where(np.isfinite(told), told, values[:, 0]), values[:, 0])
    if (values := _values(record, "HDS", 2, path)) is not None:
        return "HDS", np.where(np.isnan(values[:, 1]), 2 * values[:, 0], values.sum(axis=1))
    if (values := _values(record, "GP", 3, path)) is not None:
        return "GP", np.where(np.isnan(values[:, 2]), 2 * values[:, 1], values[:, 1] + 2 * values[:, 2])
    return "GT", _copies(record, path)


def _lone_dosage(record: InfoRecord, path: Path) -> F64Array:
    """(S,) dosage of a lone haplotype by HDS, else GP; NaN where neither tells, as where Beagle leaves GP out."""
    if (haplotypes := _values(record, "HDS", 2, path)) is not None:
        return np.asarray(haplotypes[:, 0])
    if (posterior := _values(record, "GP", 3, path)) is not None:
        return np.asarray(posterior[:, 1])
    return np.array(np.nan)


def doubtful_ds(record: InfoRecord, path: Path, lone: BoolArray | None = None) -> BoolArray | None:
    """(S,) samples with one haplotype whose DS may be one of 0 to 1 or of 0 to 2; None where all is clear.

    Args:
        record: The record.
        path: Its file.
        lone: (S,) samples with one haplotype, where the record itself does not say.
    """
    own = lone_of(record)
    lone = own if own is not None else lone
    if lone is None or "DS" not in record.FORMAT:
        return None
    return np.asarray(lone & ~np.isfinite(_lone_dosage(record, path)))


def posterior_of(record: InfoRecord, dosage_field: str, path: Path) -> F64Array | None:
    """(S, 3) genotype probabilities from GP, else HDS, else from GT where the dosages came from it; else None.

    A sample with one haplotype has two copies of its allele.
    """
    if (values := _values(record, "GP", 3, path)) is not None:
        lone = np.isnan(values[:, 2]) & np.isfinite(values[:, 1])
        values[lone] = np.stack([values[lone, 0], np.zeros(int(lone.sum())), values[lone, 1]], axis=1)
        return values
    if (values := _values(record, "HDS", 2, path)) is not None:
        lone = np.isnan(values[:, 1]) & np.isfinite(values[:, 0])
        posterior = accuracy.posterior_of_haplotypes(np.where(np.isnan(values), 0, values))
        posterior[lone] = np.stack([1 - values[lone, 0], np.zeros(int(lone.sum())), values[lone, 0]], axis=1)
        posterior[np.isnan(values[:, 0])] = np.nan
        return posterior
    if dosage_field == "GT":
        return np.asarray(_copies(record, path)[:, None] == np.arange(3), dtype=np.float64)
    return None


def _values(record: InfoRecord, field: str, width: int, path: Path) -> F64Array | None:
    """(S, width) values, NaN for those that a sample with one haplotype lacks; None where the record has no such field.

    Whether it has is asked of `format`: on a record that is not yet unpacked, cyvcf2's FORMAT reads freed memory.
    """
    values: Any = record.format(field, float)
    if values is None:
        return None
    found = np.asarray(values, dtype=np.float64)
    if found.shape[1] == width - 1 > 0:
        # Everybody has one haplotype.
        found = np.concatenate([found, np.full((len(found), 1), np.nan)], axis=1)
    if found.shape[1] != width:
        raise InputError(
            f"{field} has {found.shape[1]} values per sample, not {width}", path=path, record=record_label(record)
        )
    return found


def _copies(record: InfoRecord, path: Path) -> F64Array:
    alleles = alleles_of(record, path).astype(np.float64)
    return np.asarray(np.where(alleles < 0, np.nan, alleles).sum(axis=1))


def alleles_of(record: InfoRecord, path: Path) -> I64Array:
    """(S, 2) alleles of GT, -1 missing; twice that of a sample with one haplotype.

    Raises:
        InputError: No GT.
        PloidyError: A call of more than two alleles.
    """
    calls = raw_calls(record)
    if calls is None:
        raise InputError("no GT here, nor a dosage", path=path, record=record_label(record))
    if calls.shape[1] > 2:
        raise PloidyError("a call of more than two alleles", path=path, record=record_label(record))
    alleles = (calls.astype(np.int64) >> 1) - 1
    if alleles.shape[1] == 1:
        return np.repeat(alleles, 2, axis=1)
    alleles[:, 1] = np.where(calls[:, 1] == _NO_ALLELE, alleles[:, 0], alleles[:, 1])
    return alleles


def order_is_phase(record: InfoRecord) -> BoolArray:
    """(S,) calls whose alleles are separated by `|`, of a record that `alleles_of` takes."""
    calls = raw_calls(record)
    if calls is None:
        return np.zeros(0, dtype=np.bool_)
    # The separator before the last allele; a lone allele needs none.
    return np.asarray(calls[:, -1] & 1 == 1) if calls.shape[1] > 1 else np.ones(len(calls), dtype=np.bool_)


def estimated_r2_of(record: InfoRecord) -> float:
    """INFO R2, else DR2, else NaN."""
    for name in _ESTIMATES:
        value = record.INFO.get(name)
        if isinstance(value, int | float):
            return float(value)
    return float("nan")


def says_typed(record: InfoRecord, header: str) -> bool:
    """Whether a record is marked as observed: by TYPED (vcfrag, Minimac), or by no IMP where IMP is declared (Beagle).

    Args:
        record: A record of an imputed file.
        header: The file's header; what declares neither marks nothing.
    """
    if "##INFO=<ID=TYPED," in header:
        return record.INFO.get("TYPED") is not None
    return "##INFO=<ID=IMP," in header and record.INFO.get("IMP") is None


def record_label(record: InfoRecord) -> str:
    """`contig:position REF>ALT` of a record, for messages."""
    return label(record.CHROM, (record.POS, record.REF, ",".join(record.ALT)))
