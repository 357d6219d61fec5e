"""Targets from VCF and BCF."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vcfrag_core.errors import EmptyInputError, InputError, NotVcfError, PloidyError, UnsortedError
from vcfrag_core.files.vcf.phase_sets import PhaseSets
from vcfrag_core.files.vcf.reader import InfoRecord, Record, Region, VcfReader, alleles_named, open_vcf, raw_calls
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.targets.calls import MISSING, NONE, TargetCalls
from vcfrag_core.targets.merging import Keep
from vcfrag_core.types import BoolArray, I8Array, I32Array

_NO_ALLELE = -2147483647
_BLOCK = 2048
# Calls that wait to be turned into alleles: of a large cohort fewer records.
_MAX_WAITING = 4_000_000
_MAX_ALLELES = 126
# "Any other allele", as callers write it of a site at which they have seen none, or in a gVCF.
_UNSPECIFIED = ("<NON_REF>", "<*>")
# PLINK 1 writes the commoner allele as REF, and says so.
_PROVISIONAL = re.compile(r"^##(?:source=PLINKv1|INFO=<ID=PR,)", re.MULTILINE)


def read_vcf_target(
    path: Path,
    region: Region | None,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    keep: Keep = lambda calls: calls,
) -> list[TargetCalls]:
    """The calls of every contig of a VCF or BCF, or of a region, in the file's order.

    REF is not taken for the reference genome's where the file says that it is provisional (INFO PR, or PLINK 1 as its
    source). Each contig's calls are given to `keep`, which says what is kept of them while others are read.

    Raises:
        EmptyInputError: No sample.
        PloidyError: A call of more than two alleles.
        UnsortedError: Positions that fall, or a contig that comes again.
        NotVcfError, TruncatedFileError, UnknownContigError, InputError: What `open_vcf` refuses; a record without GT; a
            gVCF, one record of which stands for many sites.
    """
    own = _own_region(path, region)
    with open_vcf(path, threads=threads, region=own) as reader:
        if not reader.samples:
            raise EmptyInputError("the file has no samples: there is nothing to impute", path=path)
        table = _Table(reader, keep)
        for number, record in enumerate(reader, start=1):
            table.add(record)
            if progress is not None and number % _BLOCK == 0:
                progress(number)
        return table.finish()


def _own_region(path: Path, region: Region | None) -> Region | None:
    """The region under the name that the file has for its contig."""
    if region is None:
        return None
    with open_vcf(path) as reader:
        own = contig_alias(region.contig, reader.contigs)
    return Region(own or region.contig, region.start, region.stop)


class _Table:
    """The contigs of the file, as they come."""

    def __init__(self, reader: VcfReader, keep: Keep) -> None:
        self._path = reader.path
        self._keep = keep
        self._reader = reader
        self._done: list[TargetCalls] = []
        self._now: _Contig | None = None
        header = _PROVISIONAL.findall(reader.header)
        self._provisional = _Provisional(
            always=any("source" in line for line in header), by_flag=any("INFO" in line for line in header)
        )

    def add(self, record: Record) -> None:
        """Takes a record."""
        contig = record.CHROM
        if self._now is None or self._now.name != contig:
            self._end_contig()
            if any(done.contig == contig for done in self._done):
                raise UnsortedError(
                    f"contig {contig} comes a second time; `bcftools sort` puts records in order", path=self._path
                )
            self._now = _Contig(contig, self._reader, self._provisional)
        self._now.add(record)

    def finish(self) -> list[TargetCalls]:
        """All contigs."""
        self._end_contig()
        return self._done

    def _end_contig(self) -> None:
        if self._now is not None:
            self._done.append(self._keep(self._now.finish()))
            self._now = None


class _Provisional:
    """Whether a record's REF may be any of its alleles."""

    def __init__(self, *, always: bool, by_flag: bool) -> None:
        self._always, self._by_flag = always, by_flag

    def __call__(self, record: Record) -> bool:
        if self._always or not self._by_flag:
            return self._always
        with_info: InfoRecord = record  # type: ignore[assignment]
        return with_info.INFO.get("PR") is not None


class _Contig:
    """The records of one contig; their calls wait in blocks until they are turned into alleles."""

    def __init__(self, name: str, reader: VcfReader, is_provisional: _Provisional) -> None:
        self.name = name
        self._reader = reader
        self._is_provisional = is_provisional
        self._positions: list[int] = []
        self._refs: list[str] = []
        self._alts: list[tuple[str, ...]] = []
        self._n_alts: list[int] = []
        self._ids: list[str] = []
        self._ref_is_known: list[bool] = []
        self._labels: list[str] = []
        self._calls: list[I32Array] = []
        self._alleles: list[I8Array] = []
        self._is_phased: list[BoolArray] = []
        self._named_sets = PhaseSets(reader.path, reader.header, len(reader.samples))
        self._phase_sets: list[I32Array] = []

    def add(self, record: Record) -> None:
        """Takes a record."""
        position, (ref, *others) = int(record.POS), alleles_named(record)
        alts = tuple(others[:-1] if others and others[-1] in _UNSPECIFIED else others)
        label = f"{self.name}:{position} {ref}>{','.join(others) or '.'}"
        if others and not alts:
            self._refuse_block(record, label)
        if self._positions and position < self._positions[-1]:
            raise UnsortedError(
                f"comes after position {self._positions[-1]}; `bcftools sort` puts records in order",
                path=self._reader.path,
                record=label,
            )
        self._calls.append(self._pairs(record, label))
        self._phase_sets.append(self._named_sets.of(record, label))
        self._positions.append(position)
        self._refs.append(ref)
        self._alts.append(alts)
        self._n_alts.append(len(others))
        self._ids.append(record.ID or ".")
        self._ref_is_known.append(not self._is_provisional(record))
        self._labels.append(label)
        if len(self._calls) >= min(_BLOCK, _MAX_WAITING // len(self._reader.samples)):
            self._flush()

    def finish(self) -> TargetCalls:
        """All records."""
        self._flush()
        samples = self._reader.samples
        return TargetCalls(
            contig=self.name,
            samples=samples,
            sexes=(None,) * len(samples),
            positions=np.array(self._positions, dtype=np.int32),
            refs=tuple(self._refs),
            alts=tuple(self._alts),
            site_ids=tuple(self._ids),
            alleles=np.concatenate(self._alleles),
            is_phased=np.concatenate(self._is_phased),
            ref_is_known=np.array(self._ref_is_known, dtype=np.bool_),
            phase_sets=self._several_sets(),
            contig_length=self._reader.contig_length(self.name),
            source=str(self._reader.path),
        )

    def _several_sets(self) -> I32Array | None:
        """(R, S) phase sets; None where the phased heterozygotes of every sample are in one."""
        if not self._named_sets.named:
            return None
        sets, alleles = np.stack(self._phase_sets), np.concatenate(self._alleles)
        het = np.concatenate(self._is_phased) & (alleles >= 0).all(axis=2) & (alleles[:, :, 0] != alleles[:, :, 1])
        first = np.where(het, sets, np.iinfo(np.int32).max).min(axis=0)
        return sets if bool((het & (sets != first)).any()) else None

    def _flush(self) -> None:
        if not self._calls:
            return
        calls = np.stack(self._calls)
        none = calls == _NO_ALLELE
        alleles = (calls >> 1) - 1
        alleles[none] = NONE
        self._check_numbers(alleles)
        named = np.array([len(alts) for alts in self._alts[-len(alleles) :]])
        alleles[alleles > np.minimum(named, _MAX_ALLELES)[:, None, None]] = MISSING
        self._alleles.append(alleles.astype(np.int8))
        phased = (calls[:, :, 1] & 1) == 1
        self._is_phased.append(phased | none[:, :, 1] | (alleles[:, :, 0] == alleles[:, :, 1]))
        self._calls.clear()
        self._labels.clear()

    def _check_numbers(self, alleles: I32Array) -> None:
        most = np.array(self._n_alts[-len(alleles) :])
        wrong = (alleles > most[:, None, None]).any(axis=2)
        if wrong.any():
            record, sample = (int(i[0]) for i in np.nonzero(wrong))
            raise NotVcfError("names an allele that the record does not have", **self._where(record, sample))

    def _refuse_block(self, record: Record, label: str) -> None:
        with_info: InfoRecord = record  # type: ignore[assignment]
        if with_info.INFO.get("END") is not None:
            raise InputError(
                "stands for all sites to its END, as in a gVCF; make a VCF of it, with GATK's GenotypeGVCFs or"
                " `bcftools convert --gvcf2vcf --fasta-ref REF.fa`",
                path=self._reader.path,
                record=label,
            )

    def _pairs(self, record: Record, label: str) -> I32Array:
        """(S, 2) codes of calls; the second is no allele where a call has one."""
        calls = raw_calls(record)
        if calls is None:
            raise InputError(
                "the record has no GT; called genotypes are wanted: DS, GL and PL alone are not used",
                path=self._reader.path,
                record=label,
            )
        if calls.shape[1] == 2:
            return calls
        if calls.shape[1] == 1:
            return np.concatenate([calls, np.full_like(calls, _NO_ALLELE)], axis=1)
        n_alleles = (calls != _NO_ALLELE).sum(axis=1)
        sample = int(n_alleles.argmax())
        raise PloidyError(
            f"has {n_alleles[sample]} alleles, as {(n_alleles > 2).sum()} of {len(calls)} samples here have more than"
            " two; haploid and diploid samples can be imputed",
            path=self._reader.path,
            record=label,
            sample=self._reader.samples[sample],
        )

    def _where(self, record: int, sample: int) -> dict[str, str]:
        labels, samples = self._labels, self._reader.samples
        return {"path": str(self._reader.path), "record": labels[record], "sample": samples[sample]}
