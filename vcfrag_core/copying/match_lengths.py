"""Rare alleles of large panels: the longer the match of those that carry them, the more they are believed.

Copying shares its posterior among all candidates that agree with the query around a place, however far each of them
goes on agreeing beyond it. Among tens of thousands of haplotypes many do, and the query is nearest to the one that
agrees longest (docs/decisions/context-and-neighbours.md).
"""

# Scalars are of the arrays' own types, which Python's annotations cannot say.
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from vcfrag_core.copying.parameters import dense_share
from vcfrag_core.copying.problem import CopyingProblem, each_query
from vcfrag_core.kernel import kernel
from vcfrag_core.types import F32Array, F64Array, I8Array, I32Array, I64Array, U8Array, U64Array

# Tried with 25,000 haplotypes; of 5,000 it does no good.
LARGE_PANEL = 20_000
# Minor allele frequency of the alleles that were tried.
RARE: Final = 1e-3
_POWER: Final = 1.5
# Where typed sites are as dense as where it was tried, by `dense_share`; nothing on an array.
_TRIED_SHARE: Final = 0.45
# Dosages nearer to 0 or 1 are left alone.
_CERTAIN: Final = 0.02
# No match is told from one that is shorter by so little, cM.
_LEAST_CM: Final = 0.01


def match_power(n_haplotypes: int, observed_per_cm: float) -> float:
    """The power of the ratio of match lengths by which odds are multiplied; 0 where that was not shown to help."""
    if n_haplotypes < LARGE_PANEL:
        return 0.0
    return _POWER * min(1.0, dense_share(observed_per_cm) / _TRIED_SHARE)


def favour_longer_matches(
    problem: CopyingProblem,
    dosage: F32Array,
    cm: F64Array,
    chosen: I64Array,
    power: float,
    *,
    pool: ThreadPoolExecutor | None = None,
) -> None:
    """Multiplies the odds of ALT at some sites by (longest match of a carrier / of another candidate)^power, in place.

    A match goes from the last observed site before the place at which a candidate differs from the query to the first
    one behind it, or to the end of the context; where the query has no call, nothing differs.

    Args:
        problem: What was copied.
        dosage: (Q, L) its dosages; at the chosen sites those that are neither 0 nor 1 change.
        cm: (M,) genetic positions of its observed sites.
        chosen: (n,) numbers of sites among the L.
        power: Not negative.
        pool: Threads.
    """

    def one(q: int) -> None:
        match_odds(
            problem.observed, problem.words, problem.candidates[q], problem.queries[q], cm, problem.sites.left, chosen,
            power, dosage[q],
        )  # fmt: skip

    each_query(one, len(dosage), pool)


@kernel
def match_odds(
    observed: U8Array,
    words: U64Array,
    candidates: I32Array,
    query: I8Array,
    cm: F64Array,
    left: I32Array,
    chosen: I64Array,
    power: float,
    dosage: F32Array,
) -> None:
    """`favour_longer_matches` for one query; arrays as in `kernels.copy_dosage`."""
    longest, lengths, gap = np.empty(2), np.empty(len(candidates)), -1
    for i in chosen:
        p = np.float64(dosage[i])
        if p < _CERTAIN or p > 1 - _CERTAIN:
            continue
        if left[i] != gap:
            gap = left[i]
            for j in range(len(candidates)):
                lengths[j] = match_length(observed, candidates[j], query, cm, gap)
        longest[:] = 0
        for j in range(len(candidates)):
            carries = (words[candidates[j], i >> 6] >> np.uint64(i & 63)) & np.uint64(1)
            longest[carries] = max(longest[carries], lengths[j])
        odds = p / (1 - p) * ((longest[1] + _LEAST_CM) / (longest[0] + _LEAST_CM)) ** power
        dosage[i] = odds / (1 + odds)


@kernel
def match_length(observed: U8Array, candidate: int, query: I8Array, cm: F64Array, left: int) -> float:
    """cM between the observed sites that end a candidate's agreement with the query around the gap behind `left`."""
    last = len(query) - 1
    begin, end = left, min(left + 1, last)
    while begin > 0 and agree(observed, candidate, query, begin):
        begin -= 1
    while end < last and agree(observed, candidate, query, end):
        end += 1
    return float(cm[end] - cm[begin])


@kernel
def agree(observed: U8Array, candidate: int, query: I8Array, site: int) -> bool:
    """Whether a candidate has the query's allele at an observed site, or the query has no call."""
    allele = (observed[site >> 3, candidate] >> np.uint8(site & 7)) & np.uint8(1)
    return bool(query[site] < 0 or query[site] == allele)
