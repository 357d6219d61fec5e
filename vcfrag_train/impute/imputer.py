"""Imputation window by window: retrieval from the daemon, copying here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.reference import copying_sites, switch_probabilities
from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.evidence.evidence import certain_dosage, gather_evidence
from vcfrag_core.evidence.group_excluded import ShownReference
from vcfrag_core.imputation.corrector import Corrector
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window, lay_imputation_windows
from vcfrag_core.retrieval import metric
from vcfrag_core.retrieval.candidates import longer_scale_candidates, union_of_neighbours
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import layout_for
from vcfrag_core.retrieval.queries import QueryBlock, Who
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array, I64Array
from vcfrag_train.client.client import IndexClient, OpenIndex

LEAST_CM_PER_WINDOW = 4.0
FLANKS_PER_WINDOW = 4.0
SITES_PER_WINDOW = 32_768
QUERIES_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, slots=True)
class _Opened:
    """An open index, and what masked it."""

    index: OpenIndex
    observed: BoolArray
    weights: F32Array


class Imputer:
    """Imputes haplotypes against a panel that a daemon serves.

    Args:
        panel: The panel, the same file as the daemon's (the digests must agree).
        genetic_map: Its genetic map.
        client: A client of the daemon.
        panel_name: The daemon's name for the panel.
        parameters: Retrieval and copying; chosen by the density of the observed sites unless given.
        groups: Exclusion group of panel samples; each is its own group unless given.
        threads: Threads of the copying layer.
        corrector: A trained model; copying alone without one.
    """

    def __init__(
        self,
        *,
        panel: Panel,
        genetic_map: GeneticMap,
        client: IndexClient,
        panel_name: str,
        parameters: CopyingParameters | None = None,
        groups: Mapping[str, str] | None = None,
        threads: int = 1,
        corrector: Corrector | None = None,
    ) -> None:
        self.panel = panel
        self.cm: F64Array = genetic_map.at(panel.positions)
        self.split = Split(
            name="infer",
            reference=panel.samples,
            groups={name: (groups or {}).get(name, name) for name in panel.samples},
        )
        self._client = client
        self._panel_name = panel_name
        self._parameters = parameters
        self._threads = threads
        self.corrector = corrector
        self._reference: ShownReference | None = None
        if corrector is not None:
            groups_of_rows = [self.split.groups[name] for name in panel.samples for _ in range(2)]
            self._reference = ShownReference(panel, np.arange(panel.n_haplotypes), groups_of_rows)
        self._panel_digest = panel.digest

    def parameters(self, observed: BoolArray) -> CopyingParameters:
        """The parameters in force for this mask: those given, or the rule's.

        Raises:
            RangeError: Nothing is observed.
        """
        if self._parameters is not None:
            return self._parameters
        if not bool(observed.any()):
            raise RangeError("no site is observed: there is nothing to impute from")
        return parameters_for(density(observed, self.cm))

    def windows(self, observed: BoolArray) -> list[Window]:
        """The windows that `impute` will go through."""
        flank = self.parameters(observed).flank_cm
        return lay_imputation_windows(
            self.cm,
            cm_per_window=max(LEAST_CM_PER_WINDOW, FLANKS_PER_WINDOW * flank),
            sites_per_window=SITES_PER_WINDOW,
            flank_cm=flank,
        )

    def impute(
        self,
        alleles: I8Array,
        observed: BoolArray,
        samples: Sequence[str | Who],
        windows: Sequence[Window] | None = None,
    ) -> Iterator[tuple[Window, F32Array]]:
        """Haplotype dosages of every query, window by window and in order.

        Args:
            alleles: (Q, V) alleles at the observed sites, -1 where there is no call; ignored elsewhere.
            observed: (V,) the typed sites.
            samples: Q names of panel samples, or EXTERNAL; a named sample's group is not retrieved.
            windows: Those to impute, all of them unless given.

        Yields:
            A window and its (Q, L) probabilities of ALT.

        Raises:
            RangeError: A window's context holds no observed site, or a query has no neighbour.
            ShapeError: The arrays do not fit each other or the panel.
        """
        self._check(alleles, observed, samples)
        todo = self.windows(observed) if windows is None else list(windows)
        groups = [self.split.groups.get(who) if isinstance(who, str) else None for who in samples]
        parameters = self.parameters(observed)
        opened = self._open(observed, parameters)
        try:
            with ThreadPoolExecutor(self._threads) as pool, ThreadPoolExecutor(1) as ahead:
                if self._reference is not None and None in groups:
                    # While the first search goes on, the pool has nothing else to do.
                    pool.submit(self._reference.prepare)
                coming = [ahead.submit(self._problem, opened, w, alleles, samples, parameters) for w in todo[:1]]
                for number, window in enumerate(todo):
                    problem = coming.pop().result()
                    if number + 1 < len(todo):
                        following = todo[number + 1]
                        coming.append(ahead.submit(self._problem, opened, following, alleles, samples, parameters))
                    yield window, self._dosage(window, problem, opened, parameters, groups, pool)
        finally:
            self._client.close_index(opened.index)

    def leave_one_out(
        self, alleles: I8Array, observed: BoolArray, samples: Sequence[str | Who], *, folds: int = 5
    ) -> F32Array:
        """Haplotype dosages at the observed sites, each imputed with its fold hidden from retrieval and copying.

        Site number n of the observed ones is hidden in fold n % folds.

        Args:
            alleles, observed, samples: As for `impute`.
            folds: Number of folds, at least 2.

        Returns:
            (Q, n_observed) probabilities of ALT.

        Raises:
            RangeError: Fewer than two folds, or fewer observed sites than folds.
        """
        self._check(alleles, observed, samples)
        sites = np.flatnonzero(observed)
        if not 2 <= folds <= len(sites):
            raise RangeError(f"leave-one-out needs 2 to {len(sites)} folds, got {folds}")
        parameters = self.parameters(observed)
        windows = self.windows(observed)
        out = np.empty((len(alleles), len(sites)), dtype=np.float32)
        with ThreadPoolExecutor(self._threads) as pool:
            for fold in range(folds):
                hidden = sites[fold::folds]
                kept = observed.copy()
                kept[hidden] = False
                opened = self._open(kept, parameters)
                try:
                    for window in windows:
                        wanted = hidden[(hidden >= window.start) & (hidden < window.stop)]
                        if len(wanted):
                            problem = self._problem(opened, window, alleles, samples, parameters, wanted)
                            dosage = self._copy(problem, opened.weights, parameters, pool)
                            out[:, np.searchsorted(sites, wanted)] = dosage
                finally:
                    self._client.close_index(opened.index)
        return out

    def _check(self, alleles: I8Array, observed: BoolArray, samples: Sequence[str | Who]) -> None:
        v = self.panel.n_sites
        if observed.shape != (v,) or alleles.shape != (len(samples), v):
            raise ShapeError(f"panel of {v} sites, observed {observed.shape}, alleles {alleles.shape}")

    def _open(self, observed: BoolArray, parameters: CopyingParameters) -> _Opened:
        layout = layout_for(observed, parameters.scales, min_observed=parameters.min_observed)
        weights = metric.quantise(self._weights(parameters))
        identity = Identity.of(self._panel_digest, split=self.split, observed=observed, weights=weights, layout=layout)
        index = self._client.open_index(
            panel_name=self._panel_name,
            identity=identity,
            split=self.split,
            layout=layout,
            observed=observed,
            weights=weights,
        )
        return _Opened(index, observed, weights)

    def _problem(
        self,
        opened: _Opened,
        window: Window,
        alleles: I8Array,
        samples: Sequence[str | Who],
        parameters: CopyingParameters,
        wanted: I64Array | None = None,
    ) -> CopyingProblem:
        context = slice(window.context_start, window.context_stop)
        observed = opened.observed[context]
        block = QueryBlock(
            start=window.context_start,
            stop=window.context_stop,
            samples=tuple(samples),
            observed=observed,
            alleles=np.where(observed, alleles[:, context], np.int8(-1)),
        )
        sites = copying_sites(
            window.context_start + np.flatnonzero(observed),
            self.cm,
            self.panel.positions,
            np.arange(window.start, window.stop) if wanted is None else wanted,
        )
        result = self._client.search(opened.index, block, parameters.k)
        candidates = union_of_neighbours(result)
        return CopyingProblem(
            sites,
            PanelColumns.of(self.panel.packed, sites),
            np.ascontiguousarray(alleles[:, sites.observed]),
            candidates,
            () if self.corrector is None or wanted is not None else longer_scale_candidates(result, candidates),
        )

    def _weights(self, parameters: CopyingParameters) -> FloatArray:
        learned = None if self.corrector is None else self.corrector.learned_copying
        if learned is not None and self._reference is not None:
            return learned.site_weights(self._reference.frequency)
        return np.full(self.panel.n_sites, parameters.weight)

    def _switch(self, problem: CopyingProblem, parameters: CopyingParameters) -> F32Array:
        learned = None if self.corrector is None else self.corrector.learned_copying
        factor = 1.0 if learned is None else learned.switch_factor
        return switch_probabilities(problem.sites.gaps_cm, factor * parameters.switch_per_cm).astype(np.float32)

    def _copy(
        self, problem: CopyingProblem, weights: F32Array, parameters: CopyingParameters, pool: ThreadPoolExecutor
    ) -> F32Array:
        dosage = problem.dosage(weights[problem.sites.observed], self._switch(problem, parameters), pool=pool)
        return np.asarray(dosage, dtype=np.float32)

    def _dosage(
        self,
        window: Window,
        problem: CopyingProblem,
        opened: _Opened,
        parameters: CopyingParameters,
        groups: Sequence[str | None],
        pool: ThreadPoolExecutor,
    ) -> F32Array:
        corrector, reference = self.corrector, self._reference
        if corrector is None or reference is None:
            return self._copy(problem, opened.weights, parameters, pool)
        weights = opened.weights[problem.sites.observed]
        switch = self._switch(problem, parameters)
        wanted = ~opened.observed[window.start : window.stop]
        certain = certain_dosage(density(opened.observed, self.cm))

        def some(start: int) -> F32Array:
            mine = groups[start : start + QUERIES_AT_ONCE]
            evidence = gather_evidence(
                problem.part(start, start + QUERIES_AT_ONCE),
                weights,
                switch,
                cm=self.cm,
                frequency=reference.frequency,
                shown_frequency=reference.frequency_for(mine, window.start, window.stop),
                wanted=wanted,
                changes=reference.changes_for(mine, window.start, window.stop),
                n_candidates=corrector.n_candidates,
                certain=certain,
            )
            return corrector.correct(evidence)

        with corrector.network.undisturbed():
            parts = list(pool.map(some, range(0, len(problem.queries), QUERIES_AT_ONCE)))
        return np.concatenate(parts)
