"""Imputation window by window: candidates from a retriever, copying, and a trained model's correction."""

from __future__ import annotations

import contextlib
import copy as shallow
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters, density, parameters_for
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.errors import RangeError, ShapeError, UnphasedError
from vcfrag_core.imputation.integrate import (
    QUERIES_AT_ONCE,
    Corrected,
    Integrated,
    alike_draws,
    batches,
    corrected_draws,
    integrate,
    queries_of,
    searches,
)
from vcfrag_core.imputation.masked import Masked
from vcfrag_core.imputation.window_dosages import WindowDosages, parts_of
from vcfrag_core.imputation.windows import imputation_windows
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import split_digest
from vcfrag_core.retrieval.queries import External
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array
from vcfrag_core.window.context import PanelContext, RecentColumns
from vcfrag_core.window.local import LocalRetriever
from vcfrag_core.window.retriever import IndexSpec, Retriever
from vcfrag_core.window.window import MaskedWindow, copy, copying_problem, retrieve, retrieve_for

if TYPE_CHECKING:
    # A chunk of a job decides nothing, mostly has no model, and starts without what they bring along.
    from vcfrag_core.evidence.group_excluded import GroupExcludedReference
    from vcfrag_core.imputation.corrector import Corrector
    from vcfrag_core.imputation.imputed import Imputed
    from vcfrag_core.imputation.leave_one_out import HiddenSites
    from vcfrag_core.imputation.model_check import ModelCheck


class Imputer:
    """Imputes haplotypes against a panel.

    Args:
        panel: The panel.
        genetic_map: Its genetic map.
        retriever: Finds candidates; searches in this process unless given.
        parameters: Retrieval and copying; unless given, retrieval follows from the density of the observed sites and
            their number, and the rates of copying are estimated from the targets.
        groups: Exclusion group of panel samples; each is its own group unless given.
        threads: Threads of copying, and of a search in this process.
        corrector: A trained model; copying alone without one.
    """

    def __init__(
        self,
        panel: Panel,
        genetic_map: GeneticMap,
        *,
        retriever: Retriever | None = None,
        parameters: CopyingParameters | None = None,
        groups: Mapping[str, str] | None = None,
        threads: int = 1,
        corrector: Corrector | None = None,
    ) -> None:
        if threads < 1:
            raise RangeError(f"threads must be >= 1, got {threads}")
        self.panel = panel
        self.cm: F64Array = genetic_map.of_panel(panel)
        self.split = Split(
            name="infer",
            reference=panel.samples,
            groups={name: (groups or {}).get(name, name) for name in panel.samples},
        )
        self._split_digest = split_digest(self.split)
        self.retriever: Retriever = retriever or LocalRetriever(panel, threads=threads)
        self._context = PanelContext(panel=panel, cm=self.cm)
        self._parameters = parameters
        self._threads = threads
        self.corrector = None if corrector is None else corrector.for_reference(panel.n_samples)
        self._reference: GroupExcludedReference | None = None
        if corrector is not None:
            from vcfrag_core.evidence.group_excluded import GroupExcludedReference

            groups_of_rows = panel.ploidy.of_haplotypes(self.split.groups[name] for name in panel.samples)
            self._reference = GroupExcludedReference(panel, np.arange(panel.n_haplotypes), groups_of_rows)

    def parameters(self, observed: BoolArray) -> CopyingParameters:
        """The parameters in force for this mask: those given, or the rule's.

        Raises:
            RangeError: Nothing is observed.
        """
        if self._parameters is not None:
            return self._parameters
        if not bool(observed.any()):
            raise RangeError("no site is observed: there is nothing to impute from")
        return parameters_for(density(observed, self.cm), int(observed.sum()))

    def windows(self, observed: BoolArray) -> list[Window]:
        """The windows that `impute_windows` will go through."""
        return imputation_windows(self.cm, self.parameters(observed).flank_cm)

    def impute(self, targets: Targets | Phased) -> Imputed:
        """All sites of the panel for all targets, in memory.

        Unless parameters were given, the rates of copying are estimated and the model is judged on these targets; one
        that does them no good is left out, as `Imputed.model_check` tells.

        What `Phaser.phase` made of targets is imputed as the mean over their draws. Nobody is imputed from the panel
        sample of the same name.

        Raises:
            UnphasedError: Targets of unknown phase.
            RangeError: A window's context holds no observed site, or a target has no neighbour.
            ShapeError, PanelMismatchError: The targets are not those of the panel's sites.
        """
        if isinstance(targets, Phased):
            return self._integrated(targets)
        if targets.phase_sets is not None:
            raise UnphasedError("the phase of the targets is not known; impute what Phaser.phase makes of them")
        from vcfrag_core.imputation.imputed import Imputed

        targets = targets.named_in(self.panel)
        imputer, model_check = self._fitted_to(targets)
        windows = imputer.impute_windows(targets.alleles, targets.observed, targets.names, ploidy=targets.ploidy)
        return Imputed(
            panel=self.panel,
            targets=targets,
            probabilities=np.concatenate([dosage for _, dosage in windows], axis=1),
            method=imputer.method(targets.observed),
            model_check=model_check,
        )

    def _integrated(self, phased: Phased) -> Imputed:
        from vcfrag_core.imputation.imputed import Imputed

        phased = dataclasses.replace(phased, targets=phased.targets.named_in(self.panel))
        imputer, model_check = self._fitted_to(phased.targets)
        parts = [part for _, part in imputer.impute_phased(phased)]
        return Imputed(
            panel=self.panel,
            targets=phased.targets,
            probabilities=np.concatenate([part.dosage for part in parts], axis=1),
            both=np.concatenate([part.both for part in parts], axis=1),
            method=imputer.method(phased.targets.observed),
            model_check=model_check,
        )

    def _fitted_to(self, targets: Targets) -> tuple[Self, ModelCheck | None]:
        """Under the rates that these targets ask for, unless they were given, and without a model that does no good."""
        targets.require_panel(self.panel)
        if self._parameters is not None:
            return self, None
        from vcfrag_core.imputation.cohort import estimation_cohort, named_in_panel
        from vcfrag_core.imputation.model_check import check_model
        from vcfrag_core.imputation.rates import estimate, left_out_of, with_neighbours

        cohort, n_targets = estimation_cohort(self.panel, targets)
        left_out = left_out_of(cohort, self.cm)
        rates = estimate(self, left_out, n_targets, named=named_in_panel(targets.names))
        parameters = self.parameters(targets.observed)
        fitted, judging = (self.with_parameters(some(parameters)) for some in (rates.applied, rates.judging))
        check = None if self.corrector is None else check_model(judging, left_out, n_targets)
        return with_neighbours(check.applied(fitted) if check else fitted, rates, targets.observed), check

    def method(self, observed: BoolArray) -> str:
        """The parameters and the model in force for this mask, in one line for records."""
        values = dataclasses.asdict(self.parameters(observed))
        copying = "copying " + " ".join(f"{name}={value}".replace(" ", "") for name, value in values.items())
        return copying if self.corrector is None else f"{self.corrector.name} {copying}"

    def impute_windows(
        self,
        alleles: I8Array,
        observed: BoolArray,
        samples: Sequence[str | External],
        windows: Sequence[Window] | None = None,
        *,
        ploidy: Ploidy | None = None,
    ) -> Iterator[tuple[Window, F32Array]]:
        """Haplotype dosages of every query, window by window and in order.

        Args:
            alleles: (Q, V) alleles at the observed sites, -1 where there is no call; ignored elsewhere.
            observed: (V,) the typed sites.
            samples: Q names of panel samples, or EXTERNAL; a named sample's group is not retrieved.
            windows: Those to impute, all of them unless given.
            ploidy: Which queries are one sample; each two in turn unless given.

        Yields:
            A window and its (Q, L) probabilities of ALT; those of a call are its allele.

        Raises:
            RangeError: A window's context holds no observed site, or a query has no neighbour.
            ShapeError: The arrays do not fit each other or the panel.
        """
        ploidy = self._checked(alleles, observed, samples, ploidy)
        todo = self.windows(observed) if windows is None else list(windows)
        groups = [self.split.groups.get(who) if isinstance(who, str) else None for who in samples]
        masked = self._open(alleles, observed, samples, ploidy)
        try:
            with ThreadPoolExecutor(self._threads) as pool, ThreadPoolExecutor(1) as ahead:
                if self._reference is not None and None in groups:
                    # While the first search goes on, the pool has nothing else to do.
                    pool.submit(self._reference.prepare)
                coming = [ahead.submit(self._problem, masked, window) for window in todo[:1]]
                for number, window in enumerate(todo):
                    problem = coming.pop().result()
                    if number + 1 < len(todo):
                        coming.append(ahead.submit(self._problem, masked, todo[number + 1]))
                    yield window, self._dosages.final(masked.over(window), problem, groups, pool)
        finally:
            masked.index.close()

    def impute_phased(
        self, phased: Phased, windows: Sequence[Window] | None = None
    ) -> Iterator[tuple[Window, Integrated]]:
        """Dosages integrated over the draws of each sample's phase, window by window and in order.

        Args:
            phased: Targets with their draws.
            windows: Those to impute, all of them unless given.

        Yields:
            A window and its dosages.

        Raises:
            RangeError: A window's context holds no observed site, or a query has no neighbour.
            ShapeError: The targets are not those of the panel's sites.
        """
        targets = phased.targets
        self._checked(targets.alleles, targets.observed, targets.names, targets.ploidy)
        todo = self.windows(targets.observed) if windows is None else list(windows)
        masked = self._open(targets.alleles, targets.observed, targets.names, targets.ploidy)
        problems = self._problems(phased, masked, todo)
        try:
            with ThreadPoolExecutor(self._threads) as pool, ThreadPoolExecutor(1) as ahead:
                parts: list[Integrated] = []
                coming = ahead.submit(next, problems, None)
                while (job := coming.result()) is not None:
                    coming = ahead.submit(next, problems, None)
                    samples, queries, made = job
                    window = queries.window
                    groups = [self.split.groups.get(who) if isinstance(who, str) else None for who in queries.samples]
                    some = corrected_draws(phased, samples)
                    found = self._dosages.corrected(
                        queries, made, groups, some, pool, lambda _, found: found, are_draws=True
                    )
                    corrected = list(found)
                    copied = self._dosages.copied(queries, made, some, corrected, pool)
                    parts.append(integrate(phased, samples, copied, corrected, self.cm, window.start))
                    if samples[-1] + 1 == len(phased.drawn):
                        yield window, Integrated.joined(parts)
                        parts.clear()
        finally:
            masked.index.close()

    def _problems(
        self, phased: Phased, masked: Masked, windows: Sequence[Window]
    ) -> Iterator[tuple[I64Array, MaskedWindow, CopyingProblem]]:
        """Copying of the draws of a few samples over a window, for all samples and then for the next window."""
        context = PanelContext(panel=self.panel, cm=self.cm, columns=RecentColumns(self.panel, 2))
        for window in windows:
            for together, block in searches(phased, masked, window):
                found = retrieve_for(
                    block, masked.index, masked.parameters.k, longer_scales=self.corrector is not None
                )  # fmt: skip
                at = 0
                for samples in batches(phased, QUERIES_AT_ONCE, together):
                    queries = masked.of(*queries_of(phased, samples)).over(window)
                    stop = at + len(queries.alleles)
                    sites = queries.observed_sites
                    alike = alike_draws(queries.alleles[:, sites], self.cm[sites], phased, samples)
                    yield samples, queries, copying_problem(queries, context, found.part(at, stop), alike=alike)
                    at = stop

    def leave_one_out(
        self,
        alleles: I8Array,
        observed: BoolArray,
        samples: Sequence[str | External],
        *,
        folds: int = 5,
        ploidy: Ploidy | None = None,
    ) -> F32Array:
        """Haplotype dosages at the observed sites, each imputed with its fold hidden from retrieval and copying.

        Site number n of the observed ones is hidden in fold n % folds.

        Args:
            alleles, observed, samples, ploidy: As for `impute_windows`.
            folds: Number of folds, at least 2.

        Returns:
            (Q, n_observed) probabilities of ALT.

        Raises:
            RangeError: Fewer than two folds, or fewer observed sites than folds.
        """
        from vcfrag_core.imputation.leave_one_out import LeaveOneOut

        ploidy = self._checked(alleles, observed, samples, ploidy)
        targets = Targets(
            samples=tuple(str(s) for s in range(ploidy.n_samples)),
            ploidy=ploidy,
            alleles=alleles,
            observed=observed,
            names=tuple(samples),
        )
        return LeaveOneOut(targets, folds=folds).dosages(self)

    @property
    def threads(self) -> int:
        """Threads of copying."""
        return self._threads

    @contextlib.contextmanager
    def hidden(self, targets: Targets, sites: I64Array) -> Iterator[Callable[[Window, I64Array], HiddenSites]]:
        """A function that retrieves for some of `sites` within a window, all of them hidden from the search.

        The parameters are those of the whole mask.
        """
        from vcfrag_core.imputation.leave_one_out import HiddenSites

        # What every fold sees is a part of this.
        self.panel.bits.keep_columns(np.flatnonzero(targets.observed))
        kept = targets.observed.copy()
        kept[sites] = False
        parameters = self.parameters(targets.observed)
        masked = self._open(targets.alleles, kept, targets.names, targets.ploidy, parameters)

        def at(window: Window, wanted: I64Array) -> HiddenSites:
            queries = masked.over(window)
            candidates = retrieve(queries, masked.index, longer_scales=self.corrector is not None)
            problem = copying_problem(queries, self._context, candidates, wanted=wanted)
            return HiddenSites(sites=wanted, queries=queries, problem=problem)

        try:
            yield at
        finally:
            masked.index.close()

    def copied(self, hidden: HiddenSites, pool: ThreadPoolExecutor | None = None) -> F32Array:
        """(Q, n) dosages of copying at hidden sites, under this imputer's rates."""
        parameters = self._parameters or hidden.queries.parameters
        weights = site_weights.quantise(self._dosages.site_weights(parameters))
        queries = dataclasses.replace(hidden.queries, parameters=parameters, weights=weights)
        return copy(queries, hidden.problem, factor=self._dosages.switch_factor, pool=pool)

    def corrected(self, hidden: HiddenSites, n_samples: int, pool: ThreadPoolExecutor) -> list[Corrected]:
        """What copying and the model make of the first samples at hidden sites, part by part, under these rates."""
        parameters = self._parameters or hidden.queries.parameters
        weights = site_weights.quantise(self._dosages.site_weights(parameters))
        queries = dataclasses.replace(hidden.queries, parameters=parameters, weights=weights)
        groups = [self.split.groups.get(who) if isinstance(who, str) else None for who in queries.samples]
        parts = parts_of(range(n_samples))
        return list(self._dosages.corrected(queries, hidden.problem, groups, parts, pool, lambda _, found: found))

    def with_parameters(self, parameters: CopyingParameters) -> Self:
        """The same under other parameters."""
        other = shallow.copy(self)
        other._parameters = parameters
        return other

    def judged(self, *, used: bool, trusted: bool, length_factor: float = 1.0, share: float = 1.0) -> Self:
        """The same with the model, where it is used; in bins on which its scores disagree, too, where it is trusted.

        The model sees genetic lengths times `length_factor`, and `share` of its correction is taken.
        """
        if not used or self.corrector is None:
            return self.without_model()
        other = shallow.copy(self)
        other.corrector = self.corrector.judged(trusted=trusted, length_factor=length_factor, share=share)
        return other

    def without_model(self) -> Self:
        """The same by copying alone."""
        other = shallow.copy(self)
        other.corrector = other._reference = None
        return other

    def _checked(
        self, alleles: I8Array, observed: BoolArray, samples: Sequence[str | External], ploidy: Ploidy | None
    ) -> Ploidy:
        """The ploidy of the queries, whose arrays fit it, each other and the panel."""
        v = self.panel.n_sites
        if observed.shape != (v,) or alleles.shape != (len(samples), v):
            raise ShapeError(f"panel of {v} sites, observed {observed.shape}, alleles {alleles.shape}")
        return Ploidy.of_rows(len(samples), ploidy)

    def _open(
        self,
        alleles: I8Array,
        observed: BoolArray,
        samples: Sequence[str | External],
        ploidy: Ploidy,
        parameters: CopyingParameters | None = None,
    ) -> Masked:
        """The index of a mask, under the parameters of this mask unless others are given."""
        parameters = parameters or self.parameters(observed)
        weights = site_weights.quantise(self._dosages.site_weights(parameters))
        spec = IndexSpec.of(
            self.panel.digest,
            split=self.split,
            observed=observed,
            weights=weights,
            parameters=parameters,
            known_split_digest=self._split_digest,
        )
        return Masked(self.retriever.open(spec), observed, weights, parameters, alleles, tuple(samples), ploidy)

    def _problem(self, masked: Masked, window: Window) -> CopyingProblem:
        queries = masked.over(window)
        candidates = retrieve(queries, masked.index, longer_scales=self.corrector is not None)
        return copying_problem(queries, self._context, candidates)

    @property
    def _dosages(self) -> WindowDosages:
        return WindowDosages(self._context, self.corrector, self._reference)
