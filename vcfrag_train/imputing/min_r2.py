"""`--min-r2`: which records are estimated well enough to be written."""

from __future__ import annotations

import numpy as np

from vcfrag_core.output.records import OutputRecords
from vcfrag_core.types import BoolArray


def with_min_r2(records: OutputRecords, min_r2: float | None) -> OutputRecords:
    """The typed records, and the imputed ones whose estimated r² is at least so high, as it is written."""
    keep = has_min_r2(records, min_r2)
    return records if keep.all() else records.select(keep)


def has_min_r2(records: OutputRecords, min_r2: float | None) -> BoolArray:
    """(L,) which records `with_min_r2` keeps."""
    if min_r2 is None:
        return np.ones(records.n_sites, dtype=np.bool_)
    # As many digits as INFO has, so that a filter on the file and this one keep the same records.
    written = np.array([float(f"{r2:.4g}") for r2 in records.r2.tolist()])
    return np.asarray(records.typed | (written >= min_r2))
