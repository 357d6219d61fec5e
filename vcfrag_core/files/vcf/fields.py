"""What one VCF record says of genotypes: alleles, dosages, probabilities, the imputation's own r²."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from vcfrag_core.errors import InputError, PloidyError
from vcfrag_core.files.tables.sites import InfoRecord, label
from vcfrag_core.files.vcf.reader import raw_calls
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import BoolArray, F64Array, I64Array

_ESTIMATES: Final = ("R2", "DR2")


def dosage_of(record: InfoRecord, path: Path) -> tuple[str, F64Array]:
    """The first of DS, HDS, GP and GT that the record has, and (S,) ALT copies from it; NaN where missing.

    Raises:
        InputError: It has none of them, or one of another width.
        PloidyError: A call that is not diploid.
    """
    if (values := _values(record, "DS", 1, path)) is not None:
        return "DS", values[:, 0]
    if (values := _values(record, "HDS", 2, path)) is not None:
        return "HDS", values.sum(axis=1)
    if (values := _values(record, "GP", 3, path)) is not None:
        return "GP", values[:, 1] + 2 * values[:, 2]
    return "GT", _copies(record, path)


def posterior_of(record: InfoRecord, dosage_field: str, path: Path) -> F64Array | None:
    """(S, 3) genotype probabilities from GP, else HDS, else from GT where the dosages came from it; else None."""
    if (values := _values(record, "GP", 3, path)) is not None:
        return values
    if (values := _values(record, "HDS", 2, path)) is not None:
        return accuracy.posterior_of_haplotypes(values)
    if dosage_field == "GT":
        return np.asarray(_copies(record, path)[:, None] == np.arange(3), dtype=np.float64)
    return None


def _values(record: InfoRecord, field: str, width: int, path: Path) -> F64Array | None:
    """(S, width) values, None where the record has no such field.

    Whether it has is asked of `format`: on a record that is not yet unpacked, cyvcf2's FORMAT reads freed memory.
    """
    values: Any = record.format(field, float)
    if values is not None and values.shape[1] != width:
        raise InputError(
            f"{field} has {values.shape[1]} values per sample, not {width}", path=path, record=record_label(record)
        )
    return None if values is None else np.asarray(values, dtype=np.float64)


def _copies(record: InfoRecord, path: Path) -> F64Array:
    alleles = alleles_of(record, path).astype(np.float64)
    return np.asarray(np.where(alleles < 0, np.nan, alleles).sum(axis=1))


def alleles_of(record: InfoRecord, path: Path) -> I64Array:
    """(S, 2) alleles of GT, -1 missing.

    Raises:
        InputError: No GT.
        PloidyError: A call that is not diploid.
    """
    calls = raw_calls(record)
    if calls is None:
        raise InputError("no GT here, nor a dosage", path=path, record=record_label(record))
    if calls.shape[1] != 2 or bool((calls < 0).any()):
        raise PloidyError("a call that is not diploid", path=path, record=record_label(record))
    return (calls.astype(np.int64) >> 1) - 1


def order_is_phase(record: InfoRecord) -> BoolArray:
    """(S,) calls whose alleles are separated by `|`, of a record that `alleles_of` takes."""
    calls = raw_calls(record)
    return np.zeros(0, dtype=np.bool_) if calls is None else np.asarray(calls[:, 1] & 1 == 1)


def estimated_r2_of(record: InfoRecord) -> float:
    """INFO R2, else DR2, else NaN."""
    for name in _ESTIMATES:
        value = record.INFO.get(name)
        if isinstance(value, int | float):
            return float(value)
    return float("nan")


def record_label(record: InfoRecord) -> str:
    """`contig:position REF>ALT` of a record, for messages."""
    return label(record.CHROM, (record.POS, record.REF, ",".join(record.ALT)))
