"""The oracle as an engine: NumPy, one query and one segment at a time."""

from __future__ import annotations

import numpy as np

from vcfrag_core import bits as bit
from vcfrag_core.layout import Segment
from vcfrag_core.nearest import nearest
from vcfrag_core.types import F32Array, I32Array, I64Array
from vcfrag_indexd.engines.base import Checkpoint, IndexSource, SearchTask
from vcfrag_indexd.engines.strips import Strip
from vcfrag_indexd.engines.tiled import TiledEngine, wide_ranges


class ReferenceEngine(TiledEngine):
    """Slow and obvious; other engines are compared with it."""

    name = "reference"

    def _search_segments(
        self,
        source: IndexSource,
        strip: Strip,
        task: SearchTask,
        segments: list[Segment],
        ids: I32Array,
        distances: F32Array,
        checkpoint: Checkpoint,
    ) -> None:
        haplotypes = bit.unpack(source.packed[source.rows], task.start, task.stop)
        wide = wide_ranges(source, task, segments)
        for q in range(task.n_queries):
            query = np.full(task.stop - task.start, -1, dtype=np.int8)
            called = task.called[q] == 1
            query[strip.sites[called] - task.start] = task.alleles[q][called]
            mine: I64Array = task.excluded[task.excluded_starts[q] : task.excluded_starts[q + 1]]
            kept = np.setdiff1d(np.arange(len(source.rows)), mine)
            for g, segment in enumerate(segments):
                checkpoint()
                ids[g, q], distances[g, q] = nearest(
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
