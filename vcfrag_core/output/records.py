"""What is written of a window of sites: the arrays from which the VCF and the BCF writer make records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.genome.contigs import meaning
from vcfrag_core.output.cohort_sums import CohortSums, sums_at
from vcfrag_core.output.genotypes import NONE, ONE, possible_both, thousandths
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I16Array, I64Array, IntArray

FORMATS = ("GT", "DS", "HDS", "GP", "LOO")
DEFAULT_FORMATS = ("GT", "DS", "HDS", "GP")
# Of dosages that are worked on together, so that a cohort needs no second copy of all of them.
_CELLS_AT_ONCE = 1 << 17
_COLUMNS = ("positions", "dosage", "typed", "af", "maf", "r2", "er2")


def parse_formats(text: str | Iterable[str]) -> tuple[str, ...]:
    """`GT,DS` as a tuple in the fixed order GT, DS, HDS, GP, LOO.

    Raises:
        ConfigError: An unknown field, none, or LOO alone, which only typed sites have.
    """
    names = [name.strip().upper() for name in (text.split(",") if isinstance(text, str) else text)]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ConfigError(f"--format takes {', '.join(FORMATS)}; got {unknown[0] if unknown else 'nothing'!r}")
    if set(names) == {"LOO"}:
        raise ConfigError("--format LOO has values at typed sites only; ask for GT or DS beside it")
    return tuple(name for name in FORMATS if name in names)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PassThroughRecord:
    """A record of the target that was not used and is passed through with its genotypes.

    Attributes:
        position: 1-based position.
        site_id: Its ID column.
        ref: REF.
        alts: ALT alleles; none where the record has none.
        alleles: (H,) allele numbers, -1 missing.
        ploidy: Which of them are one sample's.
        unphased: (S,) heterozygotes of unknown phase; None where there is none.
    """

    position: int
    site_id: str
    ref: str
    alts: tuple[str, ...]
    alleles: I8Array
    ploidy: Ploidy
    unphased: BoolArray | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecords:
    """Records of consecutive panel sites, and the target's own records between them.

    Attributes:
        contig: Name of the contig.
        positions: (L,) 1-based positions.
        site_ids: L identifiers.
        refs: L reference alleles.
        alts: L alternate alleles.
        dosage: (L, S, 2) haplotype dosages in thousandths; a typed allele is 0 or 1000. `genotypes.NONE` where a
            sample has no second haplotype.
        typed: (L,) sites typed in the target and used.
        af: (L,) frequency of ALT in the cohort.
        maf: (L,) the lesser of af and 1 - af.
        r2: (L,) estimated r², `estimated_r2`.
        er2: (L,) leave-one-out r² at typed sites, NaN elsewhere and where it is not known.
        loo: (L, S) leave-one-out dosage in thousandths, -1 where there is none; or None.
        both: (L, S) probability in thousandths that both haplotypes carry ALT, `genotypes.NONE` where they are
            independent; None where all are.
        kept: Records of the target to be written among these, by position.
    """

    contig: str
    positions: IntArray
    site_ids: Sequence[str]
    refs: Sequence[str]
    alts: Sequence[str]
    dosage: I16Array
    typed: BoolArray
    af: F64Array
    maf: F64Array
    r2: F64Array
    er2: F64Array
    loo: I16Array | None = None
    both: I16Array | None = None
    kept: tuple[PassThroughRecord, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.positions)
        if self.dosage.shape[:1] != (n,) or self.dosage.shape[2:] != (2,):
            raise ShapeError(f"{n} positions need dosages (L, S, 2), got {self.dosage.shape}")

    @property
    def n_sites(self) -> int:
        return len(self.positions)

    @property
    def n_samples(self) -> int:
        return int(self.dosage.shape[1])

    def select(self, keep: BoolArray) -> OutputRecords:
        """The chosen sites; records of the target that are passed through all stay."""
        chosen = np.flatnonzero(keep).tolist()
        columns: dict[str, Any] = {name: getattr(self, name)[keep] for name in _COLUMNS}
        columns |= {name: [getattr(self, name)[i] for i in chosen] for name in ("site_ids", "refs", "alts")}
        columns |= {
            name: None if getattr(self, name) is None else getattr(self, name)[keep] for name in ("loo", "both")
        }
        return dataclasses.replace(self, **columns)


def lone_ds(contig: str, x_male_dosage: int) -> int:
    """What the dosage of a sample's only haplotype is multiplied by for DS: on X what is asked for, elsewhere 1."""
    known = meaning(contig)
    return x_male_dosage if known is not None and known.chromosome == "X" else 1


def site_records(
    panel: Panel,
    sites: I64Array,
    *,
    dosage: F32Array,
    alleles: I8Array,
    typed: BoolArray,
    er2: F64Array | None = None,
    loo: F32Array | None = None,
    kept: Iterable[PassThroughRecord] = (),
    ploidy: Ploidy | None = None,
    both: F32Array | None = None,
) -> OutputRecords:
    """The records of some panel sites.

    Typed alleles stand as they are; the imputed dosage fills in for missing ones.

    Args:
        panel: Names and positions of the sites.
        sites: (L,) ascending panel sites.
        dosage: (Q, L) imputed haplotype dosages.
        alleles: (Q, L) typed alleles, -1 where not typed or missing.
        typed: (L,) sites typed in the target and used.
        er2: (L,) leave-one-out r², NaN where there is none.
        loo: (Q, L) leave-one-out haplotype dosages to be written, NaN where there is none.
        kept: Records of the target to be written among these.
        ploidy: Which haplotypes are one sample; each two in turn unless given.
        both: (S, L) probability that both haplotypes of a sample carry ALT, NaN where they are independent given the
            data; all are unless given.

    Raises:
        ShapeError: No haplotype, or the arrays do not fit each other.
    """
    ploidy = Ploidy.of_rows(len(dosage), ploidy)
    cells = cells_of(dosage, alleles, typed, ploidy)
    independent = cells.believed
    if both is not None:
        independent = independent_dosage(cells.believed, cells.known, both, ploidy)
    sums = sums_at(panel, sites, independent, cells.known, ploidy)
    return records_at(
        panel,
        sites,
        dosage=cells.dosage,
        typed=typed,
        sums=sums,
        er2=er2,
        loo=None if loo is None else _loo_dosage(loo, cells.known, ploidy),
        both=None if both is None else both_alt(both, cells.dosage, ploidy.every(cells.known)),
        kept=kept,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """Haplotypes at L sites, typed alleles as they stand.

    Attributes:
        dosage: (L, S, 2) dosages in thousandths, as `OutputRecords` has them.
        believed: (Q, L) dosages, 0 and 1 where typed.
        known: (Q, L) which are typed.
    """

    dosage: I16Array
    believed: F32Array
    known: BoolArray


def cells_of(dosage: F32Array, alleles: I8Array, typed: BoolArray, ploidy: Ploidy) -> Cells:
    """What is known of haplotypes at some sites.

    Args:
        dosage: (Q, L) imputed haplotype dosages.
        alleles: (Q, L) typed alleles, -1 where not typed or missing.
        typed: (L,) sites typed in the target and used.
        ploidy: Which haplotypes are one sample.
    """
    from vcfrag_core.output.kernels import fill_cells

    imputed, called = np.ascontiguousarray(dosage.T), np.ascontiguousarray(alleles.T)
    known, rounded = np.empty(called.shape, dtype=np.bool_), np.empty(called.shape, dtype=np.int16)
    believed = np.empty(called.shape, dtype=np.float32)
    if fill_cells(imputed, called, typed, known, believed, rounded):
        thousandths(dosage)
    pairs = ploidy.pairs(rounded.T, NONE)
    return Cells(dosage=np.ascontiguousarray(pairs.transpose(2, 0, 1)), believed=believed.T, known=known.T)


def records_at(
    panel: Panel,
    sites: I64Array,
    *,
    dosage: I16Array,
    typed: BoolArray,
    sums: CohortSums,
    er2: F64Array | None = None,
    loo: I16Array | None = None,
    both: I16Array | None = None,
    kept: Iterable[PassThroughRecord] = (),
) -> OutputRecords:
    """The records of some panel sites, AF and R2 from the cohort's sums; otherwise as `OutputRecords`."""
    af = sums.af()
    chosen = sites.tolist()
    return OutputRecords(
        contig=panel.contig,
        positions=panel.positions[sites],
        site_ids=[panel.site_ids[i] for i in chosen],
        refs=[panel.refs[i] for i in chosen],
        alts=[panel.alts[i] for i in chosen],
        dosage=dosage,
        typed=typed,
        af=af,
        maf=np.minimum(af, 1 - af),
        r2=sums.r2(),
        er2=np.full(len(sites), np.nan) if er2 is None else np.where(typed, er2, np.nan),
        loo=loo,
        both=both,
        kept=tuple(kept),
    )


def independent_dosage(dosage: F32Array, known: BoolArray, both: F32Array, ploidy: Ploidy) -> F32Array:
    """(Q, L) dosages of two independent haplotypes that give each genotype its probability, as nearly as such can.

    A sample's two keep their sum, so that the frequency of ALT is that of the dosages. What R2 is estimated from:
    whether ALT is on this haplotype or on that one must not look like not knowing whether it is there.

    Args:
        dosage: (Q, L) haplotype dosages, known alleles as 0 and 1.
        known: (Q, L) which of them are known.
        both: (S, L) probability that both haplotypes carry ALT; NaN leaves a sample as it is.
        ploidy: Which haplotypes are one sample.
    """
    made = dosage.copy()
    samples = np.flatnonzero(np.isfinite(both).any(axis=1))
    one = ploidy.starts[:-1][samples]
    other = one + 1
    step = max(1, _CELLS_AT_ONCE // max(1, len(samples)))
    for first in range(0, dosage.shape[1], step):
        here = slice(first, first + step)
        of_both, left, right = both[samples, here], dosage[one, here], dosage[other, here]
        total = left + right
        half = np.sqrt(np.maximum(0, total**2 - 4 * of_both)) / 2
        half = np.minimum(half, np.minimum(total, 2 - total) / 2)
        free = np.isfinite(of_both) & ~known[one, here] & ~known[other, here]
        made[one, here] = np.where(free, np.clip(total / 2 + half, 0, 1), left)
        made[other, here] = np.where(free, np.clip(total / 2 - half, 0, 1), right)
    return made


def both_alt(both: F32Array, pairs: I16Array, known: BoolArray) -> I16Array:
    """(L, S) thousandths for the output: NONE where haplotypes are independent or their alleles known."""
    there = np.isfinite(both) & ~known
    rounded = np.where(there, np.rint(np.where(there, both, 0) * ONE), NONE).astype(np.int16).T
    return np.ascontiguousarray(possible_both(pairs[:, :, 0], pairs[:, :, 1], rounded))


def _loo_dosage(loo: F32Array, known: BoolArray, ploidy: Ploidy) -> I16Array:
    """(L, S) sums of a sample's thousandths; -1 where a haplotype has none or was not typed."""
    there = ploidy.every(np.isfinite(loo) & known)
    total = ploidy.sums(thousandths(np.where(np.isfinite(loo), loo, 0)))
    return np.ascontiguousarray(np.where(there, total, -1).astype(np.int16).T)
