"""An index without a daemon around it: engine, source and queries for the topics that time them."""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel import bits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.search.engine import Engine, IndexSource, SearchTask
from vcfrag_core.types import BoolArray, I32Array

THREADS = 2
THREE_SCALES = (64, 256, 1020)
STEPS = 7072  # log((1 - mu) / mu) for mu = 1e-3, in steps of 2**-10


def half_mask(n_sites: int, seed: int = 3) -> BoolArray:
    """(V,) every site observed with probability one half."""
    return np.asarray(np.random.default_rng(seed).random(n_sites) < 0.5, dtype=np.bool_)


def source(panel: Panel, observed: BoolArray, lengths: tuple[int, ...], handle: str = "bench") -> IndexSource:
    """What an engine builds from, all haplotypes being the reference."""
    rng = np.random.default_rng(5)
    rows: I32Array = np.arange(panel.n_haplotypes, dtype=np.int32)
    return IndexSource(
        handle=handle,
        panel_name="bench",
        bits=panel.bits,
        rows=rows,
        keys=rng.integers(0, 2**63, len(rows)).astype(np.uint64),
        observed=observed,
        steps=np.full(panel.n_sites, STEPS, dtype=np.int32),
        layout=SegmentLayout(n_sites=panel.n_sites, lengths=lengths),
    )


def task(panel: Panel, observed: BoolArray, start: int, stop: int, n_queries: int, k: int) -> SearchTask:
    """Panel haplotypes as queries, each person's own two left out."""
    rows = np.arange(n_queries) * (panel.n_haplotypes // n_queries)
    alleles = bits.unpack(panel.packed[rows], start, stop)[:, observed[start:stop]]
    own = np.stack([rows & ~1, rows | 1], axis=1).astype(np.int64).reshape(-1)
    return SearchTask(
        start=start,
        stop=stop,
        k=k,
        alleles=np.ascontiguousarray(alleles),
        called=np.ones_like(alleles),
        excluded=own,
        excluded_starts=2 * np.arange(n_queries + 1, dtype=np.int64),
    )


def prepare(engine: Engine, built: IndexSource, start: int, stop: int) -> None:
    """Builds what searches of the range need."""
    engine.prepare(built.handle, built.layout.segments_within(start, stop, built.observed), nothing)


def nothing() -> None:
    """A checkpoint that never ends the work."""
