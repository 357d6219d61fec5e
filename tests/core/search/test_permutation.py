"""The file's sample order decides nothing: neighbours by name are those of the panel in any other order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.order import nearest
from vcfrag_core.types import BoolArray, I8Array

V = 48
Neighbours = list[tuple[str, bytes, float]]


def answers(panel: Panel, query: I8Array, observed: BoolArray, k: int) -> list[Neighbours]:
    """For every segment, (sample, alleles, distance) of the k nearest, in order."""
    layout = SegmentLayout(n_sites=V, lengths=(8, 24), min_observed=1)
    steps = site_weights.steps(site_weights.quantise(np.full(V, 6.9)))
    reference = panel.haplotypes()
    found = []
    for segment in layout.segments_within(0, V, observed):
        ids, distances = nearest(
            query,
            reference,
            ids=np.arange(panel.n_haplotypes, dtype=np.int32),
            keys=haplotype_keys(panel),
            observed=observed,
            steps=steps,
            offset=0,
            segment=segment,
            enclosing=layout.enclosing(segment, 0, V),
            k=k,
        )
        pairs = zip(ids.tolist(), distances.tolist(), strict=True)
        found.append([(panel.samples[h // 2], reference[h].tobytes(), d) for h, d in pairs])
    return found


@given(seed=st.integers(0, 1000), k=st.integers(1, 12))
def test_nearest__permuting_the_samples_changes_no_answer(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct haplotypes, so that ties are the rule.
    founders = (rng.random((5, V)) < 0.3).astype(np.uint8)
    panel = Panel.from_haplotypes(founders[rng.integers(0, 5, 40)])
    shuffled = panel.select_samples([panel.samples[i] for i in rng.permutation(panel.n_samples)])
    query = (rng.random(V) < 0.3).astype(np.int8)
    query[rng.random(V) < 0.1] = -1
    observed = rng.random(V) < 0.6
    assert answers(panel, query, observed, k) == answers(shuffled, query, observed, k)
