"""What copying knows beyond its dosage: the best candidates at every uncertain site, for the model.

Nothing here is tied to a site's or a sample's identity, so that what is learned from it holds on other chromosomes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vcfrag_core import copying_kernels
from vcfrag_core import feature_kernels as kernels
from vcfrag_core.copying_problem import CopyingProblem, each_query
from vcfrag_core.errors import ShapeError
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I32Array, I64Array

CANDIDATE_FEATURES = (
    "posterior",  # at the site, in [0, 1]
    "allele",  # -1 REF, 1 ALT, 0 where there is no such candidate
    "match_left_cm",  # from the site to the far end of the run of agreement on its left
    "match_right_cm",
    "match_left_sites",  # observed sites in that run
    "match_right_sites",
    "information",  # nats: -log of the chance that a random haplotype shares all of both runs
    "strangeness",  # nats: -log of the imputed probability of its alleles at the nearby sites to impute
)
SITE_FEATURES = (
    "dosage",  # of copying, in [0, 1]
    "frequency",  # of ALT in the reference
    "effective",  # effective number of candidates at the observed site on the left
    "gap_left_cm",  # to the nearest observed site on the left
    "gap_right_cm",
    "other_dosage",  # of the sample's other haplotype
    "middle_dosage",  # of copying from the candidates of the middle scale alone
    "longest_dosage",  # of copying from those of the longest scale alone
    "low_switch_dosage",  # of copying with a switch rate of 0.4 times the one in force
    "high_switch_dosage",  # of copying with 2.5 times that rate
)
DOSAGE_FEATURE = SITE_FEATURES.index("dosage")
FREQUENCY_FEATURE = SITE_FEATURES.index("frequency")
FIRST_VARIANT = SITE_FEATURES.index("middle_dosage")
SWITCH_FACTORS = (0.4, 2.5)
# Sparse data leave many sites a little uncertain. To correct those below 2 % took as long again and moved r² by less
# than 0.0001 (docs/accuracy.md).
CERTAIN_WHERE_DENSE, CERTAIN_WHERE_SPARSE = 1e-3, 2e-2
SPARSE_BELOW_PER_CM = 250.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The uncertain sites of a problem and what the candidates say of them.

    Attributes:
        dosage: (Q, L) dosages of copying.
        query: (N,) query of each uncertain site.
        site: (N,) its number among the L sites.
        candidates: (N, T, 8) features named by CANDIDATE_FEATURES, largest posterior first.
        sites: (N, 10) features named by SITE_FEATURES.
        best_mass: Mean posterior of the T best candidates together, over observed sites beside uncertain ones; NaN
            where there are none.
    """

    dosage: F32Array
    query: I64Array
    site: I64Array
    candidates: F32Array
    sites: F32Array
    best_mass: float


def certain_dosage(observed_per_cm: float) -> float:
    """Dosages nearer than this to 0 or 1 are left as they are, for data with so many observed sites per centimorgan."""
    return CERTAIN_WHERE_SPARSE if observed_per_cm < SPARSE_BELOW_PER_CM else CERTAIN_WHERE_DENSE


def gather_evidence(
    problem: CopyingProblem,
    weights: FloatArray,
    switch: FloatArray,
    *,
    cm: F64Array,
    frequency: F64Array,
    wanted: BoolArray,
    shown_frequency: F32Array | None = None,
    n_candidates: int = 12,
    certain: float = CERTAIN_WHERE_DENSE,
    pool: ThreadPoolExecutor | None = None,
) -> Evidence:
    """Copies every query and describes the wanted sites that copying leaves uncertain.

    Queries 2s and 2s + 1 must be the two haplotypes of one sample.

    Args:
        problem: The copying problem, with its `longer_scales`.
        weights: (M,) float32 cost of a mismatch.
        switch: (M,) float32 switch probabilities.
        cm: (V,) genetic positions of the panel's sites.
        frequency: (V,) ALT frequency in the reference.
        shown_frequency: (Q, L) ALT frequency at the sites to impute among the reference haplotypes that each query may
            be shown; that of the reference unless given. Where a query's own group is part of the reference, its
            alleles must not count: the frequency of a rare allele would tell the answer.
        wanted: (L,) sites of interest: those that are not observed.
        n_candidates: T.
        certain: Dosages nearer than this to 0 or 1 are left out.
        pool: Threads to use.

    Raises:
        ShapeError: The problem does not name the candidates of both longer scales.
    """
    sites, n_queries = problem.sites, len(problem.queries)
    m, length, t = len(sites.observed), len(sites.sites), n_candidates
    mismatch = np.exp(-weights)
    dosage = np.empty((n_queries, length), dtype=np.float32)
    site_cm, observed_cm = cm[sites.sites], cm[sites.observed]
    if shown_frequency is None:
        shown_frequency = np.broadcast_to(frequency[sites.sites].astype(np.float32), (n_queries, length))
    log_frequency = -np.log(np.clip(np.stack([1 - frequency, frequency])[:, sites.observed], 1e-4, 1))
    candidate_parts: list[F32Array] = [np.empty((0, t, len(CANDIDATE_FEATURES)), np.float32)] * n_queries
    site_parts: list[F32Array] = [np.empty((0, len(SITE_FEATURES)), np.float32)] * n_queries
    chosen: list[I64Array] = [np.empty(0, np.int64)] * n_queries
    mass = np.zeros(n_queries)
    variants = _variants(problem, switch)

    def one(q: int) -> None:
        best = np.full((m, t), -1, dtype=np.int32)
        before, after = np.zeros((2, m, t), dtype=np.float32)
        first, last = np.zeros((2, m, t), dtype=np.int32)
        effective = np.zeros(m, dtype=np.float32)
        kernels.copy_with_evidence(
            problem.observed, problem.alleles, problem.candidates[q], problem.queries[q], mismatch, switch,
            sites.left, sites.fraction, wanted, certain, dosage[q], best, before, after, first, last, effective,
        )  # fmt: skip
        chosen[q] = np.flatnonzero(wanted & (dosage[q] >= certain) & (dosage[q] <= 1 - certain))
        clipped = np.clip(dosage[q], 0.01, 0.99)
        surprise = np.where(wanted[:, None], -np.log(np.stack([1 - clipped, clipped], axis=1)), 0).astype(np.float32)
        called = problem.queries[q]
        share = np.where(
            called >= 0, np.take_along_axis(log_frequency, np.maximum(called, 0)[None].astype(int), 0)[0], 0
        )
        information = np.concatenate([[0.0], np.cumsum(share)])
        candidate_parts[q] = np.empty((len(chosen[q]), t, len(CANDIDATE_FEATURES)), dtype=np.float32)
        kernels.read_candidates(
            problem.words, chosen[q], sites.left, sites.fraction, site_cm, observed_cm, information, surprise,
            best, before, after, first, last, candidate_parts[q],
        )  # fmt: skip
        left = sites.left[chosen[q]]
        right = np.minimum(left + 1, m - 1)
        part = np.empty((len(chosen[q]), len(SITE_FEATURES)), dtype=np.float32)
        part[:, 0] = dosage[q, chosen[q]]
        part[:, 1] = shown_frequency[q, chosen[q]]
        part[:, 2] = effective[left]
        part[:, 3] = np.abs(site_cm[chosen[q]] - observed_cm[left])
        part[:, 4] = np.abs(observed_cm[right] - site_cm[chosen[q]])
        site_parts[q] = part
        if len(part):
            _vary(problem, q, variants, mismatch, chosen[q], part[:, FIRST_VARIANT:])
        used = effective > 0
        mass[q] = before[used].sum(axis=1).mean() if used.any() else np.nan

    each_query(one, n_queries, pool)
    for q in range(n_queries):
        site_parts[q][:, 5] = dosage[q ^ 1, chosen[q]]
    return Evidence(
        dosage=dosage,
        query=np.repeat(np.arange(n_queries), [len(c) for c in chosen]),
        site=np.concatenate(chosen),
        candidates=np.concatenate(candidate_parts),
        sites=np.concatenate(site_parts),
        best_mass=float(mass[np.isfinite(mass)].mean()) if np.isfinite(mass).any() else float("nan"),
    )


def _variants(problem: CopyingProblem, switch: FloatArray) -> list[tuple[Sequence[I32Array], FloatArray]]:
    """Candidates of every query and switch probabilities of each other way to copy, in the order of SITE_FEATURES."""
    if FIRST_VARIANT + len(problem.longer_scales) + len(SWITCH_FACTORS) != len(SITE_FEATURES):
        raise ShapeError(
            f"evidence needs the candidates of 2 scales beside those of all, got {len(problem.longer_scales)}"
        )
    # A switch that is certain in single precision stays so at any rate.
    stay = np.log(np.maximum(1 - switch.astype(np.float64), 1e-12))
    return [(candidates, switch) for candidates in problem.longer_scales] + [
        (problem.candidates, -np.expm1(factor * stay).astype(np.float32)) for factor in SWITCH_FACTORS
    ]


def _vary(
    problem: CopyingProblem,
    q: int,
    variants: Sequence[tuple[Sequence[I32Array], FloatArray]],
    mismatch: FloatArray,
    chosen: I64Array,
    out: F32Array,
) -> None:
    """Fills (N, variants) dosages of one query at its chosen sites, copied in each of the other ways."""
    sites = problem.sites
    wanted = np.zeros(len(sites.sites), dtype=np.bool_)
    wanted[chosen] = True
    wanted_bits = np.packbits(wanted, bitorder="little")
    dosage = np.empty(len(wanted), dtype=np.float32)
    for number, (candidates, switch) in enumerate(variants):
        copying_kernels.copy_dosage(
            problem.observed, problem.alleles, candidates[q], problem.queries[q], mismatch, switch,
            sites.left, sites.fraction, wanted_bits, dosage,
        )  # fmt: skip
        out[:, number] = dosage[chosen]
