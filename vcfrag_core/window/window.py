"""The one road from queries in a window to a copying problem; `described` goes on to what the model is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.copying.reference import copying_sites, switch_probabilities
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.candidates import longer_scale_candidates, union_of_neighbours
from vcfrag_core.retrieval.queries import External, QueryBlock
from vcfrag_core.shapes import repr_by_shape
from vcfrag_core.types import BoolArray, F32Array, I8Array, I32Array, I64Array, IntArray
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.retriever import OpenedIndex


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaskedWindow:
    """Queries over one window under one mask.

    Attributes:
        window: The window.
        observed: (V,) the mask.
        weights: (V,) site weights.
        parameters: Retrieval and copying under this mask.
        alleles: (Q, V) alleles at the observed sites, -1 where there is no call; ignored elsewhere.
        samples: Q names of the queries' samples, or EXTERNAL.
        ploidy: Which queries are one sample.
    """

    window: Window
    observed: BoolArray
    weights: F32Array
    parameters: CopyingParameters
    alleles: I8Array
    samples: tuple[str | External, ...]
    ploidy: Ploidy

    __repr__ = repr_by_shape

    @property
    def observed_sites(self) -> IntArray:
        """(M,) panel indices of the context's observed sites."""
        start = self.window.context_start
        return start + np.flatnonzero(self.observed[start : self.window.context_stop])

    def query_block(self) -> QueryBlock:
        """The search of the window's context."""
        context = slice(self.window.context_start, self.window.context_stop)
        observed = self.observed[context]
        return QueryBlock(
            start=context.start,
            stop=context.stop,
            samples=self.samples,
            observed=observed,
            alleles=np.where(observed, self.alleles[:, context], np.int8(-1)),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """From whom each query of a window copies.

    Attributes:
        all_scales: Q arrays of panel rows, ascending.
        longer_scales: Those of the middle scale alone, and of the longest alone, Q arrays each; none where no model
            asks for them.
    """

    all_scales: Sequence[I32Array]
    longer_scales: Sequence[Sequence[I32Array]] = ()

    __repr__ = repr_by_shape

    def part(self, start: int, stop: int) -> Self:
        """Those of queries [start, stop) alone."""
        return dataclasses.replace(
            self,
            all_scales=self.all_scales[start:stop],
            longer_scales=[of_scale[start:stop] for of_scale in self.longer_scales],
        )


def retrieve(queries: MaskedWindow, index: OpenedIndex, *, longer_scales: bool = False) -> Candidates:
    """The candidates that an index answers.

    Raises:
        RangeError: A query has no neighbour.
        VcfragError: The queries were not made for this index.
    """
    return retrieve_for(queries.query_block(), index, queries.parameters.k, longer_scales=longer_scales)


def retrieve_for(block: QueryBlock, index: OpenedIndex, k: int, *, longer_scales: bool = False) -> Candidates:
    """The same for the queries of a search, whose nearest k count in each segment."""
    result = index.search(block, k)
    found = union_of_neighbours(result)
    return Candidates(all_scales=found, longer_scales=longer_scale_candidates(result, found) if longer_scales else ())


def copying_problem(
    queries: MaskedWindow,
    context: PanelContext,
    candidates: Candidates,
    *,
    wanted: IntArray | None = None,
    alike: I64Array | None = None,
) -> CopyingProblem:
    """Copying from the candidates to the window's sites, or to those wanted.

    Args:
        queries: The queries.
        context: Their panel.
        candidates: From whom they copy.
        wanted: (L,) ascending panel indices within the window; all of its sites unless given.
        alike: (Q, M) which query stands for each one; see `CopyingProblem`.

    Raises:
        RangeError: The context holds no observed site.
    """
    window = queries.window
    sites = copying_sites(
        queries.observed_sites,
        context.cm,
        context.panel.positions,
        np.arange(window.start, window.stop) if wanted is None else wanted,
    )
    return CopyingProblem(
        sites,
        context.columns_of(window, sites),
        np.ascontiguousarray(queries.alleles[:, sites.observed]),
        candidates.all_scales,
        candidates.longer_scales,
        alike,
    )


def switches(queries: MaskedWindow, problem: CopyingProblem, *, factor: float = 1.0) -> F32Array:
    """(M,) probability of a switch before each observed site, at `factor` times the parameters' rate."""
    rate = factor * queries.parameters.switch_per_cm
    return switch_probabilities(problem.sites.gaps_cm, rate).astype(np.float32)


def copy(
    queries: MaskedWindow,
    problem: CopyingProblem,
    *,
    factor: float = 1.0,
    called_too: bool = True,
    pool: ThreadPoolExecutor | None = None,
) -> F32Array:
    """(Q, L) dosages of copying; `called_too` as for `CopyingProblem.dosage`."""
    out = np.empty((len(problem.queries), len(problem.sites.sites)), dtype=np.float32)
    copy_some(queries, problem, np.arange(len(out)), out, factor=factor, called_too=called_too, pool=pool)
    return out


def copy_some(
    queries: MaskedWindow,
    problem: CopyingProblem,
    some: I64Array,
    out: F32Array,
    *,
    factor: float = 1.0,
    called_too: bool = True,
    pool: ThreadPoolExecutor | None = None,
) -> None:
    """Fills (Q, L) dosages of (n,) ascending queries; those of others that stand for them are there."""
    weights, switch = queries.weights[problem.sites.observed], switches(queries, problem, factor=factor)
    problem.fill_dosages(out[:, None], some, weights[None], switch[None], called_too=called_too, pool=pool)
