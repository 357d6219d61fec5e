"""The panel, the index and the queries that the search stages share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks import synthetic
from benchmarks.speed import retrieval
from vcfrag_core.files.panel.binary import read_panel_file, write_panel_file
from vcfrag_core.panel import bits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import QueryBlock
from vcfrag_core.types import BoolArray

KEY = {"path": "synthetic"}
WINDOW = 1020
QUERIES = 64
K = 16


def written(folder: Path, n_haplotypes: int, n_windows: int) -> Path:
    """A file of a synthetic panel, made once."""
    file = folder / f"panel-{n_haplotypes}-{n_windows}"
    if not file.exists():
        write_panel_file(file, synthetic.panel(n_haplotypes, WINDOW * n_windows), KEY, threads=8)
    return file


def read(file: Path) -> Panel:
    """That panel."""
    return read_panel_file(file, KEY, threads=8)


def mask(panel: Panel) -> BoolArray:
    """(V,) half of the sites."""
    return retrieval.half_mask(panel.n_sites)


def query_rows(panel: Panel) -> np.ndarray:
    """(Q,) panel haplotypes that are the queries."""
    return np.arange(QUERIES) * (panel.n_haplotypes // QUERIES)


def block(panel: Panel, observed: BoolArray, window: int) -> QueryBlock:
    """The queries of one window."""
    start = WINDOW * window
    rows = query_rows(panel)
    return QueryBlock(
        start=start,
        stop=start + WINDOW,
        samples=tuple(panel.samples[row // 2] for row in rows),
        observed=observed[start : start + WINDOW],
        alleles=bits.unpack(panel.packed[rows], start, start + WINDOW).astype(np.int8),
    )


def elapsed(begun: float) -> float:
    """Seconds since a reading of `time.perf_counter`."""
    return time.perf_counter() - begun
