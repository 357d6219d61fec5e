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
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.reference import copying_sites, switch_probabilities
from vcfrag_core.errors import ConfigError
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval import metric
from vcfrag_core.retrieval.candidates import union_of_neighbours
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.scoring.copying import CopyingScore
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array, I32Array, IntArray, U8Array
from vcfrag_train.client.client import IndexClient
from vcfrag_train.impute.imputer import Imputer

Retrieval = tuple[tuple[int, ...], int, float, int]
KEPT_RETRIEVALS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """One window after retrieval.

    Attributes:
        window: The window.
        problem: What there is to copy; its sites are the window's hidden ones.
        truth: (Q, L) true alleles at them.
        frequency: (L,) their ALT frequency in the panel.
        result: The search behind the candidates.
    """

    window: Window
    problem: CopyingProblem
    truth: U8Array
    frequency: F64Array
    result: SearchResult


class CopyingBench:
    """Scores copying parameters on panel samples.

    Args:
        panel: The panel, as the daemon serves it.
        genetic_map: Its genetic map.
        client: A client of the daemon.
        panel_name: The daemon's name for the panel.
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
        client: IndexClient,
        panel_name: str,
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
        self.cm: F64Array = genetic_map.at(panel.positions)
        self.frequency: F64Array = panel.alt_frequency()
        self.alleles: I8Array = panel.haplotypes(panel.rows_of(samples)).astype(np.int8)
        self.groups = dict(groups)
        self._map, self._client, self._panel_name, self._threads = genetic_map, client, panel_name, threads
        self._split = Split(name="calibrate", reference=panel.samples, groups=self.groups)
        self._kept: collections.OrderedDict[Retrieval, list[Prepared]] = collections.OrderedDict()

    @property
    def observed_per_cm(self) -> float:
        """Density of the observed sites, of which the rule's parameters are a function."""
        return density(self.observed, self.cm)

    def score(self, parameters: CopyingParameters) -> CopyingScore:
        """The score of these parameters over all windows."""
        return self.score_of(parameters, lambda prepared, pool: copy_uniformly(prepared.problem, parameters, pool))

    def score_of(
        self, parameters: CopyingParameters, copy: Callable[[Prepared, ThreadPoolExecutor], FloatArray]
    ) -> CopyingScore:
        """The score of what `copy` makes of every window after the parameters' retrieval."""
        with ThreadPoolExecutor(self._threads) as pool:
            return CopyingScore.total(
                CopyingScore.of(copy(prepared, pool), prepared.truth, prepared.frequency)
                for prepared in self.prepare(parameters)
            )

    def prepare(self, parameters: CopyingParameters) -> list[Prepared]:
        """Every window with hidden sites after retrieval; kept for the next parameters that retrieve alike."""
        key = (parameters.scales, parameters.k, parameters.flank_cm, parameters.min_observed)
        if key not in self._kept:
            self._kept[key] = self._retrieve(parameters)
            if len(self._kept) > KEPT_RETRIEVALS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _retrieve(self, parameters: CopyingParameters) -> list[Prepared]:
        windows = Imputer(
            panel=self.panel,
            genetic_map=self._map,
            client=self._client,
            panel_name=self._panel_name,
            parameters=parameters,
        ).windows(self.observed)
        layout = layout_for(self.observed, parameters.scales, min_observed=parameters.min_observed)
        weights = metric.quantise(np.full(self.panel.n_sites, parameters.weight))
        identity = Identity.of(
            self.panel.digest, split=self._split, observed=self.observed, weights=weights, layout=layout
        )
        index = self._client.open_index(
            panel_name=self._panel_name,
            identity=identity,
            split=self._split,
            layout=layout,
            observed=self.observed,
            weights=weights,
        )
        try:
            hidden = [w for w in windows if not self.observed[w.start : w.stop].all()]
            return [self._prepared(w, self._client.search(index, self._block(w), parameters.k)) for w in hidden]
        finally:
            self._client.close_index(index)

    def _block(self, window: Window) -> QueryBlock:
        context = slice(window.context_start, window.context_stop)
        observed = self.observed[context]
        return QueryBlock(
            start=window.context_start,
            stop=window.context_stop,
            samples=tuple(name for name in self.samples for _ in range(2)),
            observed=observed,
            alleles=np.where(observed, self.alleles[:, context], np.int8(-1)),
        )

    def _prepared(self, window: Window, result: SearchResult) -> Prepared:
        hidden = window.start + np.flatnonzero(~self.observed[window.start : window.stop])
        return Prepared(
            window=window,
            problem=self.problem(window, hidden, union_of_neighbours(result)),
            truth=self.alleles[:, hidden].astype(np.uint8),
            frequency=self.frequency[hidden],
            result=result,
        )

    def problem(self, window: Window, wanted: IntArray, candidates: Sequence[I32Array]) -> CopyingProblem:
        """Copying from `candidates` to some sites of a window."""
        in_context = self.observed[window.context_start : window.context_stop]
        sites = copying_sites(window.context_start + np.flatnonzero(in_context), self.cm, self.panel.positions, wanted)
        columns = PanelColumns.of(self.panel.packed, sites)
        return CopyingProblem(sites, columns, np.ascontiguousarray(self.alleles[:, sites.observed]), candidates)


def copy_uniformly(
    problem: CopyingProblem, parameters: CopyingParameters, pool: ThreadPoolExecutor | None = None
) -> F32Array:
    """(Q, L) dosages with one mismatch probability for all sites, as imputation does it."""
    weight = metric.quantise(np.full(len(problem.sites.observed), parameters.weight))
    switch = switch_probabilities(problem.sites.gaps_cm, parameters.switch_per_cm).astype(np.float32)
    return np.asarray(problem.dosage(weight, switch, pool=pool), dtype=np.float32)
