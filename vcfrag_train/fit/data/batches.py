"""From a search to the model's input: candidates, copying, evidence."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vcfrag_core.copying.parameters import CopyingParameters, density
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.copying.reference import CopyingSites, copying_sites, switch_probabilities
from vcfrag_core.evidence.evidence import Evidence, certain_dosage, gather_evidence
from vcfrag_core.evidence.group_excluded import ShownReference
from vcfrag_core.evidence.inputs import inputs_by_site
from vcfrag_core.model.network import ModelInput
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.retrieval.queries import QueryBlock
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array

# As many visits as may be under way at a time: `optimiser.lanes` and those prepared ahead.
MOST_COLUMNS = 8


class RecentColumns:
    """A panel's columns of the last windows and masks: the batches of a visit have one of each. Safe in threads."""

    def __init__(self, panel: Panel) -> None:
        self._packed = panel.packed
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int, bytes], PanelColumns] = OrderedDict()

    def of(self, window: Window, sites: CopyingSites) -> PanelColumns:
        """Those for imputing all sites of the window from the observed ones."""
        key = (window.start, window.stop, sites.observed.tobytes())
        with self._lock:
            if key not in self._made:
                same = next((self._made[other] for other in self._made if other[:2] == key[:2]), None)
                made = PanelColumns.of(self._packed, sites) if same is None else same.under(self._packed, sites)
                self._made[key] = made
                if len(self._made) > MOST_COLUMNS:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """What the windows of one panel have in common.

    Attributes:
        panel: The panel.
        cm: (V,) genetic positions.
        reference: What queries are told of the training reference.
        n_candidates: Candidates shown to the model at every site.
        pool: Threads for copying.
        columns: Panel columns of the windows and masks that batches had last.
    """

    panel: Panel
    cm: F64Array
    reference: ShownReference
    n_candidates: int
    pool: ThreadPoolExecutor | None = None
    columns: RecentColumns = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", RecentColumns(self.panel))


def query_block(window: Window, alleles: I8Array, observed: BoolArray, samples: Sequence[str]) -> QueryBlock:
    """The search of a window's context.

    Args:
        window: The window.
        alleles: (Q, V) alleles, of which only the observed ones of the context are used.
        observed: (V,) the mask.
        samples: Q names of the queries' samples.
    """
    context = slice(window.context_start, window.context_stop)
    return QueryBlock(
        start=window.context_start,
        stop=window.context_stop,
        samples=tuple(samples),
        observed=observed[context],
        alleles=np.where(observed[context], alleles[:, context], np.int8(-1)),
    )


def copying_problem(
    ground: Ground,
    window: Window,
    alleles: I8Array,
    observed: BoolArray,
    candidates: Sequence[I32Array],
    longer_scales: Sequence[Sequence[I32Array]] = (),
) -> CopyingProblem:
    """The copying problem of a window for (Q, V) alleles, a (V,) mask, Q candidate lists and those to compare with."""
    in_context = observed[window.context_start : window.context_stop]
    sites = copying_sites(
        window.context_start + np.flatnonzero(in_context),
        ground.cm,
        ground.panel.positions,
        np.arange(window.start, window.stop),
    )
    columns = ground.columns.of(window, sites)
    return CopyingProblem(sites, columns, np.ascontiguousarray(alleles[:, sites.observed]), candidates, longer_scales)


def model_input(
    ground: Ground,
    window: Window,
    alleles: I8Array,
    observed: BoolArray,
    weights: F32Array,
    parameters: CopyingParameters,
    candidates: Sequence[I32Array],
    longer_scales: Sequence[Sequence[I32Array]],
    groups: Sequence[str | None],
    *,
    most_uncertain: int | None = None,
) -> tuple[ModelInput, Evidence]:
    """The model's input for a window whose truth is known at every site, and the evidence it was made from.

    Args:
        ground: Panel, map, reference.
        window: The window.
        alleles: (Q, V) true alleles, two haplotypes of a sample beside each other; -1 where not known.
        observed: (V,) the mask.
        weights: (V,) the metric in force.
        parameters: Copying under this mask.
        candidates: Q arrays of panel rows.
        longer_scales: Candidates of the middle and of the longest scale alone.
        groups: Q exclusion groups, of which each query is told neither frequencies nor allele changes.
        most_uncertain: Uncertain sites of a query that the model corrects, evenly spaced among all of them; the
            others keep the dosage of copying. All of them unless given.
    """
    problem = copying_problem(ground, window, alleles, observed, candidates, longer_scales)
    sites = problem.sites
    switch = switch_probabilities(sites.gaps_cm, parameters.switch_per_cm).astype(np.float32)
    inside = slice(window.start, window.stop)
    frequency = ground.reference.frequency_for(groups, window.start, window.stop)
    evidence = gather_evidence(
        problem,
        weights[sites.observed],
        switch,
        cm=ground.cm,
        frequency=ground.reference.frequency,
        wanted=~observed[inside],
        changes=ground.reference.changes_for(groups, window.start, window.stop),
        shown_frequency=frequency,
        n_candidates=ground.n_candidates,
        certain=certain_dosage(density(observed, ground.cm)),
        pool=ground.pool,
    )
    if most_uncertain is not None:
        evidence = thin(evidence, most_uncertain)
    candidate_inputs, site_inputs = inputs_by_site(evidence)
    given = ModelInput(
        truth=torch.from_numpy(np.maximum(alleles[:, inside], 0).astype(np.uint8)),
        hidden=torch.from_numpy(~observed[inside]),
        copying=torch.from_numpy(evidence.dosage),
        frequency=torch.from_numpy(frequency),
        query=torch.from_numpy(evidence.query),
        site=torch.from_numpy(evidence.site),
        candidates=torch.from_numpy(candidate_inputs),
        sites=torch.from_numpy(site_inputs),
        observed_frequency=torch.from_numpy(ground.reference.frequency[sites.observed].astype(np.float32)),
        gaps_cm=torch.from_numpy(sites.gaps_cm.astype(np.float32)),
        switch_per_cm=parameters.switch_per_cm,
        problem=problem,
    )
    return given, evidence


def thin(evidence: Evidence, most: int) -> Evidence:
    """The evidence of at most so many uncertain sites of each query, evenly spaced among them."""
    starts = np.searchsorted(evidence.query, np.arange(len(evidence.dosage) + 1))
    kept = [
        start + np.arange(min(count, most)) * count // max(1, min(count, most))
        for start, count in zip(starts[:-1], np.diff(starts), strict=True)
    ]
    chosen = np.concatenate(kept)
    return dataclasses.replace(
        evidence,
        query=evidence.query[chosen],
        site=evidence.site[chosen],
        candidates=evidence.candidates[chosen],
        sites=evidence.sites[chosen],
    )


def random_candidates(
    candidates: Sequence[I32Array], allowed: Sequence[I32Array], rng: np.random.Generator
) -> list[I32Array]:
    """As many candidates for every query, drawn from its allowed panel rows instead of retrieved."""
    return [
        np.sort(rng.choice(rows, min(len(chosen), len(rows)), replace=False)).astype(np.int32)
        for chosen, rows in zip(candidates, allowed, strict=True)
    ]
