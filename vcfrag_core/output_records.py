"""What is written of a window of sites: the arrays from which the VCF and the BCF writer make records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from vcfrag_core.errors import ConfigError, ShapeError
from vcfrag_core.genotypes import ONE, empirical_r2, site_quality, thousandths
from vcfrag_core.panel import Panel
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I16Array, IntArray

FORMATS = ("GT", "DS", "HDS", "GP", "LOO")
DEFAULT_FORMATS = ("GT", "DS", "HDS", "GP")


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
class KeptRecord:
    """A record of the target that was not used and is passed through with its genotypes.

    Attributes:
        position: 1-based position.
        site_id: Its ID column.
        ref: REF.
        alts: ALT alleles; none where the record has none.
        alleles: (2 S,) allele numbers, -1 missing.
    """

    position: int
    site_id: str
    ref: str
    alts: tuple[str, ...]
    alleles: I8Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecords:
    """Records of consecutive panel sites, and the target's own records between them.

    Attributes:
        contig: Name of the contig.
        positions: (L,) 1-based positions.
        site_ids: L identifiers.
        refs: L reference alleles.
        alts: L alternate alleles.
        dosage: (L, S, 2) haplotype dosages in thousandths; a typed allele is 0 or 1000.
        typed: (L,) sites typed in the target and used.
        af: (L,) frequency of ALT in the cohort.
        maf: (L,) the lesser of af and 1 - af.
        r2: (L,) estimated r².
        er2: (L,) leave-one-out r² at typed sites, NaN elsewhere and where it is not known.
        loo: (L, S) leave-one-out dosage in thousandths, -1 where there is none; or None.
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
    kept: tuple[KeptRecord, ...] = ()

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
        """The records at the (L,) chosen sites, with all kept records."""
        chosen = np.flatnonzero(keep)
        arrays = {n: getattr(self, n)[chosen] for n in ("positions", "dosage", "typed", "af", "maf", "r2", "er2")}
        texts = {n: [getattr(self, n)[i] for i in chosen] for n in ("site_ids", "refs", "alts")}
        loo = None if self.loo is None else self.loo[chosen]
        return dataclasses.replace(self, **arrays, **texts, loo=loo)


def window_records(
    panel: Panel,
    start: int,
    stop: int,
    *,
    dosage: F32Array,
    alleles: I8Array,
    typed: BoolArray,
    loo: F32Array | None = None,
    with_loo: bool = False,
    kept: Iterable[KeptRecord] = (),
) -> OutputRecords:
    """The records of panel sites [start, stop).

    Typed alleles stand as they are; the imputed dosage fills in for missing ones.

    Args:
        panel: Names and positions of the sites.
        start: First site.
        stop: Site after the last; L = stop - start.
        dosage: (Q, L) imputed haplotype dosages, haplotypes 2s and 2s + 1 of sample s.
        alleles: (Q, L) typed alleles, -1 where not typed or missing.
        typed: (L,) sites typed in the target and used.
        loo: (Q, L) leave-one-out haplotype dosages, NaN where there is none.
        with_loo: Whether the records carry LOO beside ER2.
        kept: Records of the target to be written among these.
    """
    known = (alleles >= 0) & typed
    rounded = np.where(known, alleles.astype(np.int16) * np.int16(ONE), thousandths(dosage))
    quality = site_quality(np.where(known, alleles.astype(np.float32), dosage))
    er2 = np.full(stop - start, np.nan)
    if loo is not None:
        er2 = np.where(typed, empirical_r2(loo, np.where(typed, alleles, np.int8(-1))), np.nan)
    return OutputRecords(
        contig=panel.contig,
        positions=panel.positions[start:stop],
        site_ids=panel.site_ids[start:stop],
        refs=panel.refs[start:stop],
        alts=panel.alts[start:stop],
        dosage=np.ascontiguousarray(rounded.reshape(-1, 2, stop - start).transpose(2, 0, 1)),
        typed=typed,
        af=quality.af,
        maf=quality.maf,
        r2=quality.r2,
        er2=er2,
        loo=_loo_dosage(loo, known) if with_loo and loo is not None else None,
        kept=tuple(kept),
    )


def _loo_dosage(loo: F32Array, known: BoolArray) -> I16Array:
    """(L, S) sums of both haplotypes' thousandths; -1 where either has none or was not typed."""
    there = (np.isfinite(loo) & known).reshape(-1, 2, loo.shape[1]).all(axis=1)
    both = thousandths(np.where(np.isfinite(loo), loo, 0)).reshape(-1, 2, loo.shape[1]).sum(axis=1)
    return np.ascontiguousarray(np.where(there, both, -1).astype(np.int16).T)
