"""The oracle as an engine: NumPy, one query and one segment at a time."""

from __future__ import annotations

import numpy as np

from vcfrag_core.retrieval.order import nearest
from vcfrag_core.search.tiled import SegmentSearch, TiledEngine, wide_ranges
from vcfrag_core.types import I64Array


class ReferenceEngine(TiledEngine):
    """Slow and obvious; other engines are compared with it."""

    name = "reference"

    def _search_segments(self, work: SegmentSearch) -> None:
        source, task = work.source, work.task
        haplotypes = source.bits.alleles(np.arange(task.start, task.stop), source.rows)
        wide = wide_ranges(source, task, work.segments)
        for q in range(task.n_queries):
            query = np.full(task.stop - task.start, -1, dtype=np.int8)
            called = task.called[q] == 1
            query[work.strip.sites[called] - task.start] = task.alleles[q][called]
            mine: I64Array = task.excluded[task.excluded_starts[q] : task.excluded_starts[q + 1]]
            kept = np.setdiff1d(np.arange(len(source.rows)), mine)
            for g, segment in enumerate(work.segments):
                work.checkpoint()
                work.ids[g, q], work.distances[g, q] = nearest(
                    query,
                    haplotypes[kept],
                    ids=source.rows[kept],
                    keys=source.keys[kept],
                    observed=source.observed[task.start : task.stop],
                    steps=source.steps[task.start : task.stop],
                    offset=task.start,
                    segment=segment,
                    enclosing=wide[g],
                    k=task.k,
                )
