"""From a search to the model's input: candidates, copying, evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vcfrag_core.evidence.evidence import Evidence
from vcfrag_core.evidence.group_excluded import GroupExcludedReference
from vcfrag_core.evidence.inputs import inputs_by_site
from vcfrag_core.model.tensors import ModelInput
from vcfrag_core.types import BoolArray
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.described import evidence_of, ways_of
from vcfrag_core.window.window import Candidates, MaskedWindow, copying_problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchContext:
    """What the batches of one panel have in common.

    Attributes:
        panel_context: The panel, its map, and the columns of the windows and masks that batches had last.
        reference: What queries are told of the training reference.
        n_candidates: Candidates shown to the model at every site.
        pool: Threads for copying.
        copy_otherwise: Whether they copy in the `other_ways`, too, or the model does where it is.
        counted: (V,) sites that count where they are hidden; all unless given.
    """

    panel_context: PanelContext
    reference: GroupExcludedReference
    n_candidates: int
    pool: ThreadPoolExecutor | None = None
    copy_otherwise: bool = True
    counted: BoolArray | None = None


def model_input(
    context: BatchContext,
    queries: MaskedWindow,
    candidates: Candidates,
    groups: Sequence[str | None],
    *,
    max_uncertain: int | None = None,
) -> tuple[ModelInput, Evidence]:
    """The model's input for a window whose truth is known at every site, and the evidence it was made from.

    Args:
        context: Panel, map, reference.
        queries: The queries, their alleles true at every site of the context, -1 where not known.
        candidates: From whom they copy, those of longer scales among them.
        groups: Q exclusion groups, of which each query is told neither frequencies nor allele changes.
        max_uncertain: Uncertain sites of a query that the model corrects, evenly spaced among all of them; the
            others keep the dosage of copying. All of them unless given.
    """
    window, reference = queries.window, context.reference
    problem = copying_problem(queries, context.panel_context, candidates)
    sites = problem.sites
    inside = slice(window.start, window.stop)
    evidence = evidence_of(
        queries,
        problem,
        queries.ploidy,
        context.panel_context,
        reference,
        groups,
        n_candidates=context.n_candidates,
        copy_otherwise=context.copy_otherwise,
        pool=context.pool,
    )
    if max_uncertain is not None:
        evidence = subsample(evidence, max_uncertain)
    candidate_inputs, site_inputs = inputs_by_site(evidence)
    hidden = ~queries.observed[inside]
    if context.counted is not None:
        hidden &= context.counted[inside]
    given = ModelInput(
        truth=torch.from_numpy(np.maximum(queries.alleles[:, inside], 0).astype(np.uint8)),
        hidden=torch.from_numpy(hidden),
        copying=torch.from_numpy(evidence.dosage),
        frequency=torch.from_numpy(np.array(reference.frequency_for(groups, window.start, window.stop))),
        query=torch.from_numpy(evidence.query),
        site=torch.from_numpy(evidence.site),
        candidates=torch.from_numpy(candidate_inputs),
        sites=torch.from_numpy(site_inputs),
        observed_frequency=torch.from_numpy(reference.frequency[sites.observed].astype(np.float32)),
        gaps_cm=torch.from_numpy(sites.gaps_cm.astype(np.float32)),
        switch_per_cm=queries.parameters.switch_per_cm,
        problem=problem,
        ways=() if context.copy_otherwise else tuple(ways_of(queries, problem)),
    )
    return given, evidence


def subsample(evidence: Evidence, most: int) -> Evidence:
    """The evidence of at most so many uncertain sites of each query, evenly spaced among them."""
    starts = np.searchsorted(evidence.query, np.arange(len(evidence.dosage) + 1))
    kept = [
        start + np.arange(min(count, most)) * count // max(1, min(count, most))
        for start, count in zip(starts[:-1], np.diff(starts), strict=True)
    ]
    return evidence.at(np.concatenate(kept))
