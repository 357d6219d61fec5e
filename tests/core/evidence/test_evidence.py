"""What the candidates say of a site: the compiled kernels against a slow NumPy reading of the definitions."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcfrag_core.copying import reference as copying
from vcfrag_core.copying.kernels import begin
from vcfrag_core.copying.problem import CopyingProblem, PanelColumns
from vcfrag_core.errors import ShapeError
from vcfrag_core.evidence.evidence import (
    CANDIDATE_FEATURES,
    CERTAIN_WHERE_DENSE,
    NEARLY_SAME,
    OTHER_RATES,
    SITE_FEATURES,
    Certain,
    Evidence,
    certain_in_imputation,
    certain_in_training,
    gather_evidence,
)
from vcfrag_core.evidence.kernels import FEW, NEARBY_SITES, bound_of, copy_with_evidence, largest, read_candidates
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F32Array, F64Array, FloatArray, I8Array, I32Array


@dataclasses.dataclass(frozen=True)
class Case:
    """A random problem of two queries, in bits and in plain arrays."""

    problem: CopyingProblem
    haplotypes: I8Array
    cm: F64Array
    weights: F64Array
    switch: F64Array

    def posterior(self, q: int) -> F64Array:
        states = self.haplotypes[self.problem.candidates[q]][:, self.problem.sites.observed].T
        return copying.posterior_reference(states, self.problem.queries[q], self.weights, self.switch)

    @property
    def homozygous(self) -> BoolArray:
        """(M,) where both queries, the haplotypes of one sample, have one called allele."""
        mine, other = self.problem.queries
        return np.asarray((mine >= 0) & (mine == other))

    def disagrees(self, haplotype: int, q: int) -> list[bool]:
        alleles = self.haplotypes[haplotype][self.problem.sites.observed]
        return [bool(called >= 0 and called != a) for called, a in zip(self.problem.queries[q], alleles, strict=True)]


def random_case(seed: int, *, n_observed: int = 40, n_candidates: int = 20, n_sites: int = 120) -> Case:
    rng = np.random.default_rng(seed)
    founders = rng.integers(0, 2, (5, n_sites))
    pieces = rng.integers(0, 5, (2 * n_candidates, n_sites // 10 + 1)).repeat(10, axis=1)[:, :n_sites]
    haplotypes = founders[pieces, np.arange(n_sites)] ^ (rng.random(pieces.shape) < 0.03)
    haplotypes = haplotypes.astype(np.int8)
    panel = Panel.from_haplotypes(haplotypes)
    observed = np.sort(rng.choice(n_sites, n_observed, replace=False))
    cm = np.cumsum(rng.random(n_sites) * rng.choice([0, 0.01, 0.1], n_sites))
    start, stop = sorted(rng.choice(n_sites + 1, 2, replace=False))
    sites = copying.copying_sites(observed, cm, panel.positions, np.arange(start, stop))
    candidates = [np.sort(rng.choice(len(haplotypes), n_candidates, replace=False)).astype(np.int32) for _ in range(2)]
    queries = rng.choice(np.array([-1, 0, 1], np.int8), (2, n_observed), p=[0.1, 0.45, 0.45])
    longer_scales = [[chosen[::step] for chosen in candidates] for step in (2, 5)]
    problem = CopyingProblem(sites, PanelColumns.of(panel.bits, sites), queries, candidates, longer_scales)
    weights = np.round(rng.uniform(0.5, 6, n_observed), 2)
    return Case(problem, haplotypes, cm, weights, copying.switch_probabilities(sites.gaps_cm, rng.uniform(1, 20)))


@dataclasses.dataclass(frozen=True)
class Best:
    """What `copy_with_evidence` fills."""

    dosage: FloatArray
    rows: I32Array
    before: F32Array
    after: F32Array
    runs: I32Array
    effective: F32Array


def best_of(case: Case, q: int, n_best: int) -> Best:
    m, problem = len(case.weights), case.problem
    found = Best(
        dosage=np.empty(len(problem.sites.sites)),
        rows=np.full((m, n_best), -1, dtype=np.int32),
        before=np.zeros((m, n_best), dtype=np.float32),
        after=np.zeros((m, n_best), dtype=np.float32),
        runs=np.zeros((m, n_best, 6), dtype=np.int32),
        effective=np.zeros(m, dtype=np.float32),
    )
    mismatch = np.exp(-case.weights)
    begun = begin(problem.observed, problem.candidates[q], problem.queries[q], mismatch[None], case.switch[None])
    copy_with_evidence(
        *begun, problem.words, problem.candidates[q], problem.queries[q], mismatch, case.switch,
        problem.sites.left, problem.sites.fraction.astype(np.float64),
        problem.asked(q, called_too=True), np.ones(len(problem.sites.sites), dtype=np.bool_), 0.0, 0.0,
        found.dosage, found.rows, found.before, found.after,
        np.packbits(case.homozygous, bitorder="little"), found.runs, found.effective,
    )  # fmt: skip
    return found


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, n_best=st.integers(1, 24))
def test_best_candidates__are_those_of_largest_posterior_around_the_gap(seed: int, n_best: int) -> None:
    case = random_case(seed)
    for q in range(2):
        found, posterior = best_of(case, q, n_best), case.posterior(q)
        candidates = case.problem.candidates[q].tolist()
        following = np.concatenate([posterior[1:], posterior[-1:]])
        together = posterior + following
        for m in set(case.problem.sites.left.tolist()):
            rows = found.rows[m].tolist()
            shown = min(n_best, len(candidates))
            assert rows[shown:] == [-1] * (n_best - shown)
            columns = [candidates.index(row) for row in rows[:shown]]
            assert len(set(columns)) == shown
            # Candidates that agree everywhere observed tie but for rounding: compared by value, not by name.
            np.testing.assert_allclose(together[m][columns], np.sort(together[m])[::-1][:shown], atol=1e-9)
            np.testing.assert_allclose(found.before[m, :shown], posterior[m][columns], atol=1e-6)
            np.testing.assert_allclose(found.after[m, :shown], following[m][columns], atol=1e-6)


@given(seed=seeds, k=st.integers(1, 300), n_best=st.integers(1, 24))
def test_largest__whoever_was_chosen_before(seed: int, k: int, n_best: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = np.full(n_best, -1, dtype=np.int32)
    for _ in range(3):
        # Of few values, so that many tie.
        score = rng.integers(0, 9, k).astype(np.float32) / 8
        largest(score, bound_of(score, chosen), chosen)
        wanted = np.argsort(-score, kind="stable")[:n_best]
        np.testing.assert_array_equal(chosen, np.pad(wanted, (0, n_best - len(wanted)), constant_values=-1))


def walk(disagrees: list[bool], m: int, forgiven: int = 0) -> tuple[int, int]:
    """First site of the run that ends at m and last one of that which starts behind it, by steps from the gap."""
    first, left = m + 1, forgiven
    while first > 0 and (not disagrees[first - 1] or left):
        left -= disagrees[first - 1]
        first -= 1
    last, left = m, forgiven
    while last + 1 < len(disagrees) and (not disagrees[last + 1] or left):
        left -= disagrees[last + 1]
        last += 1
    return first, last


@given(seed=seeds)
def test_runs_of_agreement__are_those_found_by_walking(seed: int) -> None:
    case = random_case(seed)
    for q in range(2):
        found = best_of(case, q, 6)
        for m in set(case.problem.sites.left.tolist()):
            for t, row in enumerate(found.rows[m]):
                disagrees = case.disagrees(int(row), q)
                of_genotype = [a and bool(b) for a, b in zip(disagrees, case.homozygous, strict=True)]
                expected = [*walk(disagrees, m), *walk(of_genotype, m), *walk(disagrees, m, forgiven=1)]
                assert found.runs[m, t].tolist() == expected


@given(seed=seeds)
def test_effective_candidates__is_the_inverse_of_the_summed_squares(seed: int) -> None:
    case = random_case(seed)
    found = best_of(case, 0, 3)
    expected = 1 / (case.posterior(0) ** 2).sum(axis=1)
    around = sorted(set(case.problem.sites.left.tolist()))
    np.testing.assert_allclose(found.effective[around], expected[around], rtol=1e-5)


@given(seed=seeds)
def test_dosage__with_evidence_is_that_without(seed: int) -> None:
    case = random_case(seed)
    alone = case.problem.dosage(case.weights, case.switch)
    np.testing.assert_allclose(best_of(case, 0, 4).dosage, alone[0], atol=1e-9)


def read_slowly(
    case: Case, q: int, i: int, row: int, before: float, after: float, share: F64Array, surprise: FloatArray
) -> list[float]:
    """The features of candidate `row` at site number i, from their definitions."""
    sites = case.problem.sites
    site_cm, observed_cm = case.cm[sites.sites], case.cm[sites.observed]
    m = int(sites.left[i])
    disagrees = case.disagrees(row, q)
    left_run, right_run = [], []
    for j in range(m, -1, -1):
        if disagrees[j]:
            break
        left_run.append(j)
    for j in range(m + 1, len(disagrees)):
        if disagrees[j]:
            break
        right_run.append(j)
    alleles = case.haplotypes[row][sites.sites]

    def lengths(run: tuple[int, int]) -> tuple[float, float]:
        first, last = run
        left = max(0.0, site_cm[i] - observed_cm[first]) if first <= m else 0.0
        return left, max(0.0, observed_cm[last] - site_cm[i]) if last > m else 0.0

    near = [j for j in range(len(alleles)) if 0 < abs(j - i) <= NEARBY_SITES]
    return [
        before + float(sites.fraction[i]) * (after - before),
        1.0 if alleles[i] else -1.0,
        max(0.0, site_cm[i] - observed_cm[left_run[-1]]) if left_run else 0.0,
        max(0.0, observed_cm[right_run[-1]] - site_cm[i]) if right_run else 0.0,
        len(left_run),
        len(right_run),
        sum(share[j] for j in left_run + right_run),
        sum(float(surprise[j, alleles[j]]) for j in near),
        *lengths(walk([a and bool(b) for a, b in zip(disagrees, case.homozygous, strict=True)], m)),
        *lengths(walk(disagrees, m, forgiven=1)),
    ]


@given(seed=seeds)
@settings(max_examples=25)
def test_read_candidates__equals_the_definitions(seed: int) -> None:
    case = random_case(seed)
    sites, rng = case.problem.sites, np.random.default_rng(seed)
    length = len(sites.sites)
    surprise = rng.uniform(0, 3, (length, 2)).astype(np.float32)
    share = rng.uniform(0, 2, len(case.weights))
    chosen = np.flatnonzero(rng.random(length) < 0.5)
    found = best_of(case, 1, 24)
    out = np.full((len(CANDIDATE_FEATURES), 24, len(chosen)), np.nan, dtype=np.float32)
    read_candidates(
        case.problem.words, chosen, sites.left, sites.fraction, case.cm[sites.sites], case.cm[sites.observed],
        np.concatenate([[0.0], np.cumsum(share)]), surprise,
        found.rows, found.before, found.after, found.runs, out,
    )  # fmt: skip
    for n, i in enumerate(chosen.tolist()):
        m = int(sites.left[i])
        for t, row in enumerate(found.rows[m].tolist()):
            if row < 0:
                assert not out[:, t, n].any()
                continue
            slow = read_slowly(case, 1, i, row, found.before[m, t], found.after[m, t], share, surprise)
            np.testing.assert_allclose(out[:, t, n], slow, rtol=1e-4, atol=1e-5)


def changes_of(case: Case) -> F32Array:
    """(2, 2, L) numbers of allele changes, for each query its own."""
    return np.random.default_rng(5).normal(-3, 1, (2, 2, len(case.problem.sites.sites))).astype(np.float32)


def evidence_of(
    case: Case,
    *,
    n_candidates: int = 5,
    length_factor: float = 1.0,
    called_too: bool = True,
    pool: ThreadPoolExecutor | None = None,
    ploidy: Ploidy | None = None,
    n_described: int | None = None,
    certain: Certain | None = None,
) -> Evidence:
    frequency = case.haplotypes.mean(axis=0)
    wanted = ~np.isin(case.problem.sites.sites, case.problem.sites.observed)
    return gather_evidence(
        case.problem,
        ploidy or Ploidy.diploid(len(case.problem.queries) // 2),
        case.weights.astype(np.float32),
        case.switch.astype(np.float32),
        cm=case.cm,
        frequency=frequency,
        wanted=wanted,
        changes=changes_of(case),
        n_candidates=n_candidates,
        length_factor=length_factor,
        certain=certain,
        n_described=n_described,
        called_too=called_too,
        pool=pool,
    )


@given(seed=seeds)
@settings(max_examples=20)
def test_gather_evidence__of_later_queries_describes_sites_where_the_first_differ(seed: int) -> None:
    case = random_case(seed)
    whole, part = evidence_of(case), evidence_of(case, n_described=1)
    np.testing.assert_array_equal(part.dosage, whole.dosage)
    apart = np.abs(whole.dosage[whole.query, whole.site] - whole.dosage[0, whole.site])
    stays = (whole.query == 0) | (apart > NEARLY_SAME)
    for name in ("query", "site", "candidates", "sites"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole.at(stays), name))


@given(seed=seeds)
@settings(max_examples=20)
def test_gather_evidence__of_a_query_for_which_another_stands_is_where_it_stands_for_itself(seed: int) -> None:
    case = random_case(seed)
    each, left = evidence_of(case, n_described=1), case.problem.sites.left
    alike = np.random.default_rng(seed).integers(0, 2, len(case.weights))
    case.problem.alike = np.stack([np.zeros_like(alike), alike])
    found = evidence_of(case, n_described=1)
    np.testing.assert_array_equal(found.dosage[0], each.dosage[0])
    np.testing.assert_array_equal(found.dosage[1], np.where(alike[left] == 1, each.dosage[1], each.dosage[0]))
    stays = (each.query == 0) | (alike[left[each.site]] == 1)
    for name in ("query", "site"):
        np.testing.assert_array_equal(getattr(found, name), getattr(each.at(stays), name))
    # What its alleles nearby are like follows from dosages there, which may be the other's.
    of_all = CANDIDATE_FEATURES.index("strangeness")
    np.testing.assert_array_equal(found.candidates[:, :, :of_all], each.at(stays).candidates[:, :, :of_all])


@given(seed=seeds)
@settings(max_examples=20)
def test_gather_evidence__describes_the_wanted_uncertain_sites(seed: int) -> None:
    case = random_case(seed)
    evidence, sites = evidence_of(case), case.problem.sites
    plain = case.problem.dosage(case.weights.astype(np.float32), case.switch.astype(np.float32))
    np.testing.assert_allclose(evidence.dosage, plain, atol=1e-6)
    hidden = ~np.isin(sites.sites, sites.observed)
    expected = [
        (q, i)
        for q in range(2)
        for i in range(len(sites.sites))
        if hidden[i] and CERTAIN_WHERE_DENSE <= evidence.dosage[q, i] <= np.float32(1 - CERTAIN_WHERE_DENSE)
    ]
    assert list(zip(evidence.query.tolist(), evidence.site.tolist(), strict=True)) == expected
    assert evidence.candidates.shape == (len(expected), 5, len(CANDIDATE_FEATURES))
    assert evidence.sites.shape == (len(expected), len(SITE_FEATURES))


def variants_of(case: Case) -> list[FloatArray]:
    """Dosages of copying from the candidates of each of the longer scales, and of all of them at other rates."""
    gaps = case.problem.sites.gaps_cm
    rate = -np.log1p(-case.switch[gaps > 0][0]) / gaps[gaps > 0][0]
    problem, found = case.problem.part(0, 2), []
    for candidates in case.problem.longer_scales:
        problem.candidates = candidates
        found.append(problem.dosage(case.weights, case.switch))
    for switches, errors in OTHER_RATES:
        weights = np.maximum(case.weights - np.log(errors), 0)
        found.append(case.problem.dosage(weights, copying.switch_probabilities(gaps, switches * rate)))
    return found


def test_gather_evidence__refuses_to_do_without_the_longer_scale_candidates() -> None:
    case = random_case(13)
    case.problem.longer_scales = case.problem.longer_scales[:1]
    with pytest.raises(ShapeError, match="candidates of 2 scales"):
        evidence_of(case)


def test_gather_evidence__refuses_a_haplotype_alone() -> None:
    case = random_case(13)
    case.problem.queries, case.problem.candidates = case.problem.queries[:1], case.problem.candidates[:1]
    with pytest.raises(ShapeError, match="2 haplotypes, got 1 queries"):
        evidence_of(case, ploidy=Ploidy.diploid(1))


@given(seed=seeds)
@settings(max_examples=10)
def test_gather_evidence__of_a_lone_haplotype(seed: int) -> None:
    """It is shown as with a partner of the same calls, as nothing can switch its phase, but of unknown dosages."""
    case = random_case(seed)
    lone = evidence_of(case, ploidy=Ploidy.haploid(2))
    case.problem.queries = np.repeat(case.problem.queries[:1], 2, axis=0)
    same = evidence_of(case)
    of_first = lone.query == 0
    np.testing.assert_array_equal(lone.candidates[of_first], same.candidates[same.query == 0])
    other = SITE_FEATURES.index("other_dosage")
    np.testing.assert_array_equal(
        np.delete(lone.sites[of_first], other, axis=1), np.delete(same.sites[same.query == 0], other, axis=1)
    )
    np.testing.assert_array_equal(lone.sites[:, other], lone.sites[:, SITE_FEATURES.index("frequency")])


def test_gather_evidence__a_certain_switch_stays_certain() -> None:
    case = random_case(14)
    case.switch[20] = 1
    assert bool(np.isfinite(evidence_of(case).sites).all())


def test_certain__more_is_left_alone_where_data_are_sparse_and_where_many_agree() -> None:
    assert certain_in_training(80) > certain_in_training(1000) == (CERTAIN_WHERE_DENSE, CERTAIN_WHERE_DENSE)
    assert certain_in_imputation(80) > certain_in_imputation(1000)
    for per_cm in (80, 1000):
        assert certain_in_imputation(per_cm).few < certain_in_imputation(per_cm).many


@given(seed=seeds)
@settings(max_examples=20)
def test_gather_evidence__leaves_out_what_is_certain_among_many(seed: int) -> None:
    """The rest is as without that bound."""
    case, bound = random_case(seed), Certain(few=2e-3, many=0.2)
    every, some = evidence_of(case), evidence_of(case, certain=bound)
    np.testing.assert_array_equal(some.dosage, every.dosage)
    dosage = every.dosage[every.query, every.site]
    apart = np.minimum(dosage, 1 - dosage)
    few = every.sites[:, SITE_FEATURES.index("effective")] < FEW
    stays = np.where(few, apart >= np.float32(bound.few), apart >= np.float32(bound.many))
    for name in ("query", "site", "candidates", "sites"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every.at(stays), name))


@given(seed=seeds)
@settings(max_examples=20)
def test_gather_evidence__equals_the_definitions(seed: int) -> None:
    case = random_case(seed)
    evidence, sites = evidence_of(case), case.problem.sites
    frequency = case.haplotypes.mean(axis=0)
    site_cm, observed_cm = case.cm[sites.sites], case.cm[sites.observed]
    hidden = ~np.isin(sites.sites, sites.observed)
    posteriors = [case.posterior(q) for q in range(2)]
    for n, (q, i) in enumerate(zip(evidence.query.tolist(), evidence.site.tolist(), strict=True)):
        m = int(sites.left[i])
        right = min(m + 1, len(observed_cm) - 1)
        slow_site = [
            evidence.dosage[q, i],
            frequency[sites.sites[i]],
            1 / (posteriors[q][m] ** 2).sum(),
            abs(site_cm[i] - observed_cm[m]),
            abs(observed_cm[right] - site_cm[i]),
            evidence.dosage[1 - q, i],
            *(changes_of(case)[q, :, i] if 0.0075 <= frequency[sites.sites[i]] <= 1 - 0.0075 else (0, 0)),
            *(variant[q, i] for variant in variants_of(case)),
        ]
        np.testing.assert_allclose(evidence.sites[n], slow_site, rtol=2e-3, atol=1e-5)
        assert set(np.unique(evidence.candidates[n, :, 1])) <= {-1.0, 1.0}
        clipped = np.clip(evidence.dosage[q], 0.01, 0.99)
        surprise = np.where(hidden[:, None], -np.log(np.stack([1 - clipped, clipped], axis=1)), 0)
        called = case.problem.queries[q]
        observed_frequency = frequency[sites.observed]
        chance = np.where(called == 1, observed_frequency, 1 - observed_frequency)
        share = np.where(called >= 0, -np.log(np.clip(chance, 1e-4, 1)), 0.0)
        rows = case.problem.candidates[q].tolist()
        readings = [
            read_slowly(case, q, i, row, posteriors[q][m, j], posteriors[q][right, j], share, surprise)
            for j, row in enumerate(rows)
        ]
        # A candidate is known by what it says: ties between equal ones must not decide the test.
        for t in range(5):
            distance = min(np.abs(np.array(r) - evidence.candidates[n, t]).max() for r in readings)
            assert distance < 2e-2


def test_gather_evidence__a_length_factor_is_another_scale_of_the_map() -> None:
    case = random_case(13)
    found, on_that_scale = evidence_of(case, length_factor=5.0), evidence_of(dataclasses.replace(case, cm=5 * case.cm))
    for field in dataclasses.fields(Evidence):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(on_that_scale, field.name))
    assert not np.array_equal(found.candidates, evidence_of(case).candidates)


@given(seed=seeds)
def test_dosage__where_called_sites_are_left_out_the_calls_stand_there_and_all_else_is_the_same(seed: int) -> None:
    case = random_case(seed)
    problem = case.problem
    weights, switch = case.weights.astype(np.float32), case.switch.astype(np.float32)
    every, some = evidence_of(case), evidence_of(case, called_too=False)
    for name in ("query", "site", "candidates", "sites"):
        np.testing.assert_array_equal(getattr(every, name), getattr(some, name))
    calls = np.full(every.dosage.shape, -1)
    numbers = np.searchsorted(problem.sites.observed, problem.sites.sites)
    for place, number in enumerate(numbers.tolist()):
        if number < len(problem.sites.observed) and problem.sites.observed[number] == problem.sites.sites[place]:
            calls[:, place] = problem.queries[:, number]
    np.testing.assert_array_equal(some.dosage, np.where(calls >= 0, calls, every.dosage))
    copied = problem.dosage(weights, switch, called_too=False)
    np.testing.assert_array_equal(copied, np.where(calls >= 0, calls, problem.dosage(weights, switch)))


def test_gather_evidence__any_number_of_threads_gives_the_same_bytes() -> None:
    case = random_case(11)
    alone = evidence_of(case)
    with ThreadPoolExecutor(3) as pool:
        together = evidence_of(case, pool=pool)
    for field in dataclasses.fields(Evidence):
        np.testing.assert_array_equal(getattr(alone, field.name), getattr(together, field.name))


def test_gather_evidence__best_mass_grows_with_the_candidates_shown() -> None:
    case = random_case(12)
    masses = [evidence_of(case, n_candidates=n).best_mass for n in (1, 5, 20)]
    assert masses == sorted(masses)
    assert masses[-1] == pytest.approx(1.0, abs=1e-4)
