"""How two samples are related: the likelihoods beside enumeration, and simulated people who are told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vcfrag_core.errors import ShapeError
from vcfrag_core.targets.likeness import Likeness, Relation, log_likelihoods, sites_apart, total_likeness

ERROR = 0.005
RELATIONS = [relation for relation in Relation if relation is not Relation.UNDECIDED]
CM = np.linspace(0, 100, 300)


def called(g: int, seen: int) -> float:
    return 1 - ERROR if g == seen else ERROR / 2


def pair_probability(first: int, second: int, shared: int, p: float) -> float:
    """Of two called genotypes whose first `shared` alleles are the same ones, by enumerating all alleles."""
    total = 0.0
    for alleles in itertools.product((0, 1), repeat=4 - shared):
        chance = float(np.prod([p if allele else 1 - p for allele in alleles]))
        one = alleles[:2]
        two = (*one[:shared], *alleles[2:])
        total += chance * called(sum(one), first) * called(sum(two), second)
    return total


def relation_likelihood(
    relation: Relation, first: np.ndarray, second: np.ndarray, p: np.ndarray, cm: np.ndarray
) -> float:
    """By enumerating what is shared by descent from either parent, and by the background, at every site."""
    by_shared = [
        [pair_probability(int(a), int(b), n, float(f)) for n in range(3)]
        for a, b, f in zip(first, second, p, strict=True)
    ]
    from_parents = {
        Relation.SAME: [(1, 1)],
        Relation.PARENT_CHILD: [(0, 1)],
        Relation.SIBLING: list(itertools.product((0, 1), repeat=2)),
        # The other parents are not related.
        Relation.SECOND_DEGREE: [(0, 0), (0, 1)],
        Relation.STRANGER: [(0, 0)],
    }[relation]
    total = 0.0
    for path in itertools.product(itertools.product(from_parents, (0, 1)), repeat=len(p)):
        chance = 1 / len(from_parents) * (0.1 if path[0][1] else 0.9)
        for i in range(1, len(p)):
            (before, behind), (after, beyond) = path[i - 1], path[i]
            change = 0.5 * (1 - np.exp(-4 * (cm[i] - cm[i - 1]) / 100))
            may_change = [len({parents[j] for parents in from_parents}) > 1 for j in range(2)]
            steps = zip(before, after, may_change, strict=True)
            chance *= np.prod([change if a != b else 1 - change for a, b, may in steps if may])
            kept = np.exp(-(cm[i] - cm[i - 1]) / 0.9)
            chance *= kept * (behind == beyond) + (1 - kept) * (0.1 if beyond else 0.9)
        for found, (parents, background) in zip(by_shared, path, strict=True):
            chance *= found[min(2, sum(parents) + background)]
        total += chance
    return total


@pytest.mark.parametrize("seed", range(3))
def test_log_likelihoods__agree_with_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 3, (2, 1, 4)).astype(np.int8)
    p, cm = rng.uniform(0.05, 0.95, 4), np.cumsum(rng.choice([0.2, 3.0, 20.0], 4))
    found = log_likelihoods(first, second, p, cm)[0]
    wanted = [np.log(relation_likelihood(relation, first[0], second[0], p, cm)) for relation in RELATIONS]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_log_likelihoods__missing_genotypes_say_nothing() -> None:
    first, second = np.array([[0, -1, 2]], np.int8), np.array([[0, 1, -1]], np.int8)
    found = log_likelihoods(first, second, np.full(3, 0.3), np.arange(3.0))
    alone = log_likelihoods(first[:, :1], second[:, :1], np.full(1, 0.3), np.zeros(1))
    np.testing.assert_allclose(found, alone)


def test_log_likelihoods__refuse_other_shapes() -> None:
    with pytest.raises(ShapeError):
        log_likelihoods(np.zeros((1, 3), np.int8), np.zeros((1, 3), np.int8), np.full(2, 0.5), np.arange(3.0))


def gamete(parent: np.ndarray, cm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(M,) alleles that a (2, M) parent passes on."""
    crossed = rng.random(len(cm)) < 0.5 * (1 - np.exp(-2 * np.diff(cm, prepend=cm[0]) / 100))
    strand = (rng.integers(2) + np.cumsum(crossed)) % 2
    return np.where(strand == 0, parent[0], parent[1])


def family(seed: int, frequency: np.ndarray, cm: np.ndarray) -> dict[str, np.ndarray]:
    """Genotypes of a person, with errors again, a parent, a sibling, a half-sibling and a stranger."""
    rng = np.random.default_rng(seed)
    mother, father, stranger = ((rng.random((2, len(frequency))) < frequency).astype(np.int8) for _ in range(3))
    children = [gamete(mother, cm, rng) + gamete(father, cm, rng) for _ in range(2)]
    half_sibling = gamete(mother, cm, rng) + gamete(stranger, cm, rng)
    again = np.where(rng.random(len(cm)) < 0.002, rng.integers(0, 3, len(cm)), children[0])
    return {
        "person": children[0],
        "same_person": again,
        "parent_or_child": mother.sum(axis=0),
        "sibling": children[1],
        "second_degree": half_sibling,
        "stranger": stranger.sum(axis=0),
    }


def likeness(first: np.ndarray, second: np.ndarray, frequency: np.ndarray, cm: np.ndarray, contig: str) -> Likeness:
    logs = log_likelihoods(first[None].astype(np.int8), second[None].astype(np.int8), frequency, cm)[0]
    return Likeness(
        sample="T",
        panel_sample="P",
        contigs=(contig,),
        n_sites=len(cm),
        cm=float(cm[-1] - cm[0]),
        n_equal=int((first == second).sum()),
        log_likelihoods=tuple(logs.tolist()),
    )


@pytest.mark.parametrize("relation", RELATIONS)
def test_likeness__contigs_tell_every_relation(relation: Relation) -> None:
    """Siblings who share one haplotype nearly everywhere may be left open, but nobody is taken for somebody else.

    Two contigs are enough but for the second degree, where the background makes half-siblings a little like siblings.
    """
    contigs = "12345678" if relation is Relation.SECOND_DEGREE else "12"
    told = []
    for seed in range(12):
        frequency = np.random.default_rng(1000 + seed).uniform(0.1, 0.9, len(CM))
        each = []
        for contig in contigs:
            people = family(len(contigs) * seed + int(contig), frequency, CM)
            each.append(likeness(people["person"], people[relation.value], frequency, CM, contig))
        told += [pair.relation for pair in total_likeness(each, list(contigs))]
    assert set(told) <= {relation, Relation.UNDECIDED}
    certain = 12 if relation is Relation.SAME else 9
    assert told.count(relation) >= certain


@pytest.mark.parametrize("seed", range(5))
def test_likeness__a_mother_stays_one_where_parents_are_alike_in_short_stretches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cm = np.linspace(0, 200, 4000)
    frequency = rng.uniform(0.1, 0.9, len(cm))
    mother, father = ((rng.random((2, len(cm))) < frequency).astype(np.int8) for _ in range(2))
    alike = np.repeat(rng.random(200) < 0.15, 20)
    father = np.where(alike, mother[rng.permutation(2)], father)
    child = gamete(mother, cm, rng) + gamete(father, cm, rng)
    assert likeness(child, mother.sum(axis=0), frequency, cm, "1").relation is Relation.PARENT_CHILD


def test_likeness__fifty_centimorgans_on_each_of_two_contigs_tell_a_duplicate() -> None:
    cm = CM / 2
    frequency = np.random.default_rng(5).uniform(0.1, 0.9, len(cm))
    people = [family(seed, frequency, cm) for seed in (1, 2)]
    both = [likeness(p["person"], p["same_person"], frequency, cm, str(i)) for i, p in enumerate(people)]
    together = both[0].and_also(both[1])
    assert together.relation is Relation.SAME
    assert together.likeliest == (Relation.SAME, Relation.SIBLING)
    difference = together.log_likelihood_difference
    assert difference == pytest.approx(together.log10_odds(Relation.SIBLING) * np.log(10))
    assert f"log likelihood of same person {difference:.1f} above that of sibling, the next;" in str(together)
    assert both[0].relation is Relation.UNDECIDED


def test_likeness__a_short_region_cannot_tell_a_person_from_a_sibling() -> None:
    """However many sites: a full sibling shares both haplotypes over a quarter of the genome."""
    cm = np.linspace(0, 2, 1000)
    genotypes = np.random.default_rng(3).integers(0, 3, 1000)
    found = likeness(genotypes, genotypes, np.full(1000, 0.5), cm, "20")
    assert found.concordance == 1
    assert found.relation is Relation.UNDECIDED
    assert found.log10_odds(Relation.STRANGER) > 100
    assert found.log10_odds(Relation.SIBLING) == pytest.approx(np.log10(4), abs=0.05)
    assert "not decidable" in str(found)


def test_likeness__of_one_contig_twice_is_refused() -> None:
    one = likeness(np.zeros(3, np.int64), np.zeros(3, np.int64), np.full(3, 0.5), np.arange(3.0), "1")
    with pytest.raises(ShapeError):
        one.and_also(one)


def test_total_likeness__a_pair_chosen_on_some_contigs_only_is_no_evidence() -> None:
    frequency = np.full(len(CM), 0.5)
    people = family(1, frequency, CM)
    one = likeness(people["person"], people["same_person"], frequency, CM, "1")
    assert total_likeness([one], ["1"]) == [one]
    assert total_likeness([one], ["1", "2"]) == []


def test_sites_apart__keep_their_distance() -> None:
    cm = np.array([0.0, 0.01, 0.05, 0.09, 0.2, 0.2])
    assert sites_apart(cm, np.array([0, 1, 2, 3, 4, 5])).tolist() == [0, 2, 4]
    assert sites_apart(cm, np.array([1, 5])).tolist() == [1, 5]
