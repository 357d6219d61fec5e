"""How well copying imputed hidden alleles whose truth is known: the objective of calibration, with its intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final, Self

import numpy as np

from vcfrag_core.errors import RangeError, ShapeError
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.scoring import accuracy
from vcfrag_core.scoring.bootstrap import (
    Interval,
    Scored,
    bootstrap_weights,
    interval,
    pooled_metrics,
    sample_sums,
    weighted,
)
from vcfrag_core.types import F64Array, FloatArray, U8Array

# Bins of MAF above 0.1 %: below, a panel of thousands holds too few copies to say anything of parameters.
SCORED_BINS: Final = tuple(range(1, accuracy.N_BINS))
# Copying is often certain and sometimes wrong: as the untrained model, the log-loss believes it to 1 - 1e-4 only.
DOUBT: Final = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyingScore:
    """Sums over hidden sites, per sample, from which scores and their resamples follow.

    Attributes:
        sums: (N_BINS, S, N_SUMS) sums of the pooled metrics per MAF bin.
        log_loss: (S,) summed -log of the probability given to each hidden allele, in nats.
        n_alleles: Hidden alleles of each sample.
    """

    sums: F64Array
    log_loss: F64Array
    n_alleles: int

    @classmethod
    def of(cls, dosage: FloatArray, truth: U8Array, frequency: F64Array, ploidy: Ploidy | None = None) -> Self:
        """The score of (Q, L) haplotype dosages against (Q, L) true alleles at hidden sites of (L,) frequencies.

        Each two rows in turn are a sample unless `ploidy` is given; a lone haplotype counts as two equal ones.

        Raises:
            ShapeError: The arrays do not fit each other.
        """
        if dosage.shape != truth.shape or dosage.shape[1:] != frequency.shape:
            raise ShapeError(f"dosage {dosage.shape}, truth {truth.shape}, frequency {frequency.shape}")
        ploidy = Ploidy.of_rows(len(dosage), ploidy)
        copies = ploidy.copies(dosage).T
        scored = Scored(
            dosage=copies,
            calls=accuracy.best_guess(copies),
            posterior=None,
            truth=ploidy.copies(truth).T.astype(np.int8),
            frequency=frequency,
        )
        p = (1 - DOUBT) * dosage.astype(np.float64) + DOUBT * frequency
        surprise = -np.log(np.clip(np.where(truth == 1, p, 1 - p), 1e-7, 1)).sum(axis=1)
        return cls(
            sums=sample_sums(scored, accuracy.maf_bin(frequency), accuracy.N_BINS),
            log_loss=ploidy.copies(surprise),
            n_alleles=2 * dosage.shape[1],
        )

    @classmethod
    def total(cls, parts: Iterable[CopyingScore]) -> CopyingScore:
        """The score of several windows together."""
        every = list(parts)
        return CopyingScore(
            sums=np.sum([part.sums for part in every], axis=0),
            log_loss=np.sum([part.log_loss for part in every], axis=0),
            n_alleles=sum(part.n_alleles for part in every),
        )

    @property
    def n_samples(self) -> int:
        return len(self.log_loss)

    def errors(self, weights: F64Array | None = None) -> F64Array:
        """(R, N_BINS) 1 - aggregate r² under each row of (R, S) weights; NaN where the truth of a bin is constant."""
        rows = np.ones((1, self.n_samples)) if weights is None else weights
        return np.asarray(1 - pooled_metrics(weighted(self.sums, rows))["aggregate_r2"])

    def loss(self, weights: F64Array | None = None) -> F64Array:
        """(R,) the objective: mean error over the bins with MAF above 0.1 %.

        Raises:
            RangeError: No hidden site has such a frequency and varies among the samples.
        """
        errors = self.errors(weights)[:, SCORED_BINS]
        if not bool(np.isfinite(errors[0]).any()):
            raise RangeError("no hidden site with MAF above 0.1 % varies among the samples: nothing can be scored")
        counted = np.isfinite(errors[0])
        return np.asarray(errors[:, counted].mean(axis=1), dtype=np.float64)

    def mean_log_loss(self, weights: F64Array | None = None) -> F64Array:
        """(R,) nats per hidden allele."""
        rows = np.ones((1, self.n_samples)) if weights is None else weights
        return np.asarray(rows @ self.log_loss / (rows.sum(axis=1) * self.n_alleles), dtype=np.float64)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A figure before and after, and the difference after - before with its paired interval."""

    before: float
    after: float
    difference: Interval


def changes(before: CopyingScore, after: CopyingScore, *, resamples: int = 1000, seed: int = 1) -> dict[str, Change]:
    """By name: `mean_error`, `log_loss` and the error of every MAF bin, such as `error_maf_1_to_5_permille`."""
    weights = bootstrap_weights(before.n_samples, resamples, seed)
    pairs: list[tuple[str, F64Array, F64Array]] = [
        ("mean_error", before.loss(weights), after.loss(weights)),
        ("log_loss", before.mean_log_loss(weights), after.mean_log_loss(weights)),
    ]
    old, new = before.errors(weights), after.errors(weights)
    pairs += [(_bin_name(b), old[:, b], new[:, b]) for b in range(accuracy.N_BINS)]
    return {
        name: Change(before=float(x[0]), after=float(y[0]), difference=interval(y - x))
        for name, x, y in pairs
        if np.isfinite(x[0]) and np.isfinite(y[0])
    }


def _bin_name(b: int) -> str:
    low, high = (round(1000 * edge) for edge in accuracy.MAF_EDGES[b : b + 2])
    return f"error_maf_{low}_to_{high}_permille"
