"""A search in a small fixed panel whose answer the oracle gave: what makes the daemon say that it serves."""

from __future__ import annotations

import numpy as np

from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.layout import Segment, SegmentLayout
from vcfrag_core.retrieval.order import nearest
from vcfrag_core.search.engine import Engine, IndexSource, SearchTask
from vcfrag_core.types import I32Array
from vcfrag_indexd.service.call import Call

CANARY_SECONDS = 20.0
CANARY_SITES = 32
CANARY_SAMPLES = 24
CANARY_NEIGHBOURS = 5


class Canary:
    """A search in a small fixed panel whose answer the oracle gave."""

    HANDLE = "canary"

    def __init__(self) -> None:
        rng = np.random.Generator(np.random.Philox(20))
        haplotypes = rng.integers(0, 2, size=(2 * CANARY_SAMPLES, CANARY_SITES), dtype=np.uint8)
        panel = Panel.from_haplotypes(haplotypes)
        observed = np.ones(CANARY_SITES, dtype=np.bool_)
        steps = np.full(CANARY_SITES, 1024, dtype=np.int32)
        rows = np.arange(len(haplotypes), dtype=np.int32)
        keys = haplotype_keys(panel)
        self.source = IndexSource(
            handle=self.HANDLE,
            panel_name=self.HANDLE,
            bits=panel.bits,
            rows=rows,
            keys=keys,
            observed=observed,
            steps=steps,
            layout=SegmentLayout(n_sites=CANARY_SITES, lengths=(CANARY_SITES,)),
        )
        self._task = SearchTask(
            start=0,
            stop=CANARY_SITES,
            k=CANARY_NEIGHBOURS,
            alleles=haplotypes[:1],
            called=np.ones((1, CANARY_SITES), dtype=np.uint8),
            excluded=np.zeros(0, dtype=np.int64),
            excluded_starts=np.zeros(2, dtype=np.int64),
        )
        self._expected: I32Array = nearest(
            haplotypes[0].astype(np.int8),
            haplotypes,
            ids=rows,
            keys=keys,
            observed=observed,
            steps=steps,
            offset=0,
            segment=Segment(0, 0, CANARY_SITES),
            enclosing=(0, CANARY_SITES),
            k=CANARY_NEIGHBOURS,
        )[0]

    def passes(self, engine: Engine, call: Call) -> bool:
        """Whether the engine gives the known answer now.

        Raises:
            VcfragError: It gives none, and why.
        """
        engine.open(self.source)
        answer = engine.search(self.HANDLE, self._task, call.checkpoint)
        return bool(np.array_equal(answer.result.ids[0, 0], self._expected))
