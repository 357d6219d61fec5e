"""How two samples are related by their genotypes: the same person, first or second degree, or strangers.

The likelihood of a pair of unphased genotypes given how many alleles are shared by descent is that of Thompson
(Ann Hum Genet 39, 173-188, 1975), with genotype errors. Along a contig siblings share neither, one or both alleles in
long stretches: a hidden Markov model of the sharing from either parent (Lander and Green, PNAS 84, 2363-2367, 1987).
So a short region can never tell a person from a sibling, however many sites it has. Half-siblings, who share one allele
over half of the genome, stand for all relatives of the second degree. Relatives and strangers share more
here and there, for about a centimorgan, through ancestors that nobody knows of: without that a mother and her child
would be siblings who share both alleles wherever father and mother are alike.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.types import F64Array, I8Array, I64Array

# A relation counts as told when it is so many times as likely as any other.
DECISIVE_ODDS: Final = 500.0
# Share of genotypes that are called wrongly, on either side.
_ERROR: Final = 0.005
_MIN_FREQUENCY: Final = 0.01
# Sites nearer than this tell the same thing twice.
_MIN_GAP_CM: Final = 0.05
# Below it, strangers of one population share as much as relatives do.
_MIN_CM: Final = 20.0
# One allele more than the relation gives is shared over so much of the genome, in stretches of such a mean length.
_BACKGROUND_SHARE: Final = 0.1
_BACKGROUND_CM: Final = 1.0


class Relation(enum.StrEnum):
    """What two samples may be to each other."""

    SAME = "same_person"
    PARENT_CHILD = "parent_or_child"
    SIBLING = "sibling"
    SECOND_DEGREE = "second_degree"
    STRANGER = "stranger"
    UNDECIDED = "not_decidable"


# In the order of `log_likelihoods`.
TESTED: Final = (
    Relation.SAME,
    Relation.PARENT_CHILD,
    Relation.SIBLING,
    Relation.SECOND_DEGREE,
    Relation.STRANGER,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A target sample and the panel sample that is most like it, and what speaks for their relation.

    Attributes:
        sample: Target sample.
        panel_sample: Panel sample.
        contigs: Contigs compared.
        n_sites: Sites compared.
        cm: Genetic length that they span.
        n_equal: Sites with equal genotypes.
        log_likelihoods: Of the genotypes of both under each relation, in the order same person, parent or child,
            sibling, second degree, stranger; in nats.
    """

    sample: str
    panel_sample: str
    contigs: tuple[str, ...]
    n_sites: int
    cm: float
    n_equal: int
    log_likelihoods: tuple[float, ...]

    def and_also(self, other: Likeness) -> Likeness:
        """The evidence of both, which come from different contigs.

        Raises:
            ShapeError: They speak of other samples, or of a contig twice.
        """
        same_pair = (self.sample, self.panel_sample) == (other.sample, other.panel_sample)
        if not same_pair or set(self.contigs) & set(other.contigs):
            raise ShapeError(f"{self.sample} and {self.panel_sample} on {self.contigs}: {other} is not to be added")
        return Likeness(
            sample=self.sample,
            panel_sample=self.panel_sample,
            contigs=(*self.contigs, *other.contigs),
            n_sites=self.n_sites + other.n_sites,
            cm=self.cm + other.cm,
            n_equal=self.n_equal + other.n_equal,
            log_likelihoods=tuple(map(sum, zip(self.log_likelihoods, other.log_likelihoods, strict=True))),
        )

    @property
    def relation(self) -> Relation:
        """The relation that is `DECISIVE_ODDS` times as likely as any other; undecided without one.

        The second degree need only be less likely: who is of it shares an allele over all of two contigs of 100 cM, or
        none, once in 200 times each, so that less than most of a genome could tell nobody from it.
        """
        found = dict(zip(TESTED, self.log_likelihoods, strict=True))
        likeliest = max(found, key=lambda relation: found[relation])
        others = max(found[other] for other in found if other not in (likeliest, Relation.SECOND_DEGREE))
        is_long_enough = self.cm >= _MIN_CM or likeliest is Relation.STRANGER
        told = found[likeliest] - others >= math.log(DECISIVE_ODDS) and is_long_enough
        return likeliest if told else Relation.UNDECIDED

    @property
    def likeliest(self) -> tuple[Relation, Relation]:
        """The relation of the highest likelihood, and that of the next."""
        found = dict(zip(TESTED, self.log_likelihoods, strict=True))
        first, second, *_ = sorted(TESTED, key=lambda relation: -found[relation])
        return first, second

    @property
    def log_likelihood_difference(self) -> float:
        """By how much the log likelihood of the likeliest relation is above that of the next, in nats."""
        highest, second, *_ = sorted(self.log_likelihoods, reverse=True)
        return highest - second

    @property
    def concordance(self) -> float:
        """Share of equal genotypes; NaN without sites."""
        return self.n_equal / self.n_sites if self.n_sites else math.nan

    def log10_odds(self, relation: Relation) -> float:
        """Decimal logarithm of the odds of the same person against another relation."""
        return (self.log_likelihoods[0] - self.log_likelihoods[TESTED.index(relation)]) / math.log(10)

    def __str__(self) -> str:
        against = ", ".join(f"{self.log10_odds(other):+.1f} {_in_words(other)}" for other in TESTED[1:])
        first, second = map(_in_words, self.likeliest)
        return (
            f"{self.sample} and {self.panel_sample}: {_in_words(self.relation)} ({self.concordance:.1%} of"
            f" {self.n_sites} genotypes equal over {self.cm:.3g} cM; log likelihood of {first}"
            f" {self.log_likelihood_difference:.1f} above that of {second}, the next; log10 odds of the same person"
            f" against {against})"
        )


def _in_words(relation: Relation) -> str:
    return relation.replace("_", " ")


def sites_apart(cm: F64Array, informative: I64Array) -> I64Array:
    """Some of the sites, each at least a twentieth of a centimorgan from the one before.

    Args:
        cm: (V,) genetic positions.
        informative: (M,) ascending sites.
    """
    chosen: list[int] = []
    last = -math.inf
    for site in informative.tolist():
        if cm[site] - last >= _MIN_GAP_CM:
            chosen.append(site)
            last = float(cm[site])
    return np.array(chosen, dtype=np.int64)


def log_likelihoods(copies: I8Array, others: I8Array, frequency: F64Array, cm: F64Array) -> F64Array:
    """(P, 5) of each pair's genotypes under the relations of `TESTED`, in nats.

    Args:
        copies: (P, M) ALT copies of the first sample of each pair; -1 missing.
        others: (P, M) of the second.
        frequency: (M,) of ALT.
        cm: (M,) genetic positions, ascending.

    Raises:
        ShapeError: The arrays do not fit each other.
    """
    if copies.shape != others.shape or not copies.shape[1] == len(frequency) == len(cm):
        raise ShapeError(f"genotypes {copies.shape} and {others.shape}, {len(frequency)} frequencies, {len(cm)} places")
    emission = _emissions(copies, others, frequency)
    apart = np.diff(cm, prepend=cm[:1])
    same = np.log(emission[:, :, 2]).sum(axis=1)
    parent_child, strangers = (_shared_throughout(emission, apart, shared) for shared in (1, 0))
    siblings, second_degree = _siblings(emission, apart), _half_siblings(emission, apart)
    return np.stack([same, parent_child, siblings, second_degree, strangers], axis=1)


def _emissions(copies: I8Array, others: I8Array, frequency: F64Array) -> F64Array:
    """(P, M, 3) probability of both genotypes given that 0, 1 or 2 alleles are shared; 1 where one is missing."""
    p = np.clip(frequency, _MIN_FREQUENCY, 1 - _MIN_FREQUENCY)
    tables = _with_errors(_tables(p))
    known = (copies >= 0) & (others >= 0)
    site = np.arange(len(p))[None, :]
    found = tables[:, site, np.maximum(copies, 0), np.maximum(others, 0)]
    return np.where(known[:, :, None], np.moveaxis(found, 0, -1), 1.0)


def _tables(p: F64Array) -> F64Array:
    """(3, M, 3, 3) joint probability of two genotypes by the number of alleles shared."""
    q = 1 - p
    genotype = np.stack([q * q, 2 * p * q, p * p], axis=-1)
    # Rows: the first's genotype; columns: the second's, one of whose alleles is a random one of the first's.
    half = np.full_like(p, 0.5)
    none = np.zeros_like(p)
    given = np.stack(
        [
            np.stack([q, p, none], axis=-1),
            np.stack([q / 2, half, p / 2], axis=-1),
            np.stack([none, q, p], axis=-1),
        ],
        axis=-2,
    )
    unrelated = genotype[:, :, None] * genotype[:, None, :]
    return np.stack([unrelated, genotype[:, :, None] * given, genotype[:, :, None] * np.eye(3)])


def _with_errors(tables: F64Array) -> F64Array:
    called = np.where(np.eye(3, dtype=np.bool_), 1 - _ERROR, _ERROR / 2)
    return np.asarray(called @ tables @ called)


def _shared_throughout(emission: F64Array, apart: F64Array, shared: int) -> F64Array:
    """(P,) log likelihood of pairs who share so many alleles everywhere, and one more in the background's stretches."""
    return _hidden(emission[:, :, [shared, shared + 1]], np.array([1.0]), [np.eye(1)] * len(apart), apart)


def _siblings(emission: F64Array, apart: F64Array) -> F64Array:
    """(P,) log likelihood of siblings: sharing from either parent changes twice a Morgan for each of two meioses."""
    moves = [_moves(change) for change in _changes(apart)]
    return _hidden(emission[:, :, [0, 1, 1, 2, 2, 2]], np.array([0.25, 0.5, 0.25]), moves, apart)


def _half_siblings(emission: F64Array, apart: F64Array) -> F64Array:
    """(P,) log likelihood of siblings who have one parent in common."""
    moves = [np.array([[1 - change, change], [change, 1 - change]]) for change in _changes(apart)]
    return _hidden(emission[:, :, [0, 1, 1, 2]], np.array([0.5, 0.5]), moves, apart)


def _changes(apart: F64Array) -> list[float]:
    """(M,) chance that the sharing from a parent changes since the site before."""
    changes: list[float] = (0.5 * (1 - np.exp(-4 * apart / 100))).tolist()
    return changes


def _hidden(emission: F64Array, start: F64Array, moves: Sequence[F64Array], apart: F64Array) -> F64Array:
    """(P,) log likelihood by the forward sums of a hidden Markov model.

    Args:
        emission: (P, M, 2 R) probability of both genotypes in each state: of the relation's R states, each without and
            with the background.
        start: (R,) how likely the relation's states are.
        moves: Transitions of these before each of the M sites, (R, R).
        apart: (M,) distance to the site before, cM.
    """
    without, within = 1 - _BACKGROUND_SHARE, _BACKGROUND_SHARE
    background = np.array([without, within])
    # The background's stretches end once in their mean length.
    kept = np.exp(-apart / (_BACKGROUND_CM * without))
    state = np.tile(np.kron(start, background), (len(emission), 1))
    total = np.zeros(len(emission))
    for site, (move, keep) in enumerate(zip(moves, kept.tolist(), strict=True)):
        state = (state @ np.kron(move, keep * np.eye(2) + (1 - keep) * background)) * emission[:, site]
        scale = state.sum(axis=1)
        state /= scale[:, None]
        total += np.log(scale)
    return total


def _moves(change: float) -> F64Array:
    """(3, 3) probability of sharing 0, 1 or 2 alleles from 0, 1 or 2, if either parent's changes with this chance."""
    stay = 1 - change
    return np.array(
        [
            [stay * stay, 2 * stay * change, change * change],
            [stay * change, stay * stay + change * change, stay * change],
            [change * change, 2 * stay * change, stay * stay],
        ]
    )


def total_likeness(found: Sequence[Likeness], contigs: Sequence[str]) -> list[Likeness]:
    """The evidence of all contigs for every pair that was the likeliest on each of them.

    A pair that was chosen on some contigs only was chosen for what they show, so that their evidence would be partial.
    """
    pairs: dict[tuple[str, str], Likeness] = {}
    for one in found:
        key = (one.sample, one.panel_sample)
        pairs[key] = pairs[key].and_also(one) if key in pairs else one
    return [pair for pair in pairs.values() if set(pair.contigs) == set(contigs)]
