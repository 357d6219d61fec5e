"""Means over drawn phases: dosages of haplotypes in consensus order, and how often both carry ALT."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import RangeError
from vcfrag_core.hashing import splitmix64
from vcfrag_core.imputation.masked import Masked
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.consensus import heterozygotes, turned_at
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.retrieval.queries import External, QueryBlock
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I64Array

QUERIES_AT_ONCE = 64
# A search finds once which haplotypes of the panel are alike, for all of its queries: more of them are searched for
# together, as long as they and what is found take no more than these bytes.
SEARCHED_AT_ONCE, SEARCHED_BYTES = 2048, 32 << 20
# What the model changes differs less between draws than what it changes: a few tell its mean.
DRAWS_CORRECTED = 2
# Draws that have the same alleles so far on either side of a place, and at so many typed sites, have one dosage there
# (docs/decisions/phasing.md, *Draws that are alike*).
ALIKE_CM, ALIKE_SITES = 0.7, 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Integrated:
    """Dosages of a window, integrated over phase.

    Attributes:
        dosage: (Q, L) probability of ALT of each haplotype of the consensus.
        both: (S, L) probability that both haplotypes of a sample carry ALT; NaN where its phase was known or it has
            one haplotype, and the haplotypes are independent given the data.
    """

    dosage: F32Array
    both: F32Array

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The dosages of all samples of some parts."""
        return cls(
            dosage=np.concatenate([part.dosage for part in parts]), both=np.concatenate([part.both for part in parts])
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Corrected:
    """Dosages of some queries, (Q, L) each: of copying, and as the model corrects them."""

    copied: F32Array
    corrected: F32Array

    def with_rest_alike(self, n_first: int) -> Self:
        """The same, and where a query behind the first has nearly the dosage of one of these it changes by as much."""
        # Copying alone starts without what describes candidates to a model.
        from vcfrag_core.evidence.evidence import nearest_of

        corrected, first = self.corrected.copy(), slice(n_first)
        changes = self.corrected[first] - self.copied[first]
        for q in range(n_first, len(corrected)):
            nearest, is_near = nearest_of(self.copied[q], self.copied[first])
            change = np.take_along_axis(changes, nearest[None], 0)[0]
            corrected[q] = np.clip(corrected[q] + np.where(is_near, change, 0), 0, 1)
        return dataclasses.replace(self, corrected=corrected)


def batches(phased: Phased, n_queries: int, samples: I64Array | None = None) -> Iterator[I64Array]:
    """Samples in order, as many together as have at most so many queries, or one that has more.

    Args:
        phased: Their phases.
        n_queries: Haplotypes of all of their draws.
        samples: Those that are meant; all unless given.
    """
    some: list[int] = []
    n = 0
    for sample in range(len(phased.drawn)) if samples is None else samples.tolist():
        own = int(phased.targets.ploidy.counts[sample]) * phased.n_draws(sample)
        if some and n + own > n_queries:
            yield np.array(some)
            some, n = [], 0
        some.append(sample)
        n += own
    if some:
        yield np.array(some)


def searched_at_once(window: Window, observed: BoolArray, parameters: CopyingParameters) -> int:
    """How many queries are searched for together over a window; `observed` are the (V,) typed sites."""
    n_sites = window.context_stop - window.context_start
    n_observed = int(observed[window.context_start : window.context_stop].sum())
    # Segments overlap by half. An answer is a number and a distance; beside a query's alleles stand those to send.
    n_answers = parameters.k * sum(2 * n_observed // scale + 1 for scale in parameters.scales)
    room = SEARCHED_BYTES // (2 * n_sites + 8 * n_answers)
    return min(max(QUERIES_AT_ONCE, room), SEARCHED_AT_ONCE)


def searches(phased: Phased, masked: Masked, window: Window) -> Iterator[tuple[I64Array, QueryBlock]]:
    """Samples in order, and the search for all haplotypes of their draws over a window."""
    for samples in batches(phased, searched_at_once(window, masked.observed, masked.parameters)):
        blocks = [
            masked.of(*queries_of(phased, some)).over(window).query_block()
            for some in batches(phased, QUERIES_AT_ONCE, samples)
        ]
        yield (
            samples,
            QueryBlock(
                start=blocks[0].start,
                stop=blocks[0].stop,
                samples=tuple(itertools.chain.from_iterable(block.samples for block in blocks)),
                observed=blocks[0].observed,
                alleles=np.concatenate([block.alleles for block in blocks]),
            ),
        )


def queries_of(phased: Phased, samples: I64Array) -> tuple[I8Array, tuple[str | External, ...], Ploidy]:
    """(Q, V) alleles of all draws of some samples, their names, and which are one draw's."""
    targets = phased.targets
    drawn = [phased.draws_of(int(s)) for s in samples]
    counts = np.repeat(targets.ploidy.counts[samples], [len(draws) for draws in drawn])
    ploidy = Ploidy.of(counts)
    alleles = np.full((ploidy.n_haplotypes, targets.alleles.shape[1]), -1, dtype=np.int8)
    alleles[:, phased.sites] = np.concatenate([draws.reshape(-1, draws.shape[2]) for draws in drawn])
    of_samples = [targets.names[int(targets.ploidy.starts[s])] for s in samples]
    names = ploidy.of_haplotypes(name for name, draws in zip(of_samples, drawn, strict=True) for _ in range(len(draws)))
    return alleles, names, ploidy


def alike_draws(alleles: I8Array, cm: F64Array, phased: Phased, samples: I64Array) -> I64Array:
    """(Q, M) the haplotype whose dosages stand for each one's between a typed site and the next.

    It is the sample's first that has the same alleles over ALIKE_CM on either side, and at ALIKE_SITES typed sites.
    Those of the first draw stand for themselves, and none but these for another that the model corrects.

    Args:
        alleles: (Q, M) of all their draws, as `queries_of` orders them.
        cm: (M,) genetic positions.
        phased: Their phases.
        samples: The samples.
    """
    n, m = alleles.shape
    alike = np.repeat(np.arange(n)[:, None], m, axis=1)
    right = np.arange(1, m + 1)
    before = np.minimum(np.searchsorted(cm, cm - ALIKE_CM), np.maximum(0, right - ALIKE_SITES))
    reach = np.searchsorted(cm, cm[np.minimum(right, m - 1)] + ALIKE_CM, side="right")
    behind = np.maximum(reach, np.minimum(m, right + ALIKE_SITES))
    # Sums of numbers that stand for alleles: the same for the same alleles, and else by one chance in 2**64.
    numbers = splitmix64(np.arange(3 * m, dtype=np.uint64)).reshape(3, m)
    at = 0
    for s in samples.tolist():
        ploidy = int(phased.targets.ploidy.counts[s])
        own = slice(at, at + ploidy * phased.n_draws(s))
        at = own.stop
        if phased.n_draws(s) > 1:
            values = np.take_along_axis(numbers, alleles[own] + 1, axis=0)
            sums = np.concatenate([np.zeros((len(values), 1), dtype=np.uint64), values.cumsum(axis=1)], axis=1)
            around = sums[:, behind] - sums[:, before]
            for q in range(ploidy, len(around)):
                others = slice(ploidy) if q < ploidy * DRAWS_CORRECTED else slice(q)
                same = around[others] == around[q]
                alike[own.start + q] = own.start + np.where(same.any(axis=0), same.argmax(axis=0), q)
    return alike


def corrected_draws(phased: Phased, samples: I64Array) -> list[range]:
    """For each sample the draws that the model corrects, among all draws of the samples."""
    counts = [phased.n_draws(s) for s in samples.tolist()]
    starts = np.cumsum([0, *counts])
    return [range(int(start), int(start) + min(n, DRAWS_CORRECTED)) for start, n in zip(starts, counts, strict=False)]


def integrate(
    phased: Phased, samples: I64Array, copied: F32Array, corrected: Sequence[Corrected], cm: F64Array, start: int
) -> Integrated:
    """Means over the draws of some samples.

    The mean of what the model changes is that over a few draws, added to the mean of copying over all of them.

    Args:
        phased: Their phases.
        samples: The samples, as `queries_of` got them.
        copied: (Q, L) dosages of copying of all their draws' haplotypes.
        corrected: For each sample its first draws, as `corrected_draws` says; none without a model.
        cm: (V,) genetic positions.
        start: First site of the window.

    Raises:
        RangeError: Not so many queries as the samples have.
    """
    parts: list[Integrated] = []
    at = 0
    n_sites = copied.shape[1]
    for place, s in enumerate(samples.tolist()):
        n_queries = int(phased.targets.ploidy.counts[s]) * phased.n_draws(s)
        here = copied[at : at + n_queries]
        at += n_queries
        by_model = corrected[place] if corrected else None
        if phased.drawn[s] is None:
            known = here if by_model is None else by_model.corrected
            parts.append(Integrated(dosage=known, both=np.full((1, n_sites), np.nan, dtype=np.float32)))
            continue
        turned = _turned(phased, s, cm[start : start + n_sites], cm)
        mean = _mean(here, turned)
        if by_model is not None:
            mean = _plus(mean, _mean(by_model.corrected, turned), _mean(by_model.copied, turned))
        parts.append(mean)
    if at != len(copied):
        raise RangeError(f"{len(samples)} samples have {at} queries, got dosages of {len(copied)}")
    return Integrated.joined(parts)


def _mean(dosage: F32Array, turned: BoolArray) -> Integrated:
    """Of the first draws' haplotypes, put into the order of the consensus."""
    pairs = dosage.reshape(-1, 2, dosage.shape[1])
    ordered = np.where(turned[: len(pairs), None], pairs[:, ::-1], pairs)
    both = (pairs[:, 0] * pairs[:, 1]).mean(axis=0, keepdims=True)
    return Integrated(dosage=ordered.mean(axis=0).astype(np.float32), both=both.astype(np.float32))


def _plus(mean: Integrated, corrected: Integrated, copied: Integrated) -> Integrated:
    """The mean, changed by as much as the correction changed that of a few draws.

    Both carry ALT as often as the haplotypes' probabilities allow: not less than both must, nor more than either does.
    """
    dosage = np.clip(mean.dosage + (corrected.dosage - copied.dosage), 0, 1)
    least = np.maximum(0, dosage.sum(axis=0, keepdims=True) - 1)
    both = np.clip(mean.both + (corrected.both - copied.both), least, dosage.min(axis=0, keepdims=True))
    return Integrated(dosage=dosage, both=both)


def _turned(phased: Phased, sample: int, cm: F64Array, all_cm: F64Array) -> BoolArray:
    """(D, L) where a draw's haplotypes stand in the other order than the consensus's."""
    agreed = phased.consensus_of(sample)
    hets = heterozygotes(np.where((agreed < 0).any(axis=0), np.int8(-1), agreed.sum(axis=0)).astype(np.int8))
    draws = phased.draws_of(sample)[:, 0, hets]
    return turned_at(draws, agreed[0, hets], all_cm[phased.sites[hets]], cm)
