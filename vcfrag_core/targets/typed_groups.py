"""Samples of a cohort that were typed at different sites, as where several chips were merged."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, I8Array, I64Array

# Samples of one chip miss a few calls in a hundred at random; chips share half of their sites or fewer.
MAX_DIFFERENCE: Final = 0.4
_MAX_SITES: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TypedGroup:
    """Samples that were typed at the same sites, but for missing calls.

    Attributes:
        samples: Their indices, ascending.
        observed: (V,) sites at which at least half of them have a call.
    """

    samples: I64Array
    observed: BoolArray


def typed_groups(alleles: I8Array, observed: BoolArray, ploidy: Ploidy) -> list[TypedGroup]:
    """The groups of a cohort, the one with most typed sites first; one where nobody misses many calls.

    Beginning with the sample that has most calls, each one founds a group if more than 40 % of the sites at which it or
    a founder has a call are called in one of the two only; it joins the founder that it differs least from otherwise.

    Args:
        alleles: (Q, M) alleles at the typed sites, -1 missing.
        observed: (V,) typed sites of anybody.
        ploidy: Which queries are one sample.
    """
    sites = np.flatnonzero(observed)
    some = slice(None) if len(sites) <= _MAX_SITES else np.arange(_MAX_SITES) * len(sites) // _MAX_SITES
    called = ploidy.every(alleles[:, some] >= 0)
    groups = _assigned(called)
    if len(groups) == 1:
        return [TypedGroup(samples=groups[0], observed=observed.copy())]
    made = []
    for samples in groups:
        of_group = np.zeros(len(observed), dtype=np.bool_)
        of_group[sites] = (alleles[ploidy.rows(samples)] >= 0).mean(axis=0) >= 0.5
        made.append(TypedGroup(samples=samples, observed=of_group))
    return sorted(made, key=lambda group: -int(group.observed.sum()))


def _assigned(called: BoolArray) -> list[I64Array]:
    """The samples of each group, from (S, M) calls."""
    n_calls = called.sum(axis=1)
    order = np.argsort(-n_calls, kind="stable")
    group = np.zeros(len(called), dtype=np.int64)
    founders: list[BoolArray] = []
    for sample in order.tolist():
        own = called[sample]
        differences = [_difference(own, founder) for founder in founders]
        if differences and min(differences) <= MAX_DIFFERENCE:
            group[sample] = int(np.argmin(differences))
        else:
            group[sample] = len(founders)
            founders.append(own)
    return [np.flatnonzero(group == number) for number in range(len(founders))]


def _difference(one: BoolArray, other: BoolArray) -> float:
    """Sites called in one only, as a share of those called in either."""
    return float((one ^ other).sum() / max(1, (one | other).sum()))
