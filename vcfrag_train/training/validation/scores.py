"""Aggregate dosage r² by MAF bin from sums over batches, the same however the batches were spread over processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.scoring.accuracy import BIN_NAMES, MAF_EDGES, N_BINS, maf_bin, squared_correlation
from vcfrag_core.types import BoolArray, F64Array, FloatArray, IntArray

GROUP_BINS: Final[Mapping[str, tuple[int, ...]]] = {
    "all": tuple(range(N_BINS)),
    "rare": tuple(b for b in range(N_BINS) if MAF_EDGES[b + 1] <= 0.01),
    "common": tuple(b for b in range(N_BINS) if MAF_EDGES[b + 1] > 0.01),
    **{name: (b,) for b, name in enumerate(BIN_NAMES)},
}
_N_SUMS: Final = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Sums:
    """(bins, 6) sums of 1, x, y, xx, yy, xy: imputed and true ALT copies x and y, centred on the frequency."""

    values: F64Array

    @classmethod
    def zero(cls) -> Sums:
        return cls(np.zeros((N_BINS, _N_SUMS)))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values)

    def r2(self, group: str) -> float:
        """Aggregate r² of one of `GROUP_BINS`; NaN where either side is constant."""
        total = self.values[list(GROUP_BINS[group])].sum(axis=0)
        return float(squared_correlation(*total[:, None])[0])


def batch_sums(
    dosage: FloatArray, truth: IntArray, hidden: BoolArray, frequency: FloatArray, ploidy: Ploidy | None = None
) -> Sums:
    """The sums of one batch over its hidden sites; sites at which the reference does not vary count nowhere.

    Args:
        dosage: (Q, L) imputed ALT dosage of each haplotype.
        truth: (Q, L) true alleles.
        hidden: (L,) sites that count.
        frequency: (L,) reference frequency of ALT.
        ploidy: Which haplotypes are one sample; each two in turn unless given. A lone one counts as two equal ones.
    """
    bins, ploidy = maf_bin(frequency), Ploidy.of_rows(len(dosage), ploidy)
    counted = hidden & (bins >= 0)
    centre = 2 * frequency[counted].astype(np.float64)
    x = ploidy.copies(dosage[:, counted].astype(np.float64)) - centre
    y = ploidy.copies(truth[:, counted].astype(np.float64)) - centre
    moments = np.stack([np.ones_like(y), x, y, x * x, y * y, x * y], axis=-1).sum(axis=0)
    values = np.zeros((N_BINS, _N_SUMS))
    np.add.at(values, bins[counted], moments)
    return Sums(values)


def in_order(parts: Iterable[tuple[int, Sums]]) -> Sums:
    """The total, added in the order of the batches' numbers: floating sums are then the same in every process."""
    total = Sums.zero()
    for _, sums in sorted(parts, key=lambda part: part[0]):
        total = total + sums
    return total
