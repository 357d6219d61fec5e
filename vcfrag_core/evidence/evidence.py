"""What copying knows beyond its dosage: the best candidates at every uncertain site, for the model.

Nothing here is tied to a site's or a sample's identity, so that what is learned from it holds on other chromosomes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import numpy as np

from vcfrag_core.copying import kernels as copying_kernels
from vcfrag_core.copying.problem import CopyingProblem, each_query
from vcfrag_core.errors import ShapeError
from vcfrag_core.evidence import kernels
from vcfrag_core.panel.bits import pack_words
from vcfrag_core.panel.ploidy import NOBODY, Ploidy
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I32Array, I64Array, U8Array

# Whoever changes the meaning of a feature, or a number that it follows from, counts `model_inputs.FORMULAS` up.
CANDIDATE_FEATURES = (
    "posterior",  # at the site, in [0, 1]
    "allele",  # -1 REF, 1 ALT, 0 where there is no such candidate
    "match_left_cm",  # from the site to the far end of the run of agreement on its left
    "match_right_cm",
    "match_left_sites",  # observed sites in that run
    "match_right_sites",
    "information",  # nats: -log of the chance that a random haplotype shares all of both runs
    "strangeness",  # nats: -log of the imputed probability of its alleles at the nearby sites to impute
    "phase_free_left_cm",  # as match_left_cm, of the run that ends only where the sample is homozygous: a switch of
    "phase_free_right_cm",  # phase in the target does not end it
    "forgiving_left_cm",  # as match_left_cm, of the run that goes on beyond one disagreement
    "forgiving_right_cm",
)
SITE_FEATURES = (
    "dosage",  # of copying, in [0, 1]
    "frequency",  # of ALT in the reference
    "effective",  # effective number of candidates at the observed site on the left
    "gap_left_cm",  # to the nearest observed site on the left
    "gap_right_cm",
    "other_dosage",  # of the sample's other haplotype; the frequency where there is none
    "changes_from_left",  # how little the haplotypes around foretell the site, `pbwt_changes`; 0 at rare sites
    "changes_from_right",
    "middle_dosage",  # of copying from the candidates of the middle scale alone
    "longest_dosage",  # of copying from those of the longest scale alone
    "lenient_dosage",  # of copying with 0.4 times the switch rate and 6 times the mismatch
    "strict_dosage",  # of copying with 2.5 times the switch rate and a sixth of the mismatch
)
DOSAGE_FEATURE = SITE_FEATURES.index("dosage")
FREQUENCY_FEATURE = SITE_FEATURES.index("frequency")
OTHER_FEATURE = SITE_FEATURES.index("other_dosage")
STRICT_FEATURE = SITE_FEATURES.index("strict_dosage")
FIRST_CHANGES = SITE_FEATURES.index("changes_from_left")
FIRST_VARIANT = SITE_FEATURES.index("middle_dosage")
# Above the least frequency of `pbwt_changes`, so that in panels of some size a number is there whoever the query is.
MIN_SHOWN_MAF = 0.0075
# Of switch rate and mismatch, for the lenient and the strict dosage: long copies with errors, or short ones without.
OTHER_RATES = ((0.4, 6.0), (2.5, 1 / 6))
# Sparse data leave many sites a little uncertain. To correct those below 2 % took as long again and moved r² by less
# than 0.0001 (docs/decisions/model-trials.md).
CERTAIN_WHERE_DENSE, CERTAIN_WHERE_SPARSE = 1e-3, 2e-2
SPARSE_BELOW_PER_CM = 250.0
# Dosages of two draws of a phase so near each other are corrected alike (docs/decisions/phasing.md, *Few draws for
# many*).
NEARLY_SAME = np.float32(0.03)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The uncertain sites of a problem and what the candidates say of them.

    Attributes:
        dosage: (Q, L) dosages of copying.
        query: (N,) query of each uncertain site.
        site: (N,) its number among the L sites.
        candidates: (N, T, 12) features named by CANDIDATE_FEATURES, largest posterior first; each lies together.
        sites: (N, F) features named by SITE_FEATURES.
        best_mass: Mean posterior of the T best candidates together, over observed sites beside uncertain ones; NaN
            where there are none.
    """

    dosage: F32Array
    query: I64Array
    site: I64Array
    candidates: F32Array
    sites: F32Array
    best_mass: float

    def at(self, chosen: I64Array | BoolArray) -> Self:
        """Some of the uncertain sites, by number or by a mask of all N; the dosages are the same."""
        return dataclasses.replace(
            self,
            query=self.query[chosen],
            site=self.site[chosen],
            candidates=self.candidates[chosen],
            sites=self.sites[chosen],
        )


class Certain(NamedTuple):
    """Dosages nearer than this to 0 or 1 are left as they are.

    Attributes:
        few: Where fewer than `kernels.FEW` candidates are effective at the observed site on the left.
        many: Where more are.
    """

    few: float
    many: float


# Of all squared changes of dosages by the model about 1 % are left out by that (docs/performance.md, *Imputing*).
NOT_CORRECTED_WHERE_DENSE, NOT_CORRECTED_WHERE_SPARSE = Certain(1e-3, 7e-3), Certain(5e-3, 4e-2)


def certain_in_training(observed_per_cm: float) -> Certain:
    """What a model learns from leaves out, for data with so many observed sites per centimorgan."""
    certain = CERTAIN_WHERE_SPARSE if observed_per_cm < SPARSE_BELOW_PER_CM else CERTAIN_WHERE_DENSE
    return Certain(certain, certain)


def certain_in_imputation(observed_per_cm: float) -> Certain:
    """What is not corrected, for data with so many observed sites per centimorgan."""
    return NOT_CORRECTED_WHERE_SPARSE if observed_per_cm < SPARSE_BELOW_PER_CM else NOT_CORRECTED_WHERE_DENSE


class OtherWay(NamedTuple):
    """A way to copy beside that of the problem, whose dosages are features of the sites.

    Attributes:
        candidates: Q arrays of panel rows.
        mismatch: (M,) float32 probabilities of an error of copying.
        switch: (M,) float32 switch probabilities.
    """

    candidates: Sequence[I32Array]
    mismatch: FloatArray
    switch: FloatArray


def other_ways(problem: CopyingProblem, weights: FloatArray, switch: FloatArray) -> list[OtherWay]:
    """The ways whose dosages are the features from `middle_dosage` on, in their order."""
    mismatch = np.exp(-weights)
    # A switch that is certain in single precision stays so at any rate.
    stay = np.log(np.maximum(1 - switch.astype(np.float64), 1e-12))
    by_scale = [OtherWay(candidates, mismatch, switch) for candidates in problem.longer_scales]
    by_rate = [
        OtherWay(
            problem.candidates,
            np.minimum(errors * mismatch, 1).astype(np.float32),
            -np.expm1(switches * stay).astype(np.float32),
        )
        for switches, errors in OTHER_RATES
    ]
    return by_scale + by_rate


def gather_evidence(
    problem: CopyingProblem,
    ploidy: Ploidy,
    weights: FloatArray,
    switch: FloatArray,
    *,
    cm: F64Array,
    frequency: F64Array,
    wanted: BoolArray,
    changes: F32Array,
    shown_frequency: F32Array | None = None,
    n_candidates: int,
    length_factor: float = 1.0,
    certain: Certain | None = None,
    copy_otherwise: bool = True,
    n_described: int | None = None,
    called_too: bool = True,
    pool: ThreadPoolExecutor | None = None,
) -> Evidence:
    """Copies every query and describes the wanted sites that copying leaves uncertain.

    Args:
        problem: The copying problem, with its `longer_scales`. Queries that stand for others are among the first
            `n_described`: where they do, the others are not described.
        ploidy: Which of its queries are one sample.
        weights: (M,) float32 cost of a mismatch.
        switch: (M,) float32 switch probabilities.
        cm: (V,) genetic positions of the panel's sites.
        frequency: (V,) ALT frequency in the reference: how rare what the query was observed to carry is. A reference
            that holds the query counts it too, which says nothing of hidden alleles.
        changes: (2, L), or (Q, 2, L) for each query its own, `pbwt_changes` at the sites to impute, of haplotypes of
            which the query is none.
        shown_frequency: (Q, L) ALT frequency at the sites to impute among the reference haplotypes that each query may
            be shown; that of the reference unless given. Where a query's own group is part of the reference, its
            alleles must not count: the frequency of a rare allele would tell the answer.
        wanted: (L,) sites of interest: those that are not observed.
        n_candidates: T.
        length_factor: What genetic lengths are multiplied by in the features.
        certain: Dosages nearer than this to 0 or 1 are left out; those nearer than `CERTAIN_WHERE_DENSE` unless given.
        copy_otherwise: Whether to copy in the `other_ways`, too; without, their features are NaN, for who makes them.
        n_described: So many of the first queries are described at all their uncertain sites, the others only where
            none of these has nearly their dosage (`nearest_of`); all are unless given.
        called_too: Whether dosages are made at sites at which a query has a call, too; the allele stands there without.
        pool: Threads to use, unless `n_described` is given.

    Raises:
        ShapeError: The problem does not name the candidates of both longer scales, or has other queries than `ploidy`.
    """
    if FIRST_VARIANT + len(problem.longer_scales) + len(OTHER_RATES) != len(SITE_FEATURES):
        raise ShapeError(
            f"evidence needs the candidates of 2 scales beside those of all, got {len(problem.longer_scales)}"
        )
    n_queries, length = len(problem.queries), len(problem.sites.sites)
    if n_queries != ploidy.n_haplotypes:
        raise ShapeError(f"{ploidy.n_samples} samples have {ploidy.n_haplotypes} haplotypes, got {n_queries} queries")
    if shown_frequency is None:
        shown_frequency = np.broadcast_to(frequency[problem.sites.sites].astype(np.float32), (n_queries, length))
    reading = _Reading(
        problem, ploidy.partner_of, weights, switch, cm, frequency, wanted, shown_frequency,
        np.broadcast_to(changes, (n_queries, 2, length)), n_candidates, length_factor,
        certain or Certain(CERTAIN_WHERE_DENSE, CERTAIN_WHERE_DENSE), copy_otherwise, called_too,
    )  # fmt: skip
    dosage = np.empty((n_queries, length), dtype=np.float32)
    made: dict[int, _Part] = {}
    described = n_queries if n_described is None else n_described

    def one(q: int) -> None:
        made[q] = reading.of_query(q, dosage, dosage[:described] if q >= described else None)

    each_query(one, n_queries, pool if n_described is None else None)
    parts = [made[q] for q in range(n_queries)]
    for q, part in enumerate(parts):
        other = int(ploidy.partner_of[q])
        shown = part.sites[:, FREQUENCY_FEATURE] if other == NOBODY else dosage[other, part.chosen]
        part.sites[:, OTHER_FEATURE] = shown
    mass = np.array([part.best_mass for part in parts if np.isfinite(part.best_mass)])
    return Evidence(
        dosage=dosage,
        query=np.repeat(np.arange(n_queries), [len(part.chosen) for part in parts]),
        site=np.concatenate([part.chosen for part in parts]),
        candidates=np.concatenate([part.candidates.T for part in parts], axis=2).T,
        sites=np.concatenate([part.sites for part in parts]),
        best_mass=float(mass.mean()) if len(mass) else float("nan"),
    )


def nearest_of(dosage: F32Array, others: F32Array) -> tuple[I64Array, BoolArray]:
    """(n,) which of (O, n) others has the dosage next to (n,) some at each site, and whether it is nearly the same."""
    apart = np.abs(others - dosage)
    nearest = apart.argmin(axis=0)
    return nearest, np.take_along_axis(apart, nearest[None], 0)[0] <= NEARLY_SAME


class _Part(NamedTuple):
    """What is read of one query: its uncertain sites, their features, and the mass of its best candidates."""

    chosen: I64Array
    candidates: F32Array
    sites: F32Array
    best_mass: float


class _Reading:
    """The arguments of `gather_evidence`, and what is made of them once for all queries."""

    def __init__(
        self,
        problem: CopyingProblem,
        partners: I64Array,
        weights: FloatArray,
        switch: FloatArray,
        cm: F64Array,
        frequency: F64Array,
        wanted: BoolArray,
        shown_frequency: F32Array,
        changes: F32Array,
        n_candidates: int,
        length_factor: float,
        certain: Certain,
        copy_otherwise: bool,
        called_too: bool,
    ) -> None:
        self.problem, self.wanted, self.shown_frequency, self.changes = problem, wanted, shown_frequency, changes
        self.partners, self.n_candidates, self.called_too = partners, n_candidates, called_too
        # As single precision has them, so that comparing with them is the same in any precision.
        self.certain = Certain(*(float(np.float32(bound)) for bound in certain))
        sites = problem.sites
        self.mismatch, self.switch = np.exp(-weights), switch
        self.site_cm, self.observed_cm = length_factor * cm[sites.sites], length_factor * cm[sites.observed]
        self.log_frequency = -np.log(np.clip(np.stack([1 - frequency, frequency])[:, sites.observed], 1e-4, 1))
        self.ways = other_ways(problem, weights, switch) if copy_otherwise else []
        # Of the same candidates, which are copied from together.
        alike = [way for way in self.ways if way.candidates is problem.candidates]
        self.all_mismatch = np.stack([self.mismatch, *(way.mismatch for way in alike)])
        self.all_switch = np.stack([switch, *(way.switch for way in alike)])

    def of_query(self, q: int, dosages: F32Array, others: F32Array | None) -> _Part:
        """What copying says of query q, whose of (Q, L) dosages it fills, where none of (O, L) others is nearly alike.

        Those of queries that stand for it are there.
        """
        dosage = dosages[q]
        problem, sites, t = self.problem, self.problem.sites, self.n_candidates
        m, called = len(sites.observed), problem.queries[q]
        best = np.full((m, t), -1, dtype=np.int32)
        before, after = np.zeros((2, m, t), dtype=np.float32)
        runs = np.zeros((m, t, 6), dtype=np.int32)
        effective = np.zeros(m, dtype=np.float32)
        # Nothing can switch the phase of a lone haplotype: it is its own partner.
        other = q if self.partners[q] == NOBODY else self.partners[q]
        homozygous = (called >= 0) & (called == problem.queries[other])
        states, checkpoints = copying_kernels.begin(
            problem.observed, problem.candidates[q], called, self.all_mismatch, self.all_switch
        )
        kernels.copy_with_evidence(
            states, checkpoints[:1], problem.words, problem.candidates[q], called, self.mismatch, self.switch,
            sites.left, sites.fraction, problem.asked(q, called_too=self.called_too), self.wanted,
            *self.certain, dosage, best, before, after, np.packbits(homozygous, bitorder="little"), runs, effective,
        )  # fmt: skip
        if not self.called_too:
            problem.put_calls(q, dosage)
        problem.put_alike(q, dosages)
        chosen = self._uncertain(dosage, effective)
        if others is not None:
            chosen = chosen[~nearest_of(dosage[chosen], others[:, chosen])[1]]
        candidates = np.empty((len(CANDIDATE_FEATURES), t, len(chosen)), dtype=np.float32)
        kernels.read_candidates(
            problem.words, chosen, sites.left, sites.fraction, self.site_cm, self.observed_cm, self._information(q),
            self._surprise(dosage), best, before, after, runs, candidates,
        )  # fmt: skip
        of_sites = self._sites(q, dosage, chosen, effective)
        if len(chosen):
            _copy_otherwise(problem, q, self.ways, (states, checkpoints[1:]), chosen, of_sites[:, FIRST_VARIANT:])
        used = best[:, 0] >= 0
        mass = float(before[used].sum(axis=1).mean()) if used.any() else float("nan")
        return _Part(chosen, candidates.transpose(2, 1, 0), of_sites, mass)

    def _uncertain(self, dosage: F32Array, effective: F32Array) -> I64Array:
        """The wanted sites whose dosage is neither near 0 nor near 1."""
        apart = np.minimum(dosage, 1 - dosage)
        some = np.flatnonzero(self.wanted & (apart >= self.certain.few))
        few = effective[self.problem.sites.left[some]] < kernels.FEW
        return some[few | (apart[some] >= self.certain.many)]

    def _information(self, q: int) -> F64Array:
        """(M + 1,) running sum of -log of the frequency of the query's alleles."""
        called = self.problem.queries[q]
        of_allele = np.take_along_axis(self.log_frequency, np.maximum(called, 0)[None].astype(int), 0)[0]
        return np.concatenate([[0.0], np.cumsum(np.where(called >= 0, of_allele, 0))])

    def _surprise(self, dosage: F32Array) -> F32Array:
        """(L, 2) -log of the imputed probability of REF and of ALT."""
        surprise = np.empty((len(dosage), 2), dtype=np.float32)
        np.clip(dosage, 0.01, 0.99, out=surprise[:, 1])
        np.subtract(1, surprise[:, 1], out=surprise[:, 0])
        np.negative(np.log(surprise, out=surprise), out=surprise)
        surprise[~self.wanted] = 0
        return surprise

    def _sites(self, q: int, dosage: F32Array, chosen: I64Array, effective: F32Array) -> F32Array:
        """(N, F) features of the chosen sites, but for the other haplotype's dosage and the other ways to copy."""
        left = self.problem.sites.left[chosen]
        right = np.minimum(left + 1, len(self.observed_cm) - 1)
        out = np.full((len(chosen), len(SITE_FEATURES)), np.nan, dtype=np.float32)
        out[:, DOSAGE_FEATURE] = dosage[chosen]
        out[:, FREQUENCY_FEATURE] = shown = self.shown_frequency[q, chosen]
        out[:, 2] = effective[left]
        out[:, 3] = np.abs(self.site_cm[chosen] - self.observed_cm[left])
        out[:, 4] = np.abs(self.observed_cm[right] - self.site_cm[chosen])
        common = np.minimum(shown, 1 - shown) >= MIN_SHOWN_MAF
        out[:, FIRST_CHANGES:FIRST_VARIANT] = np.where(common, self.changes[q][:, chosen], 0).T
        return out


def _copy_otherwise(
    problem: CopyingProblem,
    q: int,
    ways: Sequence[OtherWay],
    begun: tuple[U8Array, FloatArray],
    chosen: I64Array,
    out: F32Array,
) -> None:
    """Fills (N, ways) dosages of one query at its chosen sites.

    What ways with the problem's own candidates begin with is known.
    """
    sites = problem.sites
    wanted = np.zeros(len(sites.sites), dtype=np.bool_)
    wanted[chosen] = True
    wanted_bits = pack_words(wanted)
    number = 0
    # Ways with the same candidates are copied together.
    for _, some in itertools.groupby(ways, key=lambda way: id(way.candidates)):
        alike = list(some)
        dosage = np.empty((len(alike), len(wanted)), dtype=np.float32)
        candidates, called = alike[0].candidates[q], problem.queries[q]
        mismatch, switch = np.stack([way.mismatch for way in alike]), np.stack([way.switch for way in alike])
        known = alike[0].candidates is problem.candidates
        states, checkpoints = (
            begun if known else copying_kernels.begin(problem.observed, candidates, called, mismatch, switch)
        )
        copying_kernels.copy_ways(
            states, checkpoints, problem.words, candidates, called, mismatch, switch, sites.left, sites.fraction,
            wanted_bits, dosage,
        )  # fmt: skip
        out[:, number : number + len(alike)] = dosage[:, chosen].T
        number += len(alike)
