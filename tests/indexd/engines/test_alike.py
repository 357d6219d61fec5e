"""Queries that are alike over a segment: which these are, and that they are answered as if each were searched for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.panel.panel import Panel
from vcfrag_core.retrieval.queries import EXTERNAL
from vcfrag_core.search.alike import Alike
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.patterns import PatternLimits
from vcfrag_core.search.reference import ReferenceEngine

BUDGET = 64 * 1024 * 1024


@given(st.data())
def test_alike__is_the_first_query_with_the_same_calls_and_the_same_rows_hidden(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_queries, n_bytes = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    alleles, called = rng.integers(0, 2, (2, n_queries, n_bytes)).astype(np.uint8)
    hidden = [list(range(n)) for n in rng.integers(0, 2, n_queries)]
    starts = np.cumsum([0, *map(len, hidden)])
    first_bits = rng.integers(0, 8 * n_bytes, 5)
    bits = np.stack([first_bits, [rng.integers(bit, 8 * n_bytes) + 1 for bit in first_bits]], axis=1)
    alike = Alike(alleles, called, np.array([row for rows in hidden for row in rows], dtype=np.int64), starts, bits)
    found = np.tile(np.arange(n_queries), (len(bits), 1))[:, :, None].astype(np.int32)
    alike.share(found, found.astype(np.float32))
    for (start, stop), wanted, of_whom in zip(bits.tolist(), alike.wanted, found[:, :, 0], strict=True):
        here = slice(start >> 3, (stop + 7) >> 3)
        looks = [(alleles[q, here].tobytes(), called[q, here].tobytes(), hidden[q]) for q in range(n_queries)]
        assert of_whom.tolist() == [looks.index(mine) for mine in looks]
        assert wanted.tolist() == [looks.index(mine) == q for q, mine in enumerate(looks)]


@given(st.data())
def test_search__of_haplotypes_that_differ_in_few_places_equals_the_reference(
    described: Callable, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_sites = data.draw(st.integers(40, 150))
    panel = Panel.from_haplotypes(rng.integers(0, 2, (40, n_sites)))
    made = described(
        panel, wanted=(4, 20), families=5, weights=rng.random(n_sites) if data.draw(st.booleans()) else None
    )
    queries = rng.integers(-1, 2, (3, n_sites)).astype(np.int8)[rng.integers(0, 3, 12)]
    queries[rng.integers(0, 12, 4), rng.integers(0, n_sites, 4)] = 1
    task = made.task(made.block(queries, tuple(rng.choice([EXTERNAL, *panel.samples[:2]], 12))), 5)
    answers = []
    patterns = PatternLimits(queries=data.draw(st.sampled_from([1, 96])))
    engines = (
        BitscanEngine(threads=data.draw(st.integers(1, 2)), budget_bytes=BUDGET, limits=patterns),
        ReferenceEngine(threads=1, budget_bytes=BUDGET),
    )
    for engine in engines:
        engine.open(made.source())
        answers.append(engine.search(made.source().handle, task, lambda: None).result)
        engine.shutdown()
    np.testing.assert_array_equal(answers[0].ids, answers[1].ids)
    np.testing.assert_array_equal(answers[0].distances, answers[1].distances)
