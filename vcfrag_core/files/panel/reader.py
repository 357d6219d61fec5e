"""Reads a reference panel from VCF or BCF as it was published, stretch by stretch of equal ploidy.

Multi-allelic records become one site for each ALT, with every other allele as REF, as `bcftools norm -m-` makes them;
symbolic alleles are alleles; of records of the same position, REF and ALT the first is kept; records without ALT are
passed over. All are counted. What is not phased or not complete is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from vcfrag_core.errors import EmptyInputError, InputError, PloidyError, UnsortedError
from vcfrag_core.files.panel.calls import (
    MissingRule,
    PanelCalls,
    highest_allele,
    in_pairs,
    refuse_allele,
    refuse_ploidy,
    with_one_alt,
)
from vcfrag_core.files.vcf.phase_sets import PhaseSets
from vcfrag_core.files.vcf.reader import (
    Record,
    VcfReader,
    alleles_named,
    check_contig,
    name_contigs,
    open_vcf,
    raw_calls,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.sex_linked import without_repeated_haplotypes
from vcfrag_core.types import I32Array

_PROGRESS_SITES = 1024
# A contig has three where it is X. More mean that a sample is written now with one allele, now with two.
_MAX_STRETCHES = 8
# Among the counts of a panel: their haplotypes are not known to be those of the heterozygotes before.
OTHER_SETS = "heterozygotes_of_other_phase_sets"
_NO_SET = -1
_MISSING_CODE = 1


def read_panel(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    missing: MissingRule = MissingRule.REFUSE,
) -> Panel:
    """The panel of a file with one contig, or of a region, along which nobody's ploidy changes.

    Args:
        path, region, threads, progress, missing: See `read_panels`.

    Raises:
        PloidyError: There are several stretches; names their regions.
        InputError: See `read_panels`.
    """
    stretches = read_panels(path, region=region, threads=threads, progress=progress, missing=missing)
    return only_stretch(stretches, path)


def only_stretch(stretches: list[Panel], path: str | Path) -> Panel:
    """The panel, where there is one.

    Raises:
        PloidyError: There are several; names their regions.
    """
    if len(stretches) > 1:
        regions = ", ".join(f"{p.contig}:{p.positions[0]}-{p.positions[-1]}" for p in stretches)
        raise PloidyError(
            f"samples have one haplotype in one part of {stretches[0].contig} and two in another; choose a region of"
            f" {regions}",
            path=path,
        )
    return stretches[0]


def read_panels(
    path: str | Path,
    *,
    region: str | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    missing: MissingRule = MissingRule.REFUSE,
    scratch: Path | None = None,
) -> list[Panel]:
    """The panels of a file with one contig, or of a region: one for each stretch along which nobody's ploidy changes.

    Several records of one position are distinct sites where their alleles differ. A male beyond the pseudo-autosomal
    regions of X is one haplotype, be he written with one allele or with two equal ones. Memory: the packed panel, a
    sixteenth of it, and a block of 16 MB; of a panel of more than 512 MiB that much, and its sites.

    Args:
        path: VCF or BCF, plain, gzipped or bgzipped.
        region: A contig or a part of one, `20` or `20:60000-2300000`; needed where the file has several contigs.
        threads: Threads that decompress.
        progress: Called now and then with the number of sites read so far.
        missing: What missing alleles are taken for.
        scratch: Where the alleles of a large panel lie, in a file without a name; the folder for temporary files unless
            given.

    Raises:
        UnphasedError: Two alleles that differ, without phase; names record and sample.
        MissingAlleleError: A missing allele, unless it is taken for REF; names record and sample.
        PloidyError: More than two alleles, or the same sample now with one, now with two.
        UnsortedError: A position that falls.
        EmptyInputError: No sample, or no record in the region.
        UnknownContigError: The region's contig is not in the file.
        InputError: Several contigs without a region; a record without GT; no such file.
        NotVcfError, TruncatedFileError: See `open_vcf`.
    """
    with open_vcf(path, threads=threads, region=region) as reader:
        if not reader.samples:
            raise EmptyInputError("the panel has no samples", path=path)
        stretches = _Stretches(reader, missing, scratch)
        said = 0
        for record in reader:
            stretches.add(record)
            if progress is not None and stretches.n_sites - said >= _PROGRESS_SITES:
                said = stretches.n_sites
                progress(said)
        panels = stretches.finish()
        if not panels:
            _refuse_empty(reader)
        if progress is not None and stretches.n_sites > said:
            progress(stretches.n_sites)
    return without_repeated_haplotypes(panels[0]) if len(panels) == 1 else panels


@dataclasses.dataclass(frozen=True, slots=True)
class _Site:
    """A site of a record, which `label` names, with (S, 2) codes of its calls."""

    position: int
    ref: str
    alt: str
    site_id: str
    label: str
    calls: I32Array


class _Stretches:
    """The sites of the records in turn, in a new panel wherever somebody's ploidy changes."""

    def __init__(self, reader: VcfReader, missing: MissingRule, scratch: Path | None) -> None:
        self._records = _Records(reader)
        self._reader, self._missing, self._scratch = reader, missing, scratch
        self._panels: list[Panel] = []
        self._now: _Stretch | None = None
        self.n_sites = 0

    def add(self, record: Record) -> None:
        """Takes a record."""
        for site in self._records.sites(record):
            if self._now is None or not self._now.take(site):
                self._end(site.label)
                self._now = _Stretch(self._reader, self._missing, self._scratch)
                self._now.take(site)
            self.n_sites += 1

    def finish(self) -> list[Panel]:
        """All panels; the first one has the counts."""
        self._end("")
        if self._panels:
            first = self._panels[0]
            self._panels[0] = dataclasses.replace(first, counts={**self._records.counts, **first.counts})
        return self._panels

    def _end(self, label: str) -> None:
        if self._now is None:
            return
        self._panels.append(self._now.panel(self._records.contig))
        self._now = None
        if len(self._panels) == _MAX_STRETCHES:
            raise PloidyError(
                f"the number of alleles of some samples has changed {_MAX_STRETCHES} times; write every sample with one"
                " allele or with two all along (`bcftools +fixploidy`)",
                path=self._reader.path,
                record=label,
            )


class _Stretch:
    """Sites along which nobody's ploidy changes."""

    def __init__(self, reader: VcfReader, missing: MissingRule, scratch: Path | None) -> None:
        self._reader = reader
        self._positions: list[int] = []
        self._refs: list[str] = []
        self._alts: list[str] = []
        self._ids: list[str] = []
        self._calls = PanelCalls(reader.path, reader.samples, missing, scratch)

    def take(self, site: _Site) -> bool:
        """Takes a site, unless somebody's ploidy is another there; says whether it did."""
        if not self._calls.take(site.calls, site.label):
            return False
        self._positions.append(site.position)
        self._refs.append(site.ref)
        self._alts.append(site.alt)
        self._ids.append(site.site_id)
        return True

    def panel(self, contig: str) -> Panel:
        ploidy, bits = self._calls.finish()
        n_missing = self._calls.missing_as_reference
        return Panel(
            contig=contig,
            positions=np.array(self._positions, dtype=np.int32),
            refs=tuple(self._refs),
            alts=tuple(self._alts),
            site_ids=tuple(self._ids),
            samples=self._reader.samples,
            ploidy=ploidy,
            bits=bits,
            contig_length=self._reader.contig_length(contig),
            source=str(self._reader.path),
            counts={"missing_alleles_as_reference": n_missing} if n_missing else {},
        )


class _Records:
    """Makes sites of records, in order and each once."""

    def __init__(self, reader: VcfReader) -> None:
        self._reader = reader
        self._last = 0
        self._here: dict[tuple[str, str], I32Array] = {}
        self.contig = ""
        self.counts: dict[str, int] = {}
        sets = PhaseSets(reader.path, reader.header, len(reader.samples))
        self._sets = sets if sets.is_declared else None
        self._first_sets = np.full(len(reader.samples), _NO_SET, dtype=np.int64)

    def sites(self, record: Record) -> Iterator[_Site]:
        """The sites of a record that did not come before."""
        contig, position, (ref, *alts) = record.CHROM, record.POS, alleles_named(record)
        label = f"{contig}:{position} {ref}>{','.join(alts) or '.'}"
        if contig != self.contig:
            self._start_contig(contig)
        self._check_order(label, position)
        if not alts:
            self._count("records_without_alt")
            return
        calls = self._calls(record, label, len(alts))
        if self._sets is not None:
            self._note_sets(self._sets.of(record, label), calls)
        if len(alts) > 1:
            self._count("multiallelic_records")
        for number, alt in enumerate(alts, start=1):
            own = calls if len(alts) == 1 else with_one_alt(calls, number)
            if not alt.isalpha():
                self._count("symbolic_alleles")
            if self._is_new((ref, alt), own):
                yield _Site(position, ref, alt, record.ID or ".", label, own)

    def _is_new(self, alleles: tuple[str, str], calls: I32Array) -> bool:
        before = self._here.setdefault(alleles, calls)
        if before is calls:
            return True
        # Which of two equal alleles comes first, or how they are separated, is no difference.
        same = np.array_equal(before >> 1, calls >> 1)
        self._count("duplicate_sites" if same else "duplicate_sites_with_other_calls")
        return False

    def _calls(self, record: Record, label: str, n_alts: int) -> I32Array:
        calls, path, samples = raw_calls(record), self._reader.path, self._reader.samples
        if calls is None:
            raise InputError("the record has no GT", path=path, record=label)
        if calls.shape[1] > 2:
            refuse_ploidy(calls, path, label, samples)
        # Of a single ALT it is seen when the calls are packed.
        if n_alts > 1 and highest_allele(calls) > n_alts:
            refuse_allele(calls, n_alts, path, label, samples)
        return in_pairs(calls)

    def _note_sets(self, sets: I32Array, calls: I32Array) -> None:
        """Counts heterozygotes of (S,) other phase sets than their sample's first heterozygote."""
        het = (calls[:, 0] >> 1 != calls[:, 1] >> 1) & (calls > _MISSING_CODE).all(axis=1)
        new = het & (self._first_sets == _NO_SET)
        self._first_sets[new] = sets[new]
        others = int((het & (self._first_sets != sets)).sum())
        if others:
            self._count(OTHER_SETS, others)

    def _start_contig(self, contig: str) -> None:
        if self.contig:
            names = name_contigs(self._reader.contigs_with_records())
            raise InputError(
                f"several contigs ({names}), of which one is read here: name it as the region, or, where no region can"
                f" be named, make a file of it (`bcftools view --regions {self.contig}`)",
                path=self._reader.path,
            )
        self.contig = contig

    def _check_order(self, label: str, position: int) -> None:
        if position < self._last:
            raise UnsortedError(
                f"comes after position {self._last}; `bcftools sort` puts records in order",
                path=self._reader.path,
                record=label,
            )
        if position > self._last:
            self._here.clear()
        self._last = position

    def _count(self, what: str, times: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + times


def _refuse_empty(reader: VcfReader) -> NoReturn:
    if reader.region is None:
        raise EmptyInputError("the file has no records", path=reader.path)
    check_contig(reader.region.contig, reader.contigs_with_records(), reader.path)
    raise EmptyInputError(f"no record lies in {reader.region}", path=reader.path)
