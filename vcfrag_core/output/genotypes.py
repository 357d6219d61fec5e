"""From haplotype dosages to what a genotype file says: GT, DS, HDS, GP, and the leave-one-out r² of a site.

Everything that is written follows from haplotype dosages rounded to thousandths, by integer arithmetic, so that the
columns agree with each other exactly: DS is the sum of HDS, GP sums to 1, GT has the largest GP.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from vcfrag_core.errors import NotFiniteError, RangeError, ShapeError
from vcfrag_core.types import BoolArray, F64Array, FloatArray, I8Array, I16Array, I64Array, IntArray

ONE = 1000
# How far float32 rounding may take a dosage beyond 0 or 1.
MOST_BEYOND = 1e-4
# Stands where the second haplotype's dosage would, for a sample that has but one.
NONE = -1


# Pairs of dosages in thousandths, and lone ones.
N_PAIRS = (ONE + 1) ** 2 + ONE + 1


@dataclasses.dataclass(frozen=True, slots=True)
class GenotypeColumns:
    """The columns of n genotypes, dosages and probabilities in thousandths.

    Attributes:
        gt: (n, 2) phased alleles of the most likely genotype.
        ds: (n,) ALT copies, the sum of both haplotypes.
        gp: (n, 3) probabilities of 0, 1 and 2 ALT copies; each row sums to 1000.

    Of a sample with one haplotype, the second allele and the third probability are NONE.
    """

    gt: I8Array
    ds: I16Array
    gp: I16Array


def thousandths(dosage: FloatArray) -> I16Array:
    """Haplotype dosages in [0, 1] rounded to thousandths, halves to even.

    Raises:
        NotFiniteError: A dosage is not a number.
        RangeError: A dosage is outside [0, 1] by more than float32 rounding explains.
    """
    if dosage.size and not bool(np.isfinite(dosage).all()):
        raise NotFiniteError("an imputed dosage is not a finite number")
    if dosage.size and (float(dosage.min()) < -MOST_BEYOND or float(dosage.max()) > 1 + MOST_BEYOND):
        raise RangeError(f"imputed dosages must lie in [0, 1], got {float(dosage.min())} to {float(dosage.max())}")
    return np.asarray(np.clip(np.rint(dosage * np.float32(ONE)), 0, ONE), dtype=np.int16)


def genotype_columns(
    first: IntArray, second: IntArray, both: IntArray | None = None, *, lone_ds: int = 1
) -> GenotypeColumns:
    """The columns of n genotypes from the dosages of their two haplotypes, in thousandths; of one where second is NONE.

    The DS of one haplotype is `lone_ds` times its dosage.

    The haplotypes are independent given the data, unless `both` says with which probability both carry ALT, in
    thousandths; where it is NONE they are. Among equally likely genotypes the one with fewer ALT copies is chosen; a
    heterozygote carries ALT on the haplotype with the larger dosage, the first on a tie.
    """
    if both is not None:
        return _with_both(first, second, both, lone_ds)
    lone = second == NONE
    # As if the second were sure to be REF, so that what follows is right of the first.
    a, b = first.astype(np.int64), np.where(lone, 0, second).astype(np.int64)
    millionths = np.stack(((ONE - a) * (ONE - b), a * (ONE - b) + b * (ONE - a), a * b), axis=-1)
    gt = _calls(millionths.argmax(axis=-1), a >= b)
    gp = _rounded_to_one(millionths)
    gt[lone, 1] = gp[lone, 2] = NONE
    return GenotypeColumns(gt, np.where(lone, lone_ds * a, a + b).astype(np.int16), gp)


def _with_both(first: IntArray, second: IntArray, both: IntArray, lone_ds: int) -> GenotypeColumns:
    """The columns where the haplotypes depend on each other, as `genotype_columns` makes them where not."""
    made = genotype_columns(first, second, lone_ds=lone_ds)
    dependent = both != NONE
    a, b, c = (values[dependent].astype(np.int64) for values in (first, second, both))
    gp = np.stack((ONE - a - b + c, a + b - 2 * c, c), axis=-1)
    made.gp[dependent] = gp
    made.gt[dependent] = _calls(gp.argmax(axis=-1), a >= b)
    return made


def _calls(copies: I64Array, on_first: BoolArray) -> I8Array:
    """(..., 2) alleles of genotypes with so many ALT copies; a heterozygote's is on the first haplotype or not."""
    het = copies == 1
    return np.stack(((copies == 2) | (het & on_first), (copies == 2) | (het & ~on_first)), axis=-1).astype(np.int8)


def possible_both(first: IntArray, second: IntArray, both: IntArray) -> IntArray:
    """`both` within what two dosages allow, all in thousandths; NONE stays."""
    bounded = np.clip(both, np.maximum(0, first + second - ONE), np.minimum(first, second))
    return np.where(both == NONE, NONE, bounded)


class ColumnTable:
    """`genotype_columns` by look-up: every pair of dosages is worked out once, when it first occurs (20 MB)."""

    def __init__(self, *, lone_ds: int = 1) -> None:
        n = N_PAIRS
        self._lone_ds = lone_ds
        self._known = np.zeros(n, dtype=np.bool_)
        self._gt = np.empty((n, 2), dtype=np.int8)
        self._ds = np.empty(n, dtype=np.int16)
        self._gp = np.empty((n, 3), dtype=np.int16)

    def columns(self, first: IntArray, second: IntArray, both: IntArray | None = None) -> GenotypeColumns:
        """`genotype_columns` of arrays of any shape; the columns' own axes come last."""
        if both is not None:
            return self._dependent(first, second, both)
        keys = pair_key(first, second)
        new = np.unique(keys[~self._known[keys]])
        if len(new):
            made = genotype_columns(*pair_of(new), lone_ds=self._lone_ds)
            self._gt[new], self._ds[new], self._gp[new] = made.gt, made.ds, made.gp
            self._known[new] = True
        return GenotypeColumns(self._gt[keys], self._ds[keys], self._gp[keys])

    def _dependent(self, first: IntArray, second: IntArray, both: IntArray) -> GenotypeColumns:
        made = self.columns(first, second)
        dependent = both != NONE
        other = genotype_columns(first[dependent], second[dependent], both[dependent])
        made.gt[dependent], made.gp[dependent] = other.gt, other.gp
        return made


def pair_key(first: IntArray, second: IntArray) -> I64Array:
    """One number below N_PAIRS for two dosages in thousandths, or for one where second is NONE."""
    wide = first.astype(np.int64)
    return np.where(second == NONE, wide + (ONE + 1) ** 2, wide * (ONE + 1) + second)


def pair_of(keys: I64Array) -> tuple[I64Array, I64Array]:
    """The dosages that `pair_key` made one number of."""
    first, second = np.divmod(keys, ONE + 1)
    lone = keys >= (ONE + 1) ** 2
    return np.where(lone, second, first), np.where(lone, NONE, second)


def _rounded_to_one(millionths: IntArray) -> I16Array:
    """(n, 3) shares of a million to thousandths that sum to 1000, by largest remainder, the first on a tie."""
    floor, rest = np.divmod(millionths, ONE)
    spare = ONE - floor.sum(axis=-1)
    order = np.argsort(-rest, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(3), axis=-1)
    return np.asarray(floor + (rank < spare[:, None]), dtype=np.int16)


def empirical_r2(dosage: FloatArray, alleles: I8Array) -> F64Array:
    """(M,) squared correlation of leave-one-out haplotype dosages and observed alleles: the values of INFO ER2.

    A negative correlation gives 0: a site that is predicted the wrong way round is not a good one.

    Args:
        dosage: (Q, M) leave-one-out haplotype dosages; NaN where there is none.
        alleles: (Q, M) observed alleles, -1 missing.

    Returns:
        NaN where either side does not vary among the called haplotypes, or these are two: any two lie on a line.
    """
    if dosage.shape != alleles.shape:
        raise ShapeError(f"dosages {dosage.shape} and alleles {alleles.shape} differ in shape")
    known = (alleles >= 0) & np.isfinite(dosage)
    n = known.sum(axis=0)
    x = np.where(known, dosage, 0.0).astype(np.float64)
    y = np.where(known, alleles, 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = np.where(known, x - x.sum(axis=0) / n, 0.0)
        dy = np.where(known, y - y.sum(axis=0) / n, 0.0)
        spread = (dx * dx).sum(axis=0) * (dy * dy).sum(axis=0)
        r = (dx * dy).sum(axis=0) / np.sqrt(np.where((spread > 1e-12) & (n > 2), spread, np.nan))
    return np.asarray(np.maximum(r, 0.0) ** 2, dtype=np.float64)
