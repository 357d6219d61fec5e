"""Reads targets: every record of a VCF or BCF, contig by contig, refused as a whole where it cannot be imputed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vcfrag_core.errors import (
    EmptyInputError,
    InputError,
    NotVcfError,
    PloidyError,
    UnphasedError,
    UnsortedError,
)
from vcfrag_core.files.vcf.reader import Record, Region, VcfReader, open_vcf, parse_region, raw_calls
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.genome.markers import told_build
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.records import TargetRecords
from vcfrag_core.types import BoolArray, I8Array, I32Array

PHASING_TOOLS = "Beagle, SHAPEIT5 or Eagle"
_NO_ALLELE = -2147483647
_BLOCK = 2048
_MAX_ALLELES = 126


def read_target(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[TargetRecords]:
    """The records of every contig of the file, or of a region, in the file's order.

    The region's contig may be named with or without `chr`. Homozygotes need no phase; a half-missing call does.

    Args:
        path: VCF or BCF, plain, gzipped or bgzipped; an index is used when there is one.
        region: `20` or `20:100-200`.
        threads: Threads that decompress.
        progress: Called with the number of records read, now and then.

    Raises:
        EmptyInputError: No sample, or no record.
        UnphasedError: Unphased heterozygotes; says how many there are in the whole input.
        PloidyError: A call of other than two alleles.
        UnsortedError: Positions that fall, or a contig that comes again.
        NotVcfError, TruncatedFileError, UnknownContigError, InputError: What `open_vcf` refuses; a record without GT.
    """
    where = _own_region(path, region)
    with open_vcf(path, threads=threads, region=where) as reader:
        if not reader.samples:
            raise EmptyInputError("the file has no samples: there is nothing to impute", path=path)
        table = _Table(reader)
        for number, record in enumerate(reader, start=1):
            table.add(record)
            if progress is not None and number % _BLOCK == 0:
                progress(number)
        contigs = table.finish()
    if not contigs:
        raise EmptyInputError(f"no record{'' if region is None else f' in {region}'}", path=path)
    return contigs


def _own_region(path: str | Path, region: str | None) -> Region | None:
    """The region under the name that the file has for its contig."""
    if region is None:
        return None
    wanted = parse_region(region)
    with open_vcf(path) as reader:
        own = contig_alias(wanted.contig, reader.contigs)
    return Region(own or wanted.contig, wanted.start, wanted.stop)


class _Table:
    """The contigs of the file, as they come."""

    def __init__(self, reader: VcfReader) -> None:
        self._path = reader.path
        self._reader = reader
        self._done: list[TargetRecords] = []
        self._unphased = _Unphased(reader)
        self._now: _Contig | None = None

    def add(self, record: Record) -> None:
        """Takes a record."""
        contig = record.CHROM
        if self._now is None or self._now.name != contig:
            self._end_contig()
            if any(done.contig == contig for done in self._done):
                raise UnsortedError(
                    f"contig {contig} comes a second time; `bcftools sort` puts records in order", path=self._path
                )
            self._now = _Contig(contig, self._reader, self._unphased)
        self._now.add(record)

    def finish(self) -> list[TargetRecords]:
        """All contigs; refuses unphased heterozygotes, now that they are counted."""
        self._end_contig()
        self._unphased.refuse()
        build = told_build([(done.contig, done.contig_length, done.positions) for done in self._done])
        return [dataclasses.replace(done, build=build) for done in self._done]

    def _end_contig(self) -> None:
        if self._now is not None:
            self._done.append(self._now.finish())


class _Unphased:
    """Counts unphased heterozygotes."""

    def __init__(self, reader: VcfReader) -> None:
        self._reader = reader
        self._genotypes = 0
        self._records = 0
        self._first = ("", "")

    def count(self, het: BoolArray, labels: list[str]) -> None:
        """Counts (n, S) flags of n records."""
        if not het.any():
            return
        if not self._genotypes:
            record = int(np.flatnonzero(het.any(axis=1))[0])
            self._first = (labels[record], self._reader.samples[int(np.flatnonzero(het[record])[0])])
        self._genotypes += int(het.sum())
        self._records += int(het.any(axis=1).sum())

    def refuse(self) -> None:
        """Raises UnphasedError if there was any."""
        if self._genotypes:
            raise UnphasedError(
                f"{self._genotypes} heterozygous genotypes in {self._records} records are not phased, this is the"
                f" first; phase the targets first with {PHASING_TOOLS}",
                path=self._reader.path,
                record=self._first[0],
                sample=self._first[1],
            )


class _Contig:
    """The records of one contig; their calls wait in blocks until they are turned into alleles."""

    def __init__(self, name: str, reader: VcfReader, unphased: _Unphased) -> None:
        self.name = name
        self._reader = reader
        self._unphased = unphased
        self._positions: list[int] = []
        self._refs: list[str] = []
        self._alts: list[tuple[str, ...]] = []
        self._ids: list[str] = []
        self._labels: list[str] = []
        self._calls: list[I32Array] = []
        self._alleles: list[I8Array] = []

    def add(self, record: Record) -> None:
        """Takes a record."""
        position, ref, alts = int(record.POS), record.REF.upper(), tuple(alt.upper() for alt in record.ALT)
        label = f"{self.name}:{position} {ref}>{','.join(alts) or '.'}"
        if self._positions and position < self._positions[-1]:
            raise UnsortedError(
                f"comes after position {self._positions[-1]}; `bcftools sort` puts records in order",
                path=self._reader.path,
                record=label,
            )
        self._calls.append(self._diploid(record, label))
        self._positions.append(position)
        self._refs.append(ref)
        self._alts.append(alts)
        self._ids.append(record.ID or ".")
        self._labels.append(label)
        if len(self._calls) == _BLOCK:
            self._flush()

    def finish(self) -> TargetRecords:
        """All records."""
        self._flush()
        return TargetRecords(
            contig=self.name,
            samples=self._reader.samples,
            ploidy=Ploidy.diploid(len(self._reader.samples)),
            positions=np.array(self._positions, dtype=np.int32),
            refs=tuple(self._refs),
            alts=tuple(self._alts),
            site_ids=tuple(self._ids),
            alleles=np.concatenate(self._alleles),
            contig_length=self._reader.contig_length(self.name),
            source=str(self._reader.path),
        )

    def _flush(self) -> None:
        if not self._calls:
            return
        calls = np.stack(self._calls)
        alleles = (calls >> 1) - 1
        first, second = alleles[:, :, 0], alleles[:, :, 1]
        unphased = (calls[:, :, 1] & 1) == 0
        self._unphased.count(unphased & (first >= 0) & (second >= 0) & (first != second), self._labels)
        # Without phase, nobody knows which haplotype the called half belongs to.
        alleles[unphased & ((first < 0) | (second < 0))] = -1
        self._check_numbers(alleles)
        alleles[alleles > _MAX_ALLELES] = -1
        self._alleles.append(alleles.reshape(len(calls), -1).astype(np.int8))
        self._calls.clear()
        self._labels.clear()

    def _check_numbers(self, alleles: I32Array) -> None:
        most = np.array([len(alts) for alts in self._alts[-len(alleles) :]])
        wrong = (alleles > most[:, None, None]).any(axis=2)
        if wrong.any():
            record, sample = (int(i[0]) for i in np.nonzero(wrong))
            raise NotVcfError("names an allele that the record does not have", **self._where(record, sample))

    def _diploid(self, record: Record, label: str) -> I32Array:
        """(S, 2) calls; a lone `.` is a missing call of both alleles."""
        calls = raw_calls(record)
        if calls is None:
            raise InputError("the record has no GT", path=self._reader.path, record=label)
        if calls.shape[1] == 2 and not bool((calls[:, 1] == _NO_ALLELE).any()):
            return calls
        n_alleles = (calls != _NO_ALLELE).sum(axis=1)
        lone_missing = (n_alleles == 1) & (calls[:, 0] >> 1 == 0)
        wrong = np.flatnonzero((n_alleles != 2) & ~lone_missing)
        if len(wrong):
            raise PloidyError(
                f"has {n_alleles[wrong[0]]} allele(s) where two are needed, as {len(wrong)} of {len(calls)} samples"
                " here; haploid calls cannot be imputed yet (leave such samples or regions out)",
                path=self._reader.path,
                record=label,
                sample=self._reader.samples[int(wrong[0])],
            )
        repaired = np.zeros((len(calls), 2), dtype=np.int32)
        repaired[~lone_missing] = calls[~lone_missing, :2]
        return repaired

    def _where(self, record: int, sample: int) -> dict[str, str]:
        labels, samples = self._labels, self._reader.samples
        return {"path": str(self._reader.path), "record": labels[record], "sample": samples[sample]}
