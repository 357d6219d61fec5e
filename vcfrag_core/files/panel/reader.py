"""Reads a reference panel from VCF or BCF, and refuses whatever is not phased, complete, biallelic and diploid."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from vcfrag_core.errors import (
    DuplicateRecordError,
    EmptyInputError,
    InputError,
    MissingAlleleError,
    MultiallelicError,
    NotVcfError,
    PloidyError,
    UnphasedError,
    UnsortedError,
)
from vcfrag_core.files.vcf.reader import Record, VcfReader, check_contig, name_contigs, open_vcf, raw_calls
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.types import BoolArray, I32Array, I64Array, U8Array

# BCF codes of a call, see htslib.raw_calls.
_MISSING = 1
_REF = 2
_ALT = 4
_MAX_CODE = 5
_PHASED_BIT = 1
_NO_ALLELE = -2147483647

_BLOCK_BYTES = 16 << 20
_GROUPS = 16


def read_panel(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Panel:
    """The panel of a file with one contig, or of a region.

    Several records of one position are distinct sites where their alleles differ. Memory: the packed panel, a
    sixteenth of it, and a block of 16 MB.

    Args:
        path: VCF or BCF, plain, gzipped or bgzipped.
        region: A contig or a part of one, `20` or `20:60000-2300000`; needed where the file has several contigs.
        threads: Threads that decompress.
        progress: Called now and then with the number of sites read so far.

    Raises:
        UnphasedError, MissingAlleleError, PloidyError: A call that is not two phased alleles; names record and sample.
        MultiallelicError: A record with several ALT; says how to split it.
        DuplicateRecordError: A second record of the same position, REF and ALT.
        UnsortedError: A position that falls.
        EmptyInputError: No sample, or no record in the region.
        UnknownContigError: The region's contig is not in the file.
        InputError: Several contigs without a region; a record with no ALT, or one that is no sequence; no such file.
        NotVcfError, TruncatedFileError: See `open_vcf`.
    """
    with open_vcf(path, threads=threads, region=region) as reader:
        if not reader.samples:
            raise EmptyInputError("the panel has no samples", path=path)
        sites = _Sites(reader)
        calls = _Calls(reader)
        for record in reader:
            calls.add(record, sites.add(record))
            if calls.is_full:
                calls.flush()
                if progress is not None:
                    progress(len(sites.positions))
        if not sites.positions:
            _refuse_empty(reader)
        return Panel(
            contig=sites.contig,
            positions=np.array(sites.positions, dtype=np.int32),
            refs=tuple(sites.refs),
            alts=tuple(sites.alts),
            site_ids=tuple(sites.ids),
            samples=reader.samples,
            ploidy=Ploidy.diploid(len(reader.samples)),
            packed=calls.packed(),
            contig_length=reader.contig_length(sites.contig),
            source=str(path),
        )


class _Sites:
    """The columns before the calls, checked record by record."""

    def __init__(self, reader: VcfReader) -> None:
        self._reader = reader
        self._alleles_here: set[tuple[str, str]] = set()
        self.contig = ""
        self.positions: list[int] = []
        self.refs: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []

    def add(self, record: Record) -> str:
        """Takes the record and returns its label."""
        contig, position, ref, alts = record.CHROM, record.POS, record.REF, record.ALT
        label = f"{contig}:{position} {ref}>{','.join(alts) or '.'}"
        if contig != self.contig:
            self._start_contig(contig)
        if len(alts) != 1 or not alts[0].isalpha():
            self._refuse_alleles(label, alts)
        self._check_place(label, position, (ref, alts[0]))
        self.positions.append(position)
        self.refs.append(ref)
        self.alts.append(alts[0])
        self.ids.append(record.ID or ".")
        return label

    def _start_contig(self, contig: str) -> None:
        if self.contig:
            names = name_contigs(self._reader.contigs_with_records())
            raise InputError(f"several contigs ({names}); choose one with a region", path=self._reader.path)
        self.contig = contig

    def _check_place(self, label: str, position: int, alleles: tuple[str, str]) -> None:
        last = self.positions[-1] if self.positions else 0
        if position < last:
            raise UnsortedError(
                f"comes after position {last}; `bcftools sort` puts records in order",
                path=self._reader.path,
                record=label,
            )
        if position > last:
            self._alleles_here.clear()
        elif alleles in self._alleles_here:
            raise DuplicateRecordError(
                f"is there twice; `bcftools norm -d exact -Ob -o unique.bcf {self._reader.path}` keeps the first",
                path=self._reader.path,
                record=label,
            )
        self._alleles_here.add(alleles)

    def _refuse_alleles(self, label: str, alts: list[str]) -> NoReturn:
        path = self._reader.path
        if len(alts) > 1:
            raise MultiallelicError(
                f"has {len(alts)} ALT alleles; split such records with `bcftools norm -m -any -Ob -o split.bcf {path}`",
                path=path,
                record=label,
            )
        what = f"the ALT {alts[0]} is no sequence" if alts else "there is no ALT"
        keep = f"bcftools view -m2 -M2 -v snps,indels,mnps -Ob -o sequences.bcf {path}"
        raise InputError(f"{what}; leave such records out with `{keep}`", path=path, record=label)


class _Calls:
    """The calls, checked and packed in blocks of records."""

    def __init__(self, reader: VcfReader) -> None:
        self._path = reader.path
        self._samples = reader.samples
        n_haplotypes = 2 * len(reader.samples)
        n_records = max(8, _BLOCK_BYTES // (4 * n_haplotypes) // 8 * 8)
        self._block: I32Array = np.empty((n_records, n_haplotypes), dtype=np.int32)
        self._labels: list[str] = []
        self._bits = _GrowingBits(n_haplotypes)

    @property
    def is_full(self) -> bool:
        return len(self._labels) == len(self._block)

    def add(self, record: Record, label: str) -> None:
        calls = raw_calls(record)
        if calls is None:
            raise InputError("the record has no GT", path=self._path, record=label)
        if calls.shape[1] != 2:
            self._refuse(calls, label)
        self._block[len(self._labels)] = calls.reshape(-1)
        self._labels.append(label)

    def flush(self) -> None:
        """Packs the block's records; only the last block may hold a number that is no multiple of 8."""
        block = self._block[: len(self._labels)]
        if block.size:
            self._check(block)
            self._bits.append(block >= _ALT)
        self._labels.clear()

    def packed(self) -> U8Array:
        """(H, ceil(V / 8)) bits of all records."""
        self.flush()
        return self._bits.haplotype_major()

    def _check(self, block: I32Array) -> None:
        in_range = int(block.min()) >= _REF and int(block.max()) <= _MAX_CODE
        if in_range and bool((block[:, 1::2] & _PHASED_BIT).all()):
            return
        wrong = (block < _REF) | (block > _MAX_CODE)
        wrong[:, 1::2] |= (block[:, 1::2] & _PHASED_BIT) == 0
        first = int(np.flatnonzero(wrong.any(axis=1))[0])
        self._refuse(block[first].reshape(-1, 2), self._labels[first])

    def _refuse(self, calls: I32Array, label: str) -> NoReturn:
        """Names the first thing that is wrong with a record: ploidy before missing alleles before phase."""
        alleles: I64Array = (calls != _NO_ALLELE).sum(axis=1)
        missing = np.asarray(((calls >= 0) & (calls <= _MISSING)).any(axis=1))
        # A lone "." stands for a missing call of any ploidy.
        other_ploidy = (alleles != 2) & ~((alleles == 1) & missing)
        if bool(other_ploidy.any()):
            sample = int(np.flatnonzero(other_ploidy)[0])
            raise PloidyError(
                f"has {alleles[sample]} allele(s) where two are needed; only diploid panels can be used",
                **self._where(label, sample),
            )
        if bool(missing.any()):
            raise MissingAlleleError(
                f"has a missing allele, as {missing.sum()} of {len(missing)} samples here; a reference panel must be"
                " complete: leave such records out with `bcftools view -g ^miss`, or have them imputed first",
                **self._where(label, int(np.flatnonzero(missing)[0])),
            )
        unphased: BoolArray = (calls[:, 1] & _PHASED_BIT) == 0
        if bool(unphased.any()):
            raise UnphasedError(
                f"is not phased, as {unphased.sum()} of {len(unphased)} samples here; phase the panel first"
                " (Beagle, SHAPEIT, Eagle)",
                **self._where(label, int(np.flatnonzero(unphased)[0])),
            )
        sample = int(np.flatnonzero((calls > _MAX_CODE).any(axis=1))[0])
        raise NotVcfError("names an allele that the record does not have", **self._where(label, sample))

    def _where(self, label: str, sample: int) -> dict[str, str]:
        return {"path": str(self._path), "record": label, "sample": self._samples[sample]}


class _GrowingBits:
    """Bits that come site by site and are wanted haplotype by haplotype.

    They are kept in groups of haplotypes, so that the transposition at the end needs the panel and one group, not
    the panel twice; each group in a mapping of its own, because only mappings are sure to go back to the system.
    """

    def __init__(self, n_haplotypes: int) -> None:
        borders = sorted({n_haplotypes * i // _GROUPS for i in range(_GROUPS + 1)})
        self._slices = [slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True)]
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._groups = [mmap.mmap(-1, mmap.PAGESIZE, flags=flags) for _ in self._slices]
        self._n_bytes = 0

    def append(self, alleles: BoolArray) -> None:
        """Adds (n, H) alleles; n is a multiple of 8 except at the end."""
        # Packing along the last axis of a transposed copy is twice as fast as along the first.
        rows = bit.pack(np.ascontiguousarray(alleles.T)).T
        for part, group in zip(self._slices, self._groups, strict=True):
            width = part.stop - part.start
            needed = (self._n_bytes + len(rows)) * width
            if needed > len(group):
                # Moves pages, not bytes; a page that is never written to takes no memory.
                group.resize(2 * needed)
            self._rows(group, width, self._n_bytes, len(rows))[:] = rows[:, part]
        self._n_bytes += len(rows)

    def haplotype_major(self) -> U8Array:
        """(H, bytes) bits; empties this object as it goes."""
        packed = np.empty((self._slices[-1].stop, self._n_bytes), dtype=np.uint8)
        for part, group in zip(self._slices, self._groups, strict=True):
            packed[part] = self._rows(group, part.stop - part.start, 0, self._n_bytes).T
            group.close()
        return packed

    @staticmethod
    def _rows(group: mmap.mmap, width: int, start: int, n_rows: int) -> U8Array:
        return np.frombuffer(group, np.uint8, n_rows * width, start * width).reshape(n_rows, width)


def _refuse_empty(reader: VcfReader) -> NoReturn:
    if reader.region is None:
        raise EmptyInputError("the file has no records", path=reader.path)
    check_contig(reader.region.contig, reader.contigs_with_records(), reader.path)
    raise EmptyInputError(f"no record lies in {reader.region}", path=reader.path)
