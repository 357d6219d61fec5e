"""Reads what evaluation needs from VCF and BCF: true genotypes, imputed dosages and probabilities."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcfrag_core.errors import (
    DuplicateRecordError,
    MissingAlleleError,
    RangeError,
    UnknownSampleError,
)
from vcfrag_core.files.tables.sites import SiteKey, key_of, keys_of, label, records_of
from vcfrag_core.files.vcf.fields import (
    alleles_of,
    dosage_of,
    doubtful_ds,
    estimated_r2_of,
    lone_of,
    order_is_phase,
    posterior_of,
    record_label,
    says_typed,
)
from vcfrag_core.files.vcf.phase_sets import PhaseSets
from vcfrag_core.files.vcf.reader import InfoRecord, Region, open_vcf
from vcfrag_core.scoring import accuracy
from vcfrag_core.targets.calls import UNPHASED
from vcfrag_core.types import BoolArray, F32Array, F64Array, I8Array, I32Array, I64Array

# In the command that a file says it was made by: a DS of 0 to 2 for one haplotype.
_DOUBLED_DS: Final = re.compile(r"^##vcfrag_command=.*--x-male-dosage[ =]2\b", re.MULTILINE)
_SECOND: Final = "a second record of the same site"
_TOLERANCE: Final = 0.011  # what two rounded decimals on each of two haplotypes may add up to


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrueGenotypes:
    """What the truth says of V sites and S samples.

    Attributes:
        found: (V,) whether the file has the site.
        genotypes: (V, S) ALT copies, twice those of a sample with one haplotype; -1 where the call, or the site, is
            missing.
        lone: (S,) samples of whom most calls have one allele.
    """

    found: BoolArray
    genotypes: I8Array
    lone: BoolArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImputedGenotypes:
    """What an imputed file says of V sites and S samples.

    Attributes:
        found: (V,) whether the file has the site.
        dosage: (V, S) ALT copies in [0, 2]; 0 where the site is missing.
        posterior: (V, S, 3) genotype probabilities; None where the file gives dosages alone.
        estimated_r2: (V,) the imputation's own r² (INFO R2, else DR2); NaN where it has none.
        field: The FORMAT field that the dosages came from, the first record's.
        typed: (V,) whether the file marks the site as observed and not imputed, see `says_typed`.
        n_imputed_elsewhere: Sites beside these that were asked for and that the file marks as imputed.
    """

    found: BoolArray
    typed: BoolArray
    dosage: F32Array
    posterior: F32Array | None
    estimated_r2: F64Array
    field: str
    n_imputed_elsewhere: int = 0


def sample_names(path: str | Path) -> tuple[str, ...]:
    """The samples of a VCF or BCF."""
    with open_vcf(path) as reader:
        return reader.samples


def read_truth(
    path: str | Path, contig: str, rows: Mapping[SiteKey, int], samples: Sequence[str], *, threads: int = 1
) -> TrueGenotypes:
    """True genotypes at the sites `rows` of a contig, matched by position and alleles; phase is ignored.

    A record with several ALT alleles is one for each, at which every other allele is REF.

    Args:
        path: VCF or BCF with GT.
        contig: Name of the contig; `20` and `chr20` are the same.
        rows: Row of each wanted site; other records are passed over.
        samples: S samples, in the order wanted.
        threads: Threads that decompress.

    Raises:
        UnknownSampleError: A sample is not in the file.
        DuplicateRecordError: A wanted site stands there twice.
        PloidyError: A call of more than two alleles.
        InputError: A record without GT.
    """
    found = np.zeros(len(rows), dtype=np.bool_)
    genotypes = np.full((len(rows), len(samples)), accuracy.MISSING, dtype=np.int8)
    columns, n_lone = _columns(Path(path), samples), np.zeros(len(samples), dtype=np.int64)
    for row, record, number in _wanted(Path(path), contig, rows, threads, split=True):
        alleles = _alleles_of(record, number, Path(path))[columns]
        found[row] = True
        genotypes[row] = np.where((alleles < 0).any(axis=1), accuracy.MISSING, alleles.sum(axis=1))
        if (lone := lone_of(record)) is not None:
            n_lone += lone[columns]
    return TrueGenotypes(found=found, genotypes=genotypes, lone=2 * n_lone > int(found.sum()))


def read_haplotypes(
    path: str | Path, contig: str, rows: Mapping[SiteKey, int], samples: Sequence[str], *, threads: int = 1
) -> I8Array:
    """(V, S, 2) alleles at the sites `rows` as they stand in GT; -1 where a call, or the site, is missing.

    Raises:
        What `read_truth` raises.
    """
    alleles = np.full((len(rows), len(samples), 2), accuracy.MISSING, dtype=np.int8)
    for row, found in _alleles(Path(path), contig, rows, samples, threads):
        alleles[row] = found
    return alleles


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhasedGenotypes:
    """What a file says of phase.

    Attributes:
        sites: Row of each site, in the order of their positions.
        alleles: (V, S, 2) alleles, -1 missing.
        sets: (V, S) phase set of each call, 0 where none is named, UNPHASED where their order says nothing.
    """

    sites: Mapping[SiteKey, int]
    alleles: I8Array
    sets: I32Array

    def at(self, keys: Sequence[SiteKey]) -> tuple[I8Array, I32Array]:
        """Alleles and phase sets at some of the sites."""
        rows = [self.sites[key] for key in keys]
        return self.alleles[rows], self.sets[rows]


def read_phased(
    path: str | Path,
    contig: str,
    samples: Sequence[str],
    *,
    within: Region | None = None,
    sites: Collection[SiteKey] | None = None,
    threads: int = 1,
) -> PhasedGenotypes:
    """Alleles and their phase at biallelic sites; of a site that stands there twice, the first.

    Args:
        path: VCF or BCF with GT.
        contig: Name of the contig; `20` and `chr20` are the same.
        samples: S samples, in the order wanted.
        within: A stretch; the whole contig unless given.
        sites: Only these; all unless given.
        threads: Threads that decompress.

    Raises:
        UnknownSampleError: A sample is not in the file.
        PloidyError: A call of more than two alleles.
        InputError: A record without GT, or phase sets that are not read.
    """
    path = Path(path)
    columns = _columns(path, samples)
    found: dict[SiteKey, int] = {}
    alleles: list[I8Array] = []
    sets: list[I32Array] = []
    with open_vcf(path) as reader:
        phase_sets = PhaseSets(path, reader.header, len(reader.samples))
    for record in records_of(path, contig, threads=threads):
        key = key_of(record)
        outside = within is not None and not within.holds(within.contig, record.POS)
        if key is None or key in found or outside or (sites is not None and key not in sites):
            continue
        found[key] = len(alleles)
        alleles.append(alleles_of(record, path)[columns].astype(np.int8))
        named = phase_sets.of(record, label(record.CHROM, key))
        sets.append(np.where(order_is_phase(record), named, UNPHASED)[columns].astype(np.int32))
    shape = (len(alleles), len(samples))
    return PhasedGenotypes(
        sites=found,
        alleles=np.array(alleles, dtype=np.int8).reshape(*shape, 2),
        sets=np.array(sets, dtype=np.int32).reshape(shape),
    )


def read_imputed(
    path: str | Path,
    contig: str,
    rows: Mapping[SiteKey, int],
    samples: Sequence[str],
    *,
    threads: int = 1,
    lone: BoolArray | None = None,
    beside: Collection[SiteKey] = (),
) -> ImputedGenotypes:
    """Imputed dosages at the sites `rows`: from DS, else HDS, else GP, else GT, whichever a record has first.

    Genotype probabilities come from GP, else from HDS (haplotypes independent), else from GT where there is no DS. A
    sample with one haplotype counts twice, so that everybody's dosages are of one scale. Where nothing but DS tells of
    such samples, theirs is of 0 to 2 if the file was made so or one of them is above 1, else of 0 to 1.

    Args:
        path: VCF or BCF.
        contig: Name of the contig; `20` and `chr20` are the same.
        rows: Row of each wanted site; other records are passed over.
        samples: S samples, in the order wanted.
        threads: Threads that decompress.
        lone: (S,) samples with one haplotype, where a file of DS alone does not say; nobody unless given.
        beside: Other sites, none of `rows`, of which those are counted that the file marks as imputed.

    Raises:
        UnknownSampleError: A sample is not in the file.
        DuplicateRecordError: A wanted site stands there twice.
        MissingAlleleError: A wanted site has a missing dosage; names record and sample.
        RangeError: A dosage outside [0, 2].
        PloidyError: A call of more than two alleles.
        InputError: A record without any of the four fields, or a field of another width.
    """
    path = Path(path)
    table = _Table(path, contig, len(rows), _columns(path, samples), samples, lone)
    for record in records_of(path, contig, threads=threads):
        key = key_of(record)
        row = None if key is None else rows.get(key)
        if row is not None:
            table.add(row, record)
        elif key in beside:
            table.count(record)
    return table.result()


def sites_present(
    path: str | Path, contig: str, rows: Mapping[SiteKey, int], *, threads: int = 1, split: bool = False
) -> BoolArray:
    """(V,) which of the sites `rows` a file has.

    Args:
        path: VCF or BCF.
        contig: Name of the contig; `20` and `chr20` are the same.
        rows: Row of each wanted site.
        threads: Threads that decompress.
        split: Whether a record with several ALT alleles has a site for each, as in a truth.

    Raises:
        DuplicateRecordError: A wanted site stands there twice.
    """
    found = np.zeros(len(rows), dtype=np.bool_)
    found[[row for row, _, _ in _wanted(Path(path), contig, rows, threads, split=split)]] = True
    return found


class _Table:
    """Fills the arrays of `ImputedGenotypes` record by record."""

    def __init__(
        self, path: Path, contig: str, v: int, columns: I64Array, samples: Sequence[str], lone: BoolArray | None
    ) -> None:
        self.found = np.zeros(v, dtype=np.bool_)
        self._typed = np.zeros(v, dtype=np.bool_)
        self._n_beside = self._n_typed_beside = 0
        with open_vcf(path) as reader:
            self._header = reader.header
        self._path, self._contig, self._columns, self._samples = path, contig, columns, samples
        self._dosage = np.zeros((v, len(columns)), dtype=np.float32)
        self._posterior: F32Array | None = np.zeros((v, len(columns), 3), dtype=np.float32)
        self._estimated_r2 = np.full(v, np.nan)
        self._field = ""
        self._doubtful: dict[int, BoolArray] = {}
        self._lone: BoolArray | None = None
        if lone is not None and bool(lone.any()):
            self._lone = np.isin(np.arange(len(sample_names(path))), columns[lone])

    def count(self, record: InfoRecord) -> None:
        """Of a site whose dosages are not wanted, whether it was typed."""
        self._n_beside += 1
        self._n_typed_beside += says_typed(record, self._header)

    def add(self, row: int, record: InfoRecord) -> None:
        if self.found[row]:
            raise DuplicateRecordError(_SECOND, path=self._path, record=record_label(record))
        self.found[row] = True
        self._typed[row] = says_typed(record, self._header)
        field, dosage = dosage_of(record, self._path, self._lone)
        dosage = dosage[self._columns]
        doubtful = doubtful_ds(record, self._path, self._lone)
        if doubtful is not None and bool((doubtful := doubtful[self._columns]).any()):
            self._doubtful[row] = doubtful
            self._check(np.where(doubtful, dosage / 2, dosage), record)
        else:
            self._check(dosage, record)
        self._field = self._field or field
        self._dosage[row] = dosage
        self._estimated_r2[row] = estimated_r2_of(record)
        self._add_posterior(row, record, field)

    def _add_posterior(self, row: int, record: InfoRecord, dosage_field: str) -> None:
        posterior = posterior_of(record, dosage_field, self._path)
        if posterior is None or self._posterior is None or not bool(np.isfinite(posterior[self._columns]).all()):
            self._posterior = None
        else:
            self._posterior[row] = posterior[self._columns]

    def _check(self, dosage: F64Array, record: InfoRecord) -> None:
        missing = np.flatnonzero(~np.isfinite(dosage))
        if missing.size:
            raise MissingAlleleError(
                "no imputed dosage", path=self._path, record=record_label(record), sample=self._samples[int(missing[0])]
            )
        outside = np.flatnonzero((dosage < -_TOLERANCE) | (dosage > 2 + _TOLERANCE))
        if outside.size:
            raise RangeError(
                f"{self._path}, record {record_label(record)}, sample {self._samples[int(outside[0])]}: "
                f"dosage {dosage[outside[0]]:g} is outside [0, 2]"
            )

    def _settle_doubtful(self) -> None:
        """Halves the doubtful, which were doubled, if they are of 0 to 2 as they stand in the file."""
        most = max((float(self._dosage[row, mine].max()) for row, mine in self._doubtful.items()), default=0.0)
        if most > 2 + 2 * _TOLERANCE or (self._doubtful and _DOUBLED_DS.search(self._header)):
            for row, mine in self._doubtful.items():
                self._dosage[row, mine] /= 2

    def result(self) -> ImputedGenotypes:
        self._settle_doubtful()
        n_typed, n_marked = int(self._typed.sum()) + self._n_typed_beside, len(self._typed) + self._n_beside
        # All or none are where INFO was emptied, and the header still declares marks.
        marks = 0 < n_typed < n_marked
        return ImputedGenotypes(
            found=self.found,
            typed=self._typed & marks,
            dosage=np.clip(self._dosage, 0, 2),
            posterior=self._posterior if bool(self.found.any()) else None,
            estimated_r2=self._estimated_r2,
            field=self._field,
            n_imputed_elsewhere=(self._n_beside - self._n_typed_beside) * marks,
        )


def _alleles(
    path: Path, contig: str, rows: Mapping[SiteKey, int], samples: Sequence[str], threads: int
) -> Iterator[tuple[int, I64Array]]:
    """Row and (S, 2) alleles of every wanted record."""
    columns = _columns(path, samples)
    for row, record, number in _wanted(path, contig, rows, threads, split=True):
        yield row, _alleles_of(record, number, path)[columns]


def _alleles_of(record: InfoRecord, number: int, path: Path) -> I64Array:
    """(S, 2) alleles: 1 where it is the ALT of this number, 0 where it is any other, -1 missing."""
    alleles = alleles_of(record, path)
    return np.where(alleles < 0, alleles, alleles == number)


def _wanted(
    path: Path, contig: str, rows: Mapping[SiteKey, int], threads: int, *, split: bool = False
) -> Iterator[tuple[int, InfoRecord, int]]:
    """Row, record and number of the ALT allele (from 1) of every wanted site that the file has.

    Args:
        path: VCF or BCF.
        contig: Name of the contig.
        rows: Row of each wanted site.
        threads: Threads that decompress.
        split: Whether records with several ALT alleles are looked at, too; a site's own record goes before one, and
            may come after it.

    Raises:
        DuplicateRecordError: One of them stands there twice.
    """
    found, from_several = np.zeros(len(rows), dtype=np.bool_), set[int]()
    for record in records_of(path, contig, threads=threads):
        keys = keys_of(record)
        several = len(keys) > 1
        for number, key in enumerate(keys if split or not several else (), start=1):
            row = rows.get(key)
            if row is None or (several and found[row]):
                continue
            if found[row] and row not in from_several:
                raise DuplicateRecordError(_SECOND, path=path, record=record_label(record))
            found[row] = True
            (from_several.add if several else from_several.discard)(row)
            yield row, record, number


def _columns(path: Path, samples: Sequence[str]) -> I64Array:
    """(S,) columns of the samples.

    Raises:
        UnknownSampleError: A sample is not in the file; names the first and the count.
    """
    index = {name: i for i, name in enumerate(sample_names(path))}
    missing = [name for name in samples if name not in index]
    if missing:
        raise UnknownSampleError(
            f"{path}: {len(missing)} of {len(samples)} samples are not in it, such as {missing[0]!r}"
        )
    return np.array([index[name] for name in samples], dtype=np.int64)
