"""The road of a window: what is searched, and what copying is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.copying.problem import PanelColumns
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.types import BoolArray, I8Array, I32Array
from vcfrag_core.window.context import PanelContext, RecentColumns
from vcfrag_core.window.random import random_candidates
from vcfrag_core.window.window import Candidates, MaskedWindow, copying_problem

WINDOW = Window(2, 40, 90, 25, 110)
PARAMETERS = CopyingParameters(scales=(8,), k=4, flank_cm=0.5, switch_per_cm=5.0)


@pytest.fixture(scope="module")
def context(make_panel: Callable[..., Panel]) -> PanelContext:
    panel = make_panel(n_samples=20, n_sites=150, seed=2)
    return PanelContext(panel=panel, cm=np.linspace(0, 3, 150), columns=RecentColumns(panel, 8))


@pytest.fixture(scope="module")
def observed() -> BoolArray:
    return np.random.default_rng(1).random(150) < 0.5


@pytest.fixture(scope="module")
def alleles(context: PanelContext) -> I8Array:
    return context.panel.haplotypes()[:4].astype(np.int8)


@pytest.fixture(scope="module")
def candidates() -> list[I32Array]:
    return [np.arange(4 + q, 40, 2, dtype=np.int32) for q in range(4)]


def queries(
    alleles: I8Array,
    observed: BoolArray,
    *,
    window: Window = WINDOW,
    samples: tuple[str | External, ...] = (EXTERNAL,) * 4,
) -> MaskedWindow:
    return MaskedWindow(
        window=window,
        observed=observed,
        weights=np.full(150, 5, dtype=np.float32),
        parameters=PARAMETERS,
        alleles=alleles,
        samples=samples,
        ploidy=Ploidy.diploid(2),
    )


def test_query_block__holds_the_observed_alleles_of_the_context(alleles: I8Array, observed: BoolArray) -> None:
    block = queries(alleles, observed, samples=("A", "A", "B", "B")).query_block()
    assert (block.start, block.stop) == (25, 110)
    assert block.samples == ("A", "A", "B", "B")
    np.testing.assert_array_equal(block.observed, observed[25:110])
    np.testing.assert_array_equal(block.alleles[:, block.observed], alleles[:, 25:110][:, observed[25:110]])
    assert bool((block.alleles[:, ~block.observed] == -1).all())


def test_copying_problem__copies_from_the_context_for_the_window(
    context: PanelContext, alleles: I8Array, observed: BoolArray, candidates: list[I32Array]
) -> None:
    problem = copying_problem(queries(alleles, observed), context, Candidates(all_scales=candidates))
    in_context = [i for i in range(25, 110) if observed[i]]
    assert problem.sites.observed.tolist() == in_context
    assert problem.sites.sites.tolist() == list(range(40, 90))
    np.testing.assert_array_equal(problem.queries, alleles[:, in_context])
    weights, switch = np.full(len(in_context), 5.0), np.full(len(in_context), 0.1)
    haplotypes = context.panel.haplotypes()
    for q, dosage in enumerate(problem.dosage(weights, switch)):
        states = haplotypes[candidates[q]].astype(np.int8)
        posterior = copying.posterior_reference(states[:, in_context].T, alleles[q, in_context], weights, switch)
        sites = problem.sites
        expected = copying.dosage_reference(posterior, sites.left, sites.fraction, states[:, 40:90].T)
        np.testing.assert_allclose(dosage, expected, atol=1e-9)


def test_random_candidates__as_many_as_retrieved_from_the_allowed_rows() -> None:
    retrieved = [np.array([1, 5, 9], np.int32), np.arange(30, dtype=np.int32)]
    allowed = [np.arange(50, 90, dtype=np.int32), np.arange(10, 20, dtype=np.int32)]
    drawn = random_candidates(retrieved, allowed, np.random.default_rng(3))
    assert [len(rows) for rows in drawn] == [3, 10]
    for rows, may in zip(drawn, allowed, strict=True):
        assert rows.dtype == np.int32
        assert rows.tolist() == sorted(set(rows.tolist()))
        assert set(rows.tolist()) <= set(may.tolist())


def test_recent_columns__are_those_of_the_window_and_the_mask(context: PanelContext, alleles: I8Array) -> None:
    rng, windows = np.random.default_rng(8), [WINDOW, Window(0, 0, 40, 0, 60), Window(1, 20, 60, 0, 90)]
    candidates = [np.arange(4, 40, dtype=np.int32)] * 4
    masks = [rng.random(150) < share for share in (0.5, 0.5, 0.2)]
    for number in rng.integers(0, 9, 60).tolist():
        window, observed = windows[number % 3], masks[number // 3]
        problem = copying_problem(queries(alleles, observed, window=window), context, Candidates(all_scales=candidates))
        expected = PanelColumns.of(context.panel.bits, problem.sites)
        np.testing.assert_array_equal(problem.words, expected.bits.words)
        np.testing.assert_array_equal(problem.alleles, expected.bits.alleles)
        np.testing.assert_array_equal(problem.observed, expected.observed)
