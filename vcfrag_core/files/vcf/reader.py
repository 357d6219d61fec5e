"""VCF and BCF through htslib (cyvcf2), so that whatever goes wrong there is one of our errors.

htslib reports much of what goes wrong on standard error only. In particular an indexed query that meets a damaged
block ends like one that has reached its end, so the index is used here for nothing but finding the first record of
a region; all others are read in sequence, where a failed read is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cyvcf2

from vcfrag_core.errors import (
    InputError,
    NotVcfError,
    RangeError,
    TruncatedFileError,
    UnknownContigError,
)
from vcfrag_core.files.kinds import Kind, kind_of, refuse_other
from vcfrag_core.files.vcf.bgzf import ends_at
from vcfrag_core.files.vcf.index import last_offset
from vcfrag_core.files.vcf.text import check_calls, check_first_calls, check_header, check_text, line_of
from vcfrag_core.files.vcf.wholeness import check_ends, is_bgzf, is_compressed, unpacks
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.types import I32Array

_CONTIGS_NAMED = 30
_REGION = re.compile(r"(.+):([0-9][0-9,]*)(?:(-)([0-9][0-9,]*)?)?")


class Record(Protocol):
    """What is used here of a cyvcf2.Variant."""

    CHROM: str
    POS: int
    ID: str | None
    REF: str
    ALT: list[str]
    FORMAT: list[str]

    def format(self, field: str, vtype: type) -> Any:
        """(S, n) values of a FORMAT field, None where the record has none."""


class InfoRecord(Record, Protocol):
    """A record whose INFO is asked for too."""

    INFO: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """Records of `contig` whose POS lies in [start, stop], 1-based; no stop: to the contig's end."""

    contig: str
    start: int = 1
    stop: int | None = None

    def holds(self, contig: str, position: int) -> bool:
        """Whether a record belongs to the region; an indel by its POS, not by what it spans."""
        return contig == self.contig and position >= self.start and not self._ends_before(position)

    def is_behind(self, contig: str, position: int) -> bool:
        """Whether a record of a sorted file, met after the region's first, lies after its last."""
        return contig != self.contig or self._ends_before(position)

    def _ends_before(self, position: int) -> bool:
        return self.stop is not None and position > self.stop

    def __str__(self) -> str:
        if self.stop is None:
            # Names such as HLA-A*01:01 look like a region themselves.
            is_plain = self.start == 1 and _REGION.fullmatch(self.contig) is None
            return self.contig if is_plain else f"{self.contig}:{self.start}-"
        return f"{self.contig}:{self.start}-{self.stop}"


def parse_region(text: str) -> Region:
    """`20`, `20:100-200`, `20:100-` or `20:100` (that position only), as bcftools reads them; commas are allowed.

    Raises:
        RangeError: The start lies behind the stop, or is 0.
    """
    match = _REGION.fullmatch(text)
    if match is None:
        return Region(text)
    contig, first, dash, last = match.groups()
    start = int(first.replace(",", ""))
    stop = int(last.replace(",", "")) if last else (None if dash else start)
    if start < 1 or (stop is not None and stop < start):
        raise RangeError(f"region {text!r}: positions are 1-based and ascend")
    return Region(contig, start, stop)


def alleles_named(record: Record) -> tuple[str, ...]:
    """REF and the ALTs in capitals, as bases may be written in either case."""
    return tuple(in_capitals(allele) for allele in (record.REF, *record.ALT))


def in_capitals(allele: str) -> str:
    """Bases in capitals; what is no sequence, such as `<DEL>` or a breakend, as it is."""
    return allele.upper() if allele.isalpha() else allele


def check_contig(contig: str, contigs: Sequence[str], path: str | Path) -> None:
    """Refuses a contig that the file does not have, naming those that it has.

    Raises:
        UnknownContigError: `contig` is not among `contigs`; an alias is named, not used.
    """
    if contig in contigs:
        return
    alias = contig_alias(contig, contigs)
    hint = f"; this file calls it {alias!r}, ask for that" if alias else ""
    longer = next((name for name in contigs if name.startswith(f"{contig}:")), None)
    if longer is not None and not alias:
        hint = f"; all of {longer!r} is {Region(longer)}"
    raise UnknownContigError(f"no contig {contig!r} here{hint}; the file has {name_contigs(contigs)}", path=path)


def name_contigs(contigs: Sequence[str]) -> str:
    """The names for a message, the first 30 of many."""
    more = len(contigs) - _CONTIGS_NAMED
    return (", ".join(contigs[:_CONTIGS_NAMED]) or "none") + (f" and {more} more" if more > 0 else "")


class VcfReader:
    """An open VCF or BCF; iterating gives its records, those of the region if there is one, once.

    Attributes:
        path: The file.
        samples: S sample names of the header.
        contigs: Contigs that the header declares; those without records too, and none if it declares none.
        region: What was asked for.
    """

    def __init__(self, path: Path, vcf: cyvcf2.VCF, region: Region | None, index: Path | None) -> None:
        self.path = path
        self._is_text = kind_of(path) is Kind.VCF
        self.samples: tuple[str, ...] = tuple(vcf.samples)
        self.header: str = vcf.raw_header
        self.contigs = tuple(re.findall(r"^##contig=<(?:[^>]*,)?ID=([^,>]+)", self.header, re.MULTILINE))
        self.region = region
        self._known = set(self.contigs)
        self._is_checked = False
        self._is_index_checked = False
        self._vcf = vcf
        self._index = index
        if region is not None and self.contigs:
            check_contig(region.contig, self.contigs, path)

    def contig_length(self, contig: str) -> int | None:
        """Base pairs of the contig where the header says so."""
        for line in re.findall(r"^##contig=<(.*)>", self.header, re.MULTILINE):
            fields = dict(part.split("=", 1) for part in line.split(",") if "=" in part)
            if fields.get("ID") == contig and fields.get("length", "").isdigit():
                return int(fields["length"])
        return None

    def n_records(self) -> int | None:
        """Records of the whole file, as its index says; None without one."""
        return int(self._vcf.num_records) if self._index else None

    def contigs_with_records(self) -> tuple[str, ...]:
        """What the file really holds, for messages; reads all of it where there is no index. Ends the iteration."""
        if not (self._index and self.contigs):
            with open_vcf(self.path) as again:
                return tuple(dict.fromkeys(record.CHROM for record in again))
        self._check_index()
        return tuple(contig for contig in self.contigs if self._first_from(Region(contig)) is not None)

    def __iter__(self) -> Iterator[Record]:
        """Records in the file's order.

        Raises:
            TruncatedFileError: The file is damaged or ends early.
            NotVcfError: A record that cannot be parsed.
        """
        if self.region is not None and self._index:
            return self._from_index(self.region)
        self._check_text()
        if self.region is None:
            return self._sequence(None)
        return self._from_start(self.region)

    def _from_start(self, region: Region) -> Iterator[Record]:
        # To the file's end, not the region's: without an index nothing says that the file is sorted.
        for record in self._sequence(None):
            if region.holds(record.CHROM, record.POS):
                yield record

    def _first_from(self, region: Region) -> Record | None:
        with warnings.catch_warnings():
            # cyvcf2 warns of a contig without records; that is an empty answer here.
            warnings.simplefilter("ignore", UserWarning)
            try:
                first: Record | None = next(self._vcf(f"{region.contig}:{region.start}-"), None)
            except AssertionError as error:
                # So cyvcf2 says that an index cannot be loaded.
                raise self._damaged_index() from error
        return first

    def _from_index(self, region: Region) -> Iterator[Record]:
        self._check_index()
        first = self._first_from(region)
        if first is None:
            return
        for record in self._sequence(first):
            if region.is_behind(record.CHROM, record.POS):
                return
            if region.holds(record.CHROM, record.POS):
                yield record

    def _check_index(self) -> None:
        """Refuses an index of another file, as far as the file's first record and its end give it away; once.

        Raises:
            InputError: The index is damaged, does not find that record, or ends elsewhere.
        """
        if self._is_index_checked or self._index is None:
            return
        self._is_index_checked = True
        with open_vcf(self.path) as again:
            # Not as `iter` does it, which looks at all of the text first.
            begin = next(again._sequence(None), None)
            if begin is None:
                return
            place = begin.CHROM, begin.POS, begin.REF, tuple(begin.ALT)
            # POS 0 is a telomere, which no region reaches.
            found = again._first_from(Region(begin.CHROM, begin.POS)) if begin.POS > 0 else begin
        if found is None or (found.CHROM, found.POS, found.REF, tuple(found.ALT)) != place:
            raise self._foreign_index(f"does not find its first record, {begin.CHROM}:{begin.POS},")
        try:
            end = last_offset(gzip.decompress(self._index.read_bytes()))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise self._damaged_index() from error
        if not ends_at(self.path, end):
            raise self._foreign_index("does not end where its last record does")

    def _foreign_index(self, what: str) -> InputError:
        return InputError(
            f"its index {what} and is of another file; make it again with `bcftools index -f {self.path}`",
            path=self.path,
        )

    def _damaged_index(self) -> InputError:
        return InputError(f"its index is damaged; make it again with `bcftools index -f {self.path}`", path=self.path)

    def _sequence(self, record: Record | None) -> Iterator[Record]:
        if record is not None:
            yield record
        for n_before in itertools.count():
            try:
                following = next(self._vcf)
            except StopIteration:
                return
            except Exception as error:
                if type(error) is not Exception:
                    raise
                # cyvcf2 has no class of its own for a failed read.
                raise self._read_failure(record, n_before) from error
            if following.CHROM not in self._known:
                # Where htslib misread a line, any other field of the record may end the process.
                self._meet(following.CHROM)
            record = following
            yield record

    def _meet(self, contig: str) -> None:
        """Looks at the whole text where a contig was never declared: what stands there may be no record at all."""
        self._check_text()
        if self._is_text:
            check_first_calls(self.path, contig)
        self._known.add(contig)

    def _check_text(self) -> None:
        """Looks at the whole text, once."""
        if self._is_text and not self._is_checked:
            check_text(self.path)
            self._is_checked = True

    def _read_failure(self, last: Record | None, n_before: int) -> InputError:
        where = self._place_after(last)
        if is_compressed(self.path) and not unpacks(self.path):
            return TruncatedFileError(f"{where} cannot be read: the file is damaged or ends early", path=self.path)
        if self._is_text and (self.region is None or not self._index):
            number, line = line_of(self.path, n_before)
            if re.search(rb"\t[|/][0-9.]", line):
                return NotVcfError(
                    "has calls that begin with their phase, as VCF 4.4 allows and few programs read; take the first"
                    r" sign away: `sed -E '/^#/!s/\t[|\/]([0-9.])/\t\1/g'`",
                    path=self.path,
                    record=f"line {number}",
                )
            check_calls(self.path, number, line, self.samples)
        return NotVcfError(f"{where} is not a valid record; `bcftools view` says what is wrong with it", path=self.path)

    @staticmethod
    def _place_after(last: Record | None) -> str:
        return "its first record" if last is None else f"the record after {last.CHROM}:{last.POS}"


@contextlib.contextmanager
def open_vcf(path: str | Path, *, threads: int = 1, region: str | Region | None = None) -> Iterator[VcfReader]:
    """A VCF or BCF, plain, gzipped or bgzipped, for reading.

    With a region, the records of that contig whose POS lies within it; found through the index where there is one
    that is not older than the file, else by reading from the start.

    Args:
        path: The file.
        threads: Threads that decompress.
        region: A contig, or a part of one.

    Raises:
        InputError: No such file; while iterating, an index that is damaged.
        EmptyInputError: A file of no bytes.
        NotVcfError: Something else than VCF or BCF; while iterating, a line that is no record.
        TruncatedFileError: The file ends early.
        UnknownContigError: The region's contig is not declared in a header that declares contigs.
    """
    path = Path(path)
    check_ends(path)
    refuse_other(path)
    check_header(path)
    try:
        # lazy: fields that nobody asks for are never unpacked.
        vcf = cyvcf2.VCF(str(path), lazy=True, threads=threads if threads > 1 else None)
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        # cyvcf2 has no class of its own for a header that cannot be read.
        what = "its header is not whole (it must end in a #CHROM line with unique sample names)"
        if is_compressed(path) and not unpacks(path):
            what = "damaged: it cannot be decompressed"
        raise NotVcfError(f"neither VCF nor BCF, or {what}", path=path) from error
    with contextlib.closing(vcf):
        yield VcfReader(path, vcf, parse_region(region) if isinstance(region, str) else region, _index_of(path))


def _index_of(path: Path) -> Path | None:
    """The index if it is to be trusted: newer than the file, for a bgzipped one named by what it holds."""
    if not is_bgzf(path):
        return None
    with gzip.open(path) as file:
        is_bcf = file.read(3) == b"BCF"
    # cyvcf2 chooses the kind of index by the name.
    if is_bcf != (path.suffix == ".bcf"):
        return None
    modified = path.stat().st_mtime_ns
    # htslib takes the first that there is, however old.
    there = [index for suffix in (".csi", ".tbi") if (index := Path(f"{path}{suffix}")).is_file()]
    return there[0] if there and there[0].stat().st_mtime_ns >= modified else None


def raw_calls(record: Record) -> I32Array | None:
    """(S, ploidy) calls as BCF codes them: (allele + 1) << 1 | phased, allele -1 missing; None without GT.

    The phased bit is that of the separator *before* an allele, so the first allele's means nothing. Where samples
    differ in ploidy, the shorter ones are filled with -2147483647 (BCF specification, section 6.3.3).
    """
    calls: I32Array | None = record.format("GT", int)
    return calls
