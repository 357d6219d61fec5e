"""The estimated r² of a site, INFO R2: what its dosages foretell of their squared correlation with the true genotypes.

Haplotype q carries ALT with probability p_q, about what its dosage says, and independently of the others. So the
alleles y_q that are true may be this or that, each outcome with its own r² over the cohort's S samples, and R2 is the
mean of r² over the outcomes in which the genotypes vary: where they do not, r² is not defined, and at a rare site
most outcomes are such. With d_s the dosage of sample s, g_s its genotype and c the deviation of d from its mean,

    cov(d, g) = Σ_q c_q y_q / S,    E cov² = ((Σ c p)² + Σ c² p (1 - p)) / S²,    r² = cov² / (var(d) var(g)).

Where many minor alleles are expected, var(g) hardly varies and its mean does: R2 = E cov² / (var(d) E var(g)). Where
they are few, var(g) is proportional to their number K, and 1 / K = ∫ u^(K - 1) du over [0, 1] gives

    E[cov² / K; K > 0] = ∫ G(u) E_u cov² du / u,    G(u) = E u^K = Π_q (1 - p_q + p_q u),

E_u being the mean under the odds p / (1 - p) times u. The integrand is nearly a polynomial of degree K - 1, hence a
few points of Gauss and Legendre are enough. Minimac's Rsq, var(p) / (mean(p) (1 - mean(p))), is the ratio of
variances without the second term of E cov²: too low where few haplotypes carry ALT.

Where some samples have one haplotype and some two, a lone one counts as two equal ones do, so that no share of the
variance is that of the sexes: its allele weighs w = 2 in g, and w² in K, with u^(w²) for u.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F64Array, FloatArray

# Jeffreys' prior of an allele, beside the reference's haplotypes: an imputed allele may be the other one though none of
# the haplotypes that it is copied from carries it. docs/decisions/estimated-r2.md compares
# it with other counts on panel samples.
PSEUDO_COUNT: Final = 0.5
# The r² of fewer samples is mostly chance, and of one there is none.
FEWEST_SAMPLES: Final = 20
MANY_ALLELES: Final = 20.0
# Of the integral over u in [0, 1].
_LEGENDRE, _LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(8)
NODES: Final[tuple[float, ...]] = tuple((_LEGENDRE / 2 + 0.5).tolist())
NODE_WEIGHTS: Final[tuple[float, ...]] = tuple((_LEGENDRE_WEIGHTS / 2).tolist())
_CONSTANT: Final = 1e-14


def allele_probabilities(
    dosage: FloatArray, known: BoolArray, n_reference: int, *, pseudo_count: float = PSEUDO_COUNT
) -> F64Array:
    """(Q, L) probabilities of ALT: known alleles as they are, imputed dosages with more counts of each allele.

    Args:
        dosage: (Q, L) haplotype dosages, known alleles as 0 and 1.
        known: (Q, L) which of them are known.
        n_reference: Haplotypes of the reference panel.
        pseudo_count: Counts of each allele beside them.

    Raises:
        ShapeError: No haplotype, or the shapes differ.
    """
    if dosage.ndim != 2 or not len(dosage) or dosage.shape != known.shape:
        raise ShapeError(f"dosages of haplotypes are (Q, L), got {dosage.shape} and known {known.shape}")
    p = np.clip(dosage.astype(np.float64), 0.0, 1.0)
    return np.where(known, p, (n_reference * p + pseudo_count) / (n_reference + 2 * pseudo_count))


def expected_r2(dosage: FloatArray, probability: F64Array, ploidy: Ploidy | None = None) -> F64Array:
    """(L,) mean r² of dosage and true genotype over the outcomes in which the genotypes vary.

    Neither the order of the samples nor which allele is ALT matters. 1 where all alleles are known and vary, 0 where
    the dosages do not vary.

    Args:
        dosage: (Q, L) haplotype dosages.
        probability: (Q, L) probabilities of ALT, `allele_probabilities`.
        ploidy: Which haplotypes are one sample; each two in turn unless given.

    Raises:
        ShapeError: The dosages are not those of as many haplotypes.
    """
    ploidy = Ploidy.of_rows(len(dosage), ploidy)
    weight = _weights(ploidy)
    genotype = ploidy.sums(weight * np.clip(dosage.astype(np.float64), 0.0, 1.0))
    n = len(genotype)
    deviation = weight * (genotype - genotype.mean(axis=0))[ploidy.sample_of]
    # Either allele may be counted; the minor one is the rarer.
    p = np.where(probability.mean(axis=0) > 0.5, 1 - probability, probability)
    mean = ploidy.sums(weight * p)
    genotype_variance = mean.var(axis=0) + (weight**2 * p * (1 - p)).sum(axis=0) * ((n - 1) / n**2)
    covariance2 = _covariance2(deviation, p)
    minor = (weight**2 * p).sum(axis=0)
    few = (minor < MANY_ALLELES) & (minor > 0)
    covariance2[few] = minor[few] * _covariance2_per_minor(deviation[:, few], p[:, few], weight)
    product = genotype.var(axis=0) * genotype_variance * n**2
    r2 = np.divide(covariance2, product, out=np.zeros_like(product), where=genotype.var(axis=0) > _CONSTANT)
    return np.asarray(np.clip(r2, 0.0, 1.0), dtype=np.float64)


def _weights(ploidy: Ploidy) -> F64Array:
    """(H, 1) what an allele counts for in its sample's genotype: 1, where ploidy differs 2 for a lone one."""
    same = bool((ploidy.counts == ploidy.counts[0]).all())
    of_samples = np.ones(ploidy.n_samples) if same else 2.0 / ploidy.counts
    return np.asarray(of_samples[ploidy.sample_of, None], dtype=np.float64)


def _covariance2(deviation: F64Array, p: F64Array) -> F64Array:
    """(L,) mean of (Σ c y)²."""
    weighted = deviation * p
    return np.asarray(weighted.sum(axis=0) ** 2 + (deviation * weighted * (1 - p)).sum(axis=0), dtype=np.float64)


def _covariance2_per_minor(deviation: F64Array, p: F64Array, allele_weight: F64Array) -> F64Array:
    """(L,) mean of (Σ c y)² / K over the outcomes with minor alleles, K their squared weights together."""
    total = np.zeros(p.shape[1])
    for node, weight in zip(NODES, NODE_WEIGHTS, strict=True):
        minor = p * node**allele_weight**2
        factor = 1 - p + minor
        total += weight / node * factor.prod(axis=0) * _covariance2(deviation, minor / factor)
    return np.asarray(total / (1 - (1 - p).prod(axis=0)), dtype=np.float64)


def explained_share(probability: F64Array, frequency: F64Array) -> F64Array:
    """(L,) share of the expected squared deviation from the reference frequency that the dosages explain.

    What stands for r² where samples are few: Σ (p - f)² / Σ ((p - f)² + p (1 - p)); 0 where both sums are.

    Args:
        probability: (Q, L) probabilities of ALT, `allele_probabilities`.
        frequency: (L,) ALT frequency of the reference.
    """
    explained = ((probability - frequency) ** 2).sum(axis=0)
    total = explained + (probability * (1 - probability)).sum(axis=0)
    share = np.divide(explained, total, out=np.zeros_like(total), where=total > _CONSTANT)
    return np.asarray(share, dtype=np.float64)
