"""Which targets serve as references of each other when a cohort is phased, and how they are phased for that."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Final

import numpy as np

from vcfrag_core.errors import MaskMismatchError
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.phasing.parameters import PhasingParameters
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.retrieval.queries import External, SearchResult
from vcfrag_core.streams import first_numbers
from vcfrag_core.targets.target_reference import TargetReference
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import BoolArray, I8Array, I32Array, I64Array

# More add little and cost what phasing them does.
MAX_SERVING: Final = 1000
# Whoever misses more calls would be copied at alleles that nobody called.
MAX_MISSING_SHARE: Final = 0.05
# Rounds in which they are phased together; each copies from the others as the round before left them.
ROUNDS: Final = 6
# Rounds that are left to a target who serves: the first of them estimates its rates.
ROUNDS_OF_SERVING: Final = 2
# Fewer, beside so many in the panel, are not worth that phasing takes nearly twice as long.
_LEAST_SHARE: Final = 0.25


class TargetsAsReference(enum.StrEnum):
    """Whether targets serve as references of each other when they are phased."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


def serving_samples(
    samples: Sequence[str], alleles: I8Array, ploidy: Ploidy, n_panel: int, choice: TargetsAsReference
) -> I64Array:
    """Numbers of the targets that serve, in the order of their names; none where it does not pay.

    They are drawn by hashes of their names among those of two haplotypes who have nearly all calls.

    Args:
        samples: S names.
        alleles: (Q, M) alleles at the typed sites, -1 missing.
        ploidy: Which haplotypes are whose.
        n_panel: Samples of the panel.
        choice: Yes, no, or yes where there are enough of them beside the panel's.
    """
    nobody = np.zeros(0, dtype=np.int64)
    if choice is TargetsAsReference.NO:
        return nobody
    missing = 1 - ploidy.every(alleles >= 0).mean(axis=1)
    fit = np.flatnonzero((ploidy.counts == 2) & (missing <= MAX_MISSING_SHARE))
    n_serving = min(len(fit), MAX_SERVING)
    if n_serving < 2 or (choice is TargetsAsReference.AUTO and n_serving < _LEAST_SHARE * n_panel):
        return nobody
    hashes = first_numbers("targets as reference", "sample", last=[samples[s] for s in fit.tolist()])
    chosen = fit[np.argsort(hashes, kind="stable")[:n_serving]]
    return np.array(sorted(chosen.tolist(), key=lambda s: samples[s]), dtype=np.int64)


def together(parameters: PhasingParameters) -> PhasingParameters:
    """The parameters under which those who serve are phased together: rounds that only say what comes next."""
    return dataclasses.replace(parameters, rounds=ROUNDS + 1, queries=min(2, parameters.queries))


def fill_missing(haplotypes: I8Array, panel: Panel) -> I8Array:
    """(Q, M) alleles with missing ones taken for the panel's commoner allele."""
    commoner = (panel.alt_frequency() > 0.5).astype(np.int8)
    return np.where(haplotypes < 0, commoner, haplotypes).astype(np.int8)


def people_of(targets: Targets) -> tuple[str, ...]:
    """(S,) panel samples that the targets are, "" for a person outside the panel."""
    names = (targets.names[targets.ploidy.span(s).start] for s in range(len(targets.samples)))
    return tuple("" if isinstance(name, External) else name for name in names)


def require_typed(reference: TargetReference | None, observed: BoolArray) -> None:
    """Refuses targets who serve at other sites than are typed here.

    Raises:
        MaskMismatchError: They do.
    """
    if reference is not None and reference.typed != (here := mask_digest(observed)):
        raise MaskMismatchError(
            f"targets that serve as references are typed at other sites ({reference.typed}, here {here})"
        )


def without_rows(found: SearchResult, hidden: I32Array) -> SearchResult:
    """What was found without some rows; those behind move up."""
    gone = np.isin(found.ids, hidden)
    order = np.argsort(gone, axis=2, kind="stable")
    ids = np.take_along_axis(np.where(gone, -1, found.ids), order, axis=2)
    distances = np.take_along_axis(np.where(gone, np.inf, found.distances), order, axis=2).astype(np.float32)
    return dataclasses.replace(found, ids=np.ascontiguousarray(ids), distances=np.ascontiguousarray(distances))
