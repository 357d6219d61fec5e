"""Panel samples as targets: each imputed by copying from everybody outside its exclusion group, and scored.

Hidden sites are hidden from retrieval and copying both. Retrieval is kept for the parameters that share it, so that
trying another switch rate or mismatch costs one round of copying.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters, density
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.errors import ConfigError
from vcfrag_core.imputation.windows import imputation_windows
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.candidates import union_of_neighbours
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.scoring.copying import CopyingScore
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array, U8Array
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.retriever import IndexSpec, OpenedIndex, Retriever
from vcfrag_core.window.window import Candidates, MaskedWindow, copy, copying_problem

Retrieval = tuple[tuple[int, ...], int, float, int]
KEPT_RETRIEVALS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievedWindow:
    """One window after retrieval.

    Attributes:
        queries: The queries over the window.
        problem: What there is to copy; its sites are the window's hidden ones.
        truth: (Q, L) true alleles at them.
        frequency: (L,) their ALT frequency in the panel.
        result: The search behind the candidates.
    """

    queries: MaskedWindow
    problem: CopyingProblem
    truth: U8Array
    frequency: F64Array
    result: SearchResult


class CopyingBench:
    """Scores copying parameters on panel samples.

    Args:
        panel: The panel.
        genetic_map: Its genetic map.
        retriever: Finds candidates.
        samples: Panel samples that stand for targets.
        observed: (V,) sites at which they are typed.
        groups: Exclusion group of every panel sample.
        threads: Threads of copying.

    Raises:
        ConfigError: No sample, or nothing is observed, or nothing hidden.
        UnknownSampleError: A sample is not in the panel.
    """

    def __init__(
        self,
        *,
        panel: Panel,
        genetic_map: GeneticMap,
        retriever: Retriever,
        samples: Sequence[str],
        observed: BoolArray,
        groups: Mapping[str, str],
        threads: int = 1,
    ) -> None:
        if not samples:
            raise ConfigError("no panel sample was chosen to stand for a target")
        if bool(observed.all()) or not bool(observed.any()):
            raise ConfigError(
                f"{int(observed.sum())} of {len(observed)} sites are observed: nothing to impute, or from"
            )
        self.panel, self.observed, self.samples = panel, observed, tuple(samples)
        self.context = PanelContext(panel=panel, cm=genetic_map.at(panel.positions))
        self.frequency: F64Array = panel.alt_frequency()
        self.ploidy = panel.ploidy_of(samples)
        self.alleles: I8Array = panel.haplotypes(panel.rows_of(samples)).astype(np.int8)
        self.groups = dict(groups)
        self._retriever, self._threads = retriever, threads
        self._split = Split(name="calibrate", reference=panel.samples, groups=self.groups)
        self._kept: collections.OrderedDict[Retrieval, list[RetrievedWindow]] = collections.OrderedDict()

    @property
    def observed_per_cm(self) -> float:
        """Density of the observed sites, of which the rule's parameters are a function."""
        return density(self.observed, self.context.cm)

    def score(self, parameters: CopyingParameters) -> CopyingScore:
        """The score of these parameters over all windows."""
        return self.score_of(parameters, lambda prepared, pool: copy_uniformly(prepared, parameters, pool))

    def score_of(
        self, parameters: CopyingParameters, copy: Callable[[RetrievedWindow, ThreadPoolExecutor], FloatArray]
    ) -> CopyingScore:
        """The score of what `copy` makes of every window after the parameters' retrieval."""
        with ThreadPoolExecutor(self._threads) as pool:
            return CopyingScore.total(
                CopyingScore.of(copy(prepared, pool), prepared.truth, prepared.frequency, self.ploidy)
                for prepared in self.prepare(parameters)
            )

    def prepare(self, parameters: CopyingParameters) -> list[RetrievedWindow]:
        """Every window with hidden sites after retrieval; kept for the next parameters that retrieve alike."""
        key = (parameters.scales, parameters.k, parameters.flank_cm, parameters.min_observed)
        if key not in self._kept:
            self._kept[key] = self._retrieve(parameters)
            if len(self._kept) > KEPT_RETRIEVALS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _retrieve(self, parameters: CopyingParameters) -> list[RetrievedWindow]:
        weights = site_weights.quantise(np.full(self.panel.n_sites, parameters.weight))
        spec = IndexSpec.of(
            self.panel.digest, split=self._split, observed=self.observed, weights=weights, parameters=parameters
        )
        index = self._retriever.open(spec)
        try:
            return [
                self._prepared(self._queries(window, parameters, weights), index)
                for window in imputation_windows(self.context.cm, parameters.flank_cm)
                if not self.observed[window.start : window.stop].all()
            ]
        finally:
            index.close()

    def _queries(self, window: Window, parameters: CopyingParameters, weights: F32Array) -> MaskedWindow:
        return MaskedWindow(
            window=window,
            observed=self.observed,
            weights=weights,
            parameters=parameters,
            alleles=self.alleles,
            samples=self.ploidy.of_haplotypes(self.samples),
            ploidy=self.ploidy,
        )

    def _prepared(self, queries: MaskedWindow, index: OpenedIndex) -> RetrievedWindow:
        window = queries.window
        hidden = window.start + np.flatnonzero(~self.observed[window.start : window.stop])
        result = index.search(queries.query_block(), queries.parameters.k)
        candidates = Candidates(all_scales=union_of_neighbours(result))
        return RetrievedWindow(
            queries=queries,
            problem=copying_problem(queries, self.context, candidates, wanted=hidden),
            truth=self.alleles[:, hidden].astype(np.uint8),
            frequency=self.frequency[hidden],
            result=result,
        )


def copy_uniformly(
    prepared: RetrievedWindow, parameters: CopyingParameters, pool: ThreadPoolExecutor | None = None
) -> F32Array:
    """(Q, L) dosages with one mismatch probability for all sites, as imputation does it."""
    weights = site_weights.quantise(np.full(len(prepared.queries.observed), parameters.weight))
    queries = dataclasses.replace(prepared.queries, parameters=parameters, weights=weights)
    return copy(queries, prepared.problem, pool=pool)
