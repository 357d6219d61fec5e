"""From a copying problem to what the model is shown of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core.copying.parameters import density
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.evidence.evidence import Certain, Evidence, OtherWay, certain_in_training, gather_evidence, other_ways
from vcfrag_core.evidence.group_excluded import GroupExcludedReference
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.window import MaskedWindow, switches


def evidence_of(
    queries: MaskedWindow,
    problem: CopyingProblem,
    ploidy: Ploidy,
    context: PanelContext,
    reference: GroupExcludedReference,
    groups: Sequence[str | None],
    *,
    n_candidates: int,
    length_factor: float = 1.0,
    factor: float = 1.0,
    certain: Callable[[float], Certain] = certain_in_training,
    copy_otherwise: bool = True,
    n_described: int | None = None,
    called_too: bool = True,
    pool: ThreadPoolExecutor | None = None,
) -> Evidence:
    """Copies and says what the candidates of the problem's masked, uncertain sites are like.

    Args:
        queries: All queries of the window.
        problem: Copying for as many of them as there are `groups`.
        ploidy: Which of those are one sample.
        context: Their panel.
        reference: What queries are told of the reference.
        groups: Exclusion group of each query of the problem, of which it is told nothing.
        n_candidates: Candidates described at every site.
        length_factor: What genetic lengths are multiplied by before the model sees them.
        factor: What to multiply the switch rate by.
        certain: Which dosages are, for data with so many observed sites per centimorgan.
        copy_otherwise, n_described, called_too: As for `gather_evidence`.
        pool: Threads.
    """
    window, sites = queries.window, problem.sites.sites
    changes = reference.changes_for(groups, window.start, window.stop)
    shown_frequency = reference.frequency_for(groups, window.start, window.stop)
    if len(sites) < window.stop - window.start:
        changes = np.ascontiguousarray(changes[:, :, sites - window.start])
        shown_frequency = np.ascontiguousarray(shown_frequency[:, sites - window.start])
    return gather_evidence(
        problem,
        ploidy,
        queries.weights[problem.sites.observed],
        switches(queries, problem, factor=factor),
        cm=context.cm,
        frequency=reference.frequency,
        wanted=~queries.observed[sites],
        changes=changes,
        shown_frequency=shown_frequency,
        n_candidates=n_candidates,
        length_factor=length_factor,
        certain=certain(density(queries.observed, context.cm)),
        copy_otherwise=copy_otherwise,
        n_described=n_described,
        called_too=called_too,
        pool=pool,
    )


def ways_of(queries: MaskedWindow, problem: CopyingProblem) -> list[OtherWay]:
    """The ways to copy that `evidence_of` uses beside the problem's own."""
    return other_ways(problem, queries.weights[problem.sites.observed], switches(queries, problem))
