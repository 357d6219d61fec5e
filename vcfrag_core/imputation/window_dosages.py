"""Dosages of one window's queries by copying, and by a trained model's correction of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vcfrag_core.copying.match_lengths import RARE, favour_longer_matches, match_power
from vcfrag_core.copying.parameters import CopyingParameters, dense_share, density
from vcfrag_core.copying.problem import CopyingProblem
from vcfrag_core.imputation.integrate import Corrected
from vcfrag_core.panel.panel import frequency_at
from vcfrag_core.types import F32Array, FloatArray
from vcfrag_core.window.context import PanelContext
from vcfrag_core.window.window import MaskedWindow, copy, copy_some

if TYPE_CHECKING:
    from vcfrag_core.evidence.group_excluded import GroupExcludedReference
    from vcfrag_core.imputation.corrector import Corrector

SAMPLES_AT_ONCE = 2
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class WindowDosages:
    """Copying, and what corrects it where a model is used.

    Attributes:
        context: The panel and where its sites lie.
        corrector: The model; copying alone without one.
        reference: The panel without a query's own group, which the model sees; given with it.
    """

    context: PanelContext
    corrector: Corrector | None
    reference: GroupExcludedReference | None

    def site_weights(self, parameters: CopyingParameters) -> FloatArray:
        learned = None if self.corrector is None else self.corrector.learned_copying
        if learned is not None and self.reference is not None:
            return learned.site_weights(self.reference.frequency)
        return np.full(self.context.panel.n_sites, parameters.weight)

    @property
    def switch_factor(self) -> float:
        learned = None if self.corrector is None else self.corrector.learned_copying
        return 1.0 if learned is None else learned.switch_factor

    def final(
        self, queries: MaskedWindow, problem: CopyingProblem, groups: Sequence[str | None], pool: ThreadPoolExecutor
    ) -> F32Array:
        if self.corrector is None:
            return self.by_copying(queries, problem, pool, called_too=False)
        out = np.empty((len(problem.queries), len(problem.sites.sites)), dtype=np.float32)
        starts = queries.ploidy.starts

        def keep(part: range, found: Corrected) -> None:
            out[starts[part.start] : starts[part.stop]] = found.corrected

        # Kept by who makes them: what waits to be taken would be twice as large as the dosages.
        list(self.corrected(queries, problem, groups, parts_of(range(queries.ploidy.n_samples)), pool, keep))
        return out

    def by_copying(
        self, queries: MaskedWindow, problem: CopyingProblem, pool: ThreadPoolExecutor, *, called_too: bool = True
    ) -> F32Array:
        """(Q, L) dosages of copying, no model behind it."""
        dosage = copy(queries, problem, factor=self.switch_factor, called_too=called_too, pool=pool)
        power = match_power(self.context.panel.n_haplotypes, density(queries.observed, self.context.cm))
        if power > 0:
            frequency = frequency_at(self.context.panel, problem.sites.sites)
            rare = np.flatnonzero(np.minimum(frequency, 1 - frequency) <= RARE)
            favour_longer_matches(problem, dosage, self.context.cm[problem.sites.observed], rare, power, pool=pool)
        return dosage

    def copied(
        self,
        queries: MaskedWindow,
        problem: CopyingProblem,
        parts: Sequence[range],
        corrected: Sequence[Corrected],
        pool: ThreadPoolExecutor,
    ) -> F32Array:
        """(Q, L) dosages of copying; those of the samples in `parts` are known from their correction."""
        if self.corrector is None:
            return self.by_copying(queries, problem, pool)
        out = np.empty((len(problem.queries), len(problem.sites.sites)), dtype=np.float32)
        starts, is_known = queries.ploidy.starts, np.zeros(len(out), dtype=np.bool_)
        for part, known in zip(parts, corrected, strict=True):
            here = slice(int(starts[part.start]), int(starts[part.stop]))
            out[here], is_known[here] = known.copied, True
        copy_some(queries, problem, np.flatnonzero(~is_known), out, factor=self.switch_factor, pool=pool)
        return out

    def corrected(
        self,
        queries: MaskedWindow,
        problem: CopyingProblem,
        groups: Sequence[str | None],
        parts: Sequence[range],
        pool: ThreadPoolExecutor,
        take: Callable[[range, Corrected], T],
        are_draws: bool = False,
    ) -> Iterator[T]:
        """take(part, what the model makes of some samples' dosages), part by part; nothing where there is none.

        It is called in the pool's threads. The samples of a part may be draws of one: where a later one's dosages are
        nearly those of the first it is corrected alike.
        """
        corrector, reference = self.corrector, self.reference
        if corrector is None or reference is None:
            return
        from vcfrag_core.evidence.evidence import certain_in_imputation
        from vcfrag_core.window.described import evidence_of

        ploidy, share = queries.ploidy, dense_share(density(queries.observed, self.context.cm))

        def some(part: range) -> T:
            start, stop = (int(ploidy.starts[s]) for s in (part.start, part.stop))
            n_described = int(ploidy.counts[part.start]) if are_draws and len(part) > 1 else None
            evidence = evidence_of(
                queries,
                problem.part(start, stop),
                ploidy.select(np.arange(part.start, part.stop)),
                self.context,
                reference,
                groups[start:stop],
                n_candidates=corrector.n_candidates,
                length_factor=corrector.length_factor,
                factor=self.switch_factor,
                certain=certain_in_imputation,
                n_described=n_described,
                called_too=are_draws,  # What a draw calls may be no call of the sample's.
            )
            found = Corrected(copied=evidence.dosage, corrected=corrector.correct(evidence, dense_share=share))
            return take(part, found if n_described is None else found.with_rest_alike(n_described))

        with corrector.network.undisturbed():
            yield from pool.map(some, parts)


def parts_of(samples: range) -> list[range]:
    """As many samples at once as a thread takes."""
    return [samples[first : first + SAMPLES_AT_ONCE] for first in range(0, len(samples), SAMPLES_AT_ONCE)]
