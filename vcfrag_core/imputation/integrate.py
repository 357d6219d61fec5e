"""Means over drawn phases: dosages of haplotypes in consensus order, and how often both carry ALT."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from vcfrag_core.errors import RangeError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.phasing.consensus import heterozygotes, turned_at
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.retrieval.queries import External
from vcfrag_core.types import F32Array, F64Array, I8Array, I64Array

QUERIES_AT_ONCE = 64


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


def batches(phased: Phased) -> Iterator[I64Array]:
    """Samples whose draws are imputed together, a few at a time and in order."""
    some: list[int] = []
    n_queries = 0
    for sample, ploidy in enumerate(phased.targets.ploidy.counts.tolist()):
        own = ploidy * phased.n_draws(sample)
        if some and n_queries + own > QUERIES_AT_ONCE:
            yield np.array(some)
            some, n_queries = [], 0
        some.append(sample)
        n_queries += own
    if some:
        yield np.array(some)


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


def integrate(phased: Phased, samples: I64Array, dosage: F32Array, cm: F64Array, start: int) -> Integrated:
    """Means over the draws of some samples.

    Args:
        phased: Their phases.
        samples: The samples, as `queries_of` got them.
        dosage: (Q, L) dosages of all their draws' haplotypes.
        cm: (V,) genetic positions.
        start: First site of the window.

    Raises:
        RangeError: Not so many queries as the samples have.
    """
    parts, both = [], []
    at = 0
    n_sites = dosage.shape[1]
    for s in samples.tolist():
        ploidy, n_draws = int(phased.targets.ploidy.counts[s]), phased.n_draws(s)
        here = dosage[at : at + ploidy * n_draws]
        at += ploidy * n_draws
        if phased.drawn[s] is None:
            parts.append(here)
            both.append(np.full(n_sites, np.nan, dtype=np.float32))
            continue
        pairs = here.reshape(n_draws, 2, n_sites)
        turned = _turned(phased, s, cm[start : start + n_sites], cm)
        parts.append(np.where(turned[:, None], pairs[:, ::-1], pairs).mean(axis=0))
        both.append((pairs[:, 0] * pairs[:, 1]).mean(axis=0))
    if at != len(dosage):
        raise RangeError(f"{len(samples)} samples have {at} queries, got dosages of {len(dosage)}")
    return Integrated(dosage=np.concatenate(parts).astype(np.float32), both=np.stack(both).astype(np.float32))


def _turned(phased: Phased, sample: int, cm: F64Array, all_cm: F64Array) -> np.ndarray:
    """(D, L) where a draw's haplotypes stand in the other order than the consensus's."""
    agreed = phased.consensus_of(sample)
    hets = heterozygotes(np.where((agreed < 0).any(axis=0), np.int8(-1), agreed.sum(axis=0)).astype(np.int8))
    draws = phased.draws_of(sample)[:, 0, hets]
    return turned_at(draws, agreed[0, hets], all_cm[phased.sites[hets]], cm)
