"""What imputation without a model is worth: ablations that are computed here, from exact mismatch counts.

`constant` gives everyone the reference frequency. The others cut the panel into windows of consecutive sites and
average the alleles of k reference haplotypes: the nearest over the window's typed sites (`1-nn`, `k-nn`), or random
ones. Equally near haplotypes are ordered by a keyed hash of their content, never by their place in the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.files.dosages import ImputedGenotypes
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.scoring import accuracy
from vcfrag_core.types import F32Array, F64Array, I8Array, I64Array, IntArray, U8Array

SITES_PER_WINDOW: Final = 511
NEIGHBOURS: Final = 16
_QUERIES_AT_ONCE: Final = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A way to impute without a model.

    Attributes:
        name: Its label.
        k: Reference haplotypes that are averaged; 0: all of them, the reference frequency.
        random: Whether they are drawn instead of searched.
        sites_per_window: Panel sites of a window.
    """

    name: str
    k: int
    random: bool = False
    sites_per_window: int = SITES_PER_WINDOW

    def __post_init__(self) -> None:
        if self.k < 0 or self.sites_per_window < 1:
            raise ConfigError(f"{self.name}: k must be >= 0 and sites_per_window >= 1")


BASELINES: Final = (
    Baseline(name="constant", k=0),
    Baseline(name="whole-window 1-NN", k=1),
    Baseline(name=f"{NEIGHBOURS}-NN vote", k=NEIGHBOURS),
    Baseline(name=f"{NEIGHBOURS} random", k=NEIGHBOURS, random=True),
)


def impute_baseline(
    baseline: Baseline, reference: Panel, alleles: I8Array, wanted: IntArray, *, seed: int = 1
) -> ImputedGenotypes:
    """Imputes diploid targets by a baseline.

    Args:
        baseline: Which.
        reference: The panel without the targets.
        alleles: (V, S, 2) target alleles at all panel sites; -1 where not typed or missing.
        wanted: (n,) ascending panel sites to return.
        seed: Of random neighbours.

    Returns:
        Dosages and probabilities at the wanted sites.

    Raises:
        ShapeError: The alleles are not those of the panel's sites.
    """
    if alleles.ndim != 3 or alleles.shape[0] != reference.n_sites or alleles.shape[2] != 2:
        raise ShapeError(f"alleles of shape {alleles.shape}, the panel has {reference.n_sites} sites")
    v, s, _ = alleles.shape
    if baseline.k == 0:
        haplotype = np.repeat(reference.alt_frequency()[wanted][:, None], 2 * s, axis=1)
    else:
        queries = alleles.reshape(v, 2 * s).T
        haplotype = np.concatenate(list(_windows(baseline, reference, queries, wanted, seed)), axis=0)
    pairs = haplotype.reshape(len(wanted), s, 2)
    return ImputedGenotypes(
        found=np.ones(len(wanted), dtype=np.bool_),
        typed=np.zeros(len(wanted), dtype=np.bool_),
        dosage=pairs.sum(axis=2).astype(np.float32),
        posterior=accuracy.posterior_of_haplotypes(pairs).astype(np.float32),
        estimated_r2=np.full(len(wanted), np.nan),
        field="none",
    )


def _windows(baseline: Baseline, reference: Panel, queries: I8Array, wanted: IntArray, seed: int) -> Iterator[F64Array]:
    """Per window, (sites wanted there, Q) haplotype dosages."""
    choose = _random_chooser(baseline, reference, seed) if baseline.random else _nearest_chooser(baseline, reference)
    for start in range(0, reference.n_sites, baseline.sites_per_window):
        stop = min(start + baseline.sites_per_window, reference.n_sites)
        here = wanted[(wanted >= start) & (wanted < stop)] - start
        if not here.size:
            continue
        panel_alleles = reference.haplotypes(start=start, stop=stop)
        chosen = choose(queries[:, start:stop], panel_alleles)
        copied = panel_alleles[:, here]
        sums = np.zeros((len(queries), len(here)))
        for column in chosen.T:
            sums += copied[column]
        yield sums.T / chosen.shape[1]


_Chooser = Callable[[I8Array, U8Array], I64Array]


def _nearest_chooser(baseline: Baseline, reference: Panel) -> _Chooser:
    rank = np.argsort(np.argsort(haplotype_keys(reference), kind="stable")).astype(np.int64)

    def choose(queries: I8Array, panel_alleles: U8Array) -> I64Array:
        return nearest_references(queries, panel_alleles, rank, baseline.k)

    return choose


def _random_chooser(baseline: Baseline, reference: Panel, seed: int) -> _Chooser:
    generator = np.random.Generator(np.random.Philox(seed))

    def choose(queries: I8Array, panel_alleles: U8Array) -> I64Array:
        return generator.integers(len(panel_alleles), size=(len(queries), baseline.k))

    return choose


def nearest_references(queries: I8Array, references: U8Array, rank: I64Array, k: int) -> I64Array:
    """(Q, min(k, H)) references with the fewest mismatches at each query's called sites, nearest first.

    Args:
        queries: (Q, L) alleles, -1 where there is none.
        references: (H, L) alleles.
        rank: (H,) order among equally near references, a permutation.
        k: How many.
    """
    k = min(k, len(references))
    found = np.empty((len(queries), k), dtype=np.int64)
    for begin in range(0, len(queries), _QUERIES_AT_ONCE):
        block = slice(begin, begin + _QUERIES_AT_ONCE)
        order = mismatch_counts(queries[block], references) * len(references) + rank
        first = np.argpartition(order, k - 1, axis=1)[:, :k]
        found[block] = np.take_along_axis(first, np.take_along_axis(order, first, axis=1).argsort(axis=1), axis=1)
    return found


def mismatch_counts(queries: I8Array, references: U8Array) -> I64Array:
    """(Q, H) sites at which a query has a call and the reference has another allele; exact."""
    typed = (queries >= 0).any(axis=0)
    alt: F32Array = references[:, typed].astype(np.float32)
    has_alt = (queries[:, typed] == 1).astype(np.float32)
    has_ref = (queries[:, typed] == 0).astype(np.float32)
    # Sums of at most 2**24 ones are exact in float32.
    return np.asarray(np.rint(has_alt @ (1 - alt).T + has_ref @ alt.T), dtype=np.int64)
