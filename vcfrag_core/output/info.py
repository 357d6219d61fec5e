"""INFO of a record as text."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vcfrag_core.output.records import OutputRecords


def info_numbers(records: OutputRecords) -> Iterator[dict[str, str]]:
    """INFO names and values of every panel site, as they are written."""
    columns = (records.af, records.maf, records.r2, records.er2)
    for af, maf, r2, er2 in zip(*(column.tolist() for column in columns), strict=True):
        numbers = {"AF": f"{af:.5g}", "MAF": f"{maf:.5g}", "R2": f"{r2:.4g}"}
        if not math.isnan(er2):
            numbers["ER2"] = f"{er2:.4g}"
        yield numbers
