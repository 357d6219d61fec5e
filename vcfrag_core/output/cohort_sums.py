"""AF and R2 of a site from sums over the cohort that are whole numbers.

Whole numbers add up to the same whatever the order, so batches of samples may be imputed apart, and what is written of
the cohort follows from the sum of their sums, bit for bit. The formulas are those of `info_r2`, in which dosages are on
a grid of 2^-24, and every other summand on one of 2^-36. Per haplotype with probability p, weight w (2 for a lone
haplotype among pairs, else 1) and its sample's genotype g = Σ w d, the deviation w (g - mean g) is never formed:

    Σ c p = Σ w g p - mean(g) Σ w p,    Σ c² p (1 - p) = Σ w² g² p (1 - p) - 2 mean(g) Σ w² g p (1 - p) + ...

Sites with few minor alleles need the same at the nodes of the integral over u, with p u / (1 - p + p u) for p, and the
product of 1 - p + p u as the sum of logarithms. Which allele is the minor one is told by the whole cohort; so both are
kept where either may be it.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.output.grid import FINE, FIRST_COVARIANCE, GRID, LOW_BITS, N_BASE, N_COVARIANCE
from vcfrag_core.output.info_r2 import FEWEST_SAMPLES, MANY_ALLELES, NODE_WEIGHTS, NODES, PSEUDO_COUNT
from vcfrag_core.panel.panel import Panel, frequency_at
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F64Array, FloatArray, I64Array

# Of more the largest sums might not fit into 64 bits.
_MOST_HAPLOTYPES: Final = 2**22
_CONSTANT: Final = 1e-14

# Columns of `base`; then the five sums that tell E cov² of p itself.
_AF_SUM, _P, _W2P, _G, _G2_HIGH, _G2_LOW, _MEAN2, _SHARE, _TOTAL = range(FIRST_COVARIANCE)
N_FEW: Final = 1 + len(NODES) * (1 + N_COVARIANCE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CohortSums:
    """Sums over samples at L sites; those of disjoint batches add up.

    Attributes:
        n_samples: S.
        n_haplotypes: H.
        weight2: Σ w² over the haplotypes.
        base: (L, 14) sums that every site has.
        few: (L, 2, 49) those of sites with few ALT, or few REF alleles; 0 where there are many.
    """

    n_samples: int
    n_haplotypes: int
    weight2: int
    base: I64Array
    few: I64Array

    def __post_init__(self) -> None:
        n = len(self.base)
        if self.base.shape != (n, N_BASE) or self.few.shape != (n, 2, N_FEW):
            raise ShapeError(f"sums of {n} sites: base {self.base.shape}, few {self.few.shape}")
        if self.n_haplotypes > _MOST_HAPLOTYPES:
            raise RangeError(f"at most {_MOST_HAPLOTYPES} haplotypes can be summed up, got {self.n_haplotypes}")

    def __add__(self, other: CohortSums) -> CohortSums:
        return CohortSums(
            n_samples=self.n_samples + other.n_samples,
            n_haplotypes=self.n_haplotypes + other.n_haplotypes,
            weight2=self.weight2 + other.weight2,
            base=self.base + other.base,
            few=self.few + other.few,
        )

    def af(self) -> F64Array:
        """(L,) frequency of ALT."""
        return np.asarray(self.base[:, _AF_SUM] / (FINE * self.n_haplotypes), dtype=np.float64)

    def r2(self) -> F64Array:
        """(L,) what is written as INFO R2: `info_r2.estimated_r2`."""
        if self.n_samples < FEWEST_SAMPLES:
            return _share(self.base[:, _SHARE] / FINE, self.base[:, _TOTAL] / FINE)
        n = self.n_samples
        mean, variance = self._genotype()
        of_p = self.base[:, FIRST_COVARIANCE:] / FINE
        means = of_p[:, 1]
        inner = of_p[:, 2]
        genotype_variance = self.base[:, _MEAN2] / FINE / n - (means / n) ** 2 + inner * ((n - 1) / n**2)
        covariance2 = _covariance2(of_p, mean)
        swapped = self.base[:, _P] > 0.5 * FINE * self.n_haplotypes
        alt = self.base[:, _W2P] / FINE
        minor = np.where(swapped, self.weight2 - alt, alt)
        few = np.flatnonzero((minor < MANY_ALLELES) & (minor > 0))
        rows = self.few[few, swapped[few].astype(np.int64)] / FINE
        covariance2[few] = minor[few] * _covariance2_per_minor(rows, mean[few])
        product = variance * genotype_variance * n**2
        r2 = np.divide(covariance2, product, out=np.zeros_like(product), where=variance > _CONSTANT)
        return np.asarray(np.clip(r2, 0.0, 1.0), dtype=np.float64)

    def _genotype(self) -> tuple[F64Array, F64Array]:
        """(L,) mean and variance of the samples' dosages, exactly those of the grid up to one rounding each."""
        n = self.n_samples
        total = self.base[:, _G].tolist()
        square = (self.base[:, _G2_HIGH].astype(object) << LOW_BITS) + self.base[:, _G2_LOW]
        spread = [n * two - one * one for one, two in zip(total, square.tolist(), strict=True)]
        scale = n * n * GRID * GRID
        return np.array(total) / (GRID * n), np.array([float(value) for value in spread]) / scale


def cohort_sums(
    dosage: FloatArray,
    known: BoolArray,
    frequency: F64Array,
    n_reference: int,
    ploidy: Ploidy,
    *,
    mixed: bool | None = None,
) -> CohortSums:
    """The sums of a batch of samples.

    Args:
        dosage: (Q, L) haplotype dosages, known alleles as 0 and 1.
        known: (Q, L) which of them are known.
        frequency: (L,) ALT frequency of the reference.
        n_reference: Haplotypes of the reference panel.
        ploidy: Which haplotypes are one sample.
        mixed: Whether some samples of the whole cohort have one haplotype and some two; told by the batch unless given.

    Raises:
        ShapeError: No haplotype, or the shapes differ.
    """
    if dosage.ndim != 2 or not len(dosage) or dosage.shape != known.shape or len(dosage) != ploidy.n_haplotypes:
        raise ShapeError(f"dosages of haplotypes are (Q, L), got {dosage.shape} and known {known.shape}")
    from vcfrag_core.output.kernels import add_up

    if mixed is None:
        mixed = bool((ploidy.counts != ploidy.counts[0]).any())
    weights = 2.0 / ploidy.counts if mixed else np.ones(ploidy.n_samples)
    n_sites = dosage.shape[1]
    base = np.zeros((n_sites, N_BASE), dtype=np.int64)
    few = np.zeros((n_sites, 2, N_FEW), dtype=np.int64)
    add_up(
        np.ascontiguousarray(dosage.T, dtype=np.float32),
        np.ascontiguousarray(known.T),
        np.asarray(frequency, dtype=np.float64),
        float(n_reference),
        PSEUDO_COUNT,
        ploidy.starts,
        weights,
        np.array(NODES),
        # A site's batch may have fewer than its cohort.
        MANY_ALLELES + 1,
        base,
        few,
    )
    return CohortSums(
        n_samples=ploidy.n_samples,
        n_haplotypes=ploidy.n_haplotypes,
        weight2=round(float((weights**2 * ploidy.counts).sum())),
        base=base,
        few=few,
    )


def _covariance2(sums: F64Array, mean: F64Array) -> F64Array:
    """(L,) mean of (Σ c y)² from its five sums."""
    linear = sums[:, 0] - mean * sums[:, 1]
    spread = sums[:, 4] - 2 * mean * sums[:, 3] + mean**2 * sums[:, 2]
    return np.asarray(linear**2 + spread, dtype=np.float64)


def _covariance2_per_minor(rows: F64Array, mean: F64Array) -> F64Array:
    """(L,) mean of (Σ c y)² / K over the outcomes with minor alleles."""
    total = np.zeros(len(rows))
    for number, (node, weight) in enumerate(zip(NODES, NODE_WEIGHTS, strict=True)):
        first = 1 + number * (1 + N_COVARIANCE)
        product = np.exp(rows[:, first])
        total += weight / node * product * _covariance2(rows[:, first + 1 : first + 1 + N_COVARIANCE], mean)
    return np.asarray(total / -np.expm1(rows[:, 0]), dtype=np.float64)


def _share(explained: F64Array, total: F64Array) -> F64Array:
    share = np.divide(explained, total, out=np.zeros_like(total), where=total > _CONSTANT)
    return np.asarray(share, dtype=np.float64)


def estimated_r2(
    panel: Panel, sites: I64Array, dosage: FloatArray, known: BoolArray, ploidy: Ploidy | None = None
) -> F64Array:
    """(L,) what is written as INFO R2: `expected_r2`, for fewer than FEWEST_SAMPLES samples `explained_share`.

    Args:
        panel: The reference panel.
        sites: (L,) panel sites.
        dosage: (Q, L) haplotype dosages, known alleles as 0 and 1.
        known: (Q, L) which of them are known.
        ploidy: Which haplotypes are one sample; each two in turn unless given.

    Raises:
        ShapeError: No sample, or the shapes do not fit.
    """
    return sums_at(panel, sites, dosage, known, Ploidy.of_rows(len(dosage), ploidy)).r2()


def sums_at(
    panel: Panel, sites: I64Array, dosage: FloatArray, known: BoolArray, ploidy: Ploidy, *, mixed: bool | None = None
) -> CohortSums:
    """`cohort_sums` at panel sites."""
    return cohort_sums(dosage, known, frequency_at(panel, sites), panel.n_haplotypes, ploidy, mixed=mixed)
