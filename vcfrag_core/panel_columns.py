"""A few sites of a panel, without unpacking the others."""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import F64Array, I64Array, U8Array

_ROWS = 512


def alleles_at(panel: Panel, sites: I64Array, rows: slice | None = None) -> U8Array:
    """(n, M) alleles of haplotypes, all unless `rows` chooses, at the panel sites (M,)."""
    packed = panel.packed if rows is None else panel.packed[rows]
    return np.asarray((packed[:, sites >> 3] >> (sites & 7).astype(np.uint8)) & 1, dtype=np.uint8)


def frequency_at(panel: Panel, sites: I64Array) -> F64Array:
    """(M,) share of ALT at the panel sites (M,)."""
    counts = np.zeros(len(sites), dtype=np.int64)
    for start in range(0, panel.n_haplotypes, _ROWS):
        counts += alleles_at(panel, sites, slice(start, start + _ROWS)).sum(axis=0, dtype=np.int64)
    return counts / np.float64(panel.n_haplotypes)
