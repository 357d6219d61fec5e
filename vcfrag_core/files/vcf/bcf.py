"""Records as BCF2 (the VCF specification, section 6): the same values as the lines of a VCF, in binary."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from vcfrag_core.output.genotypes import NONE, ONE, ColumnTable
from vcfrag_core.output.header import INFO_FIELDS, string_numbers
from vcfrag_core.output.info import info_numbers
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, lone_ds
from vcfrag_core.types import BoolArray, F32Array, I16Array, IntArray, U8Array

MAGIC = b"BCF\2\2"
_INT8, _INT32, _FLOAT, _CHAR = 1, 3, 5, 7
_NO_VALUES = b"\x00"
_MISSING_FLOAT, _END_FLOAT, _END_INT8 = 0x7F800001, 0x7F800002, 0x81
# Bytes of a sample.
_WIDTHS: Final = {"GT": 2, "DS": 4, "HDS": 8, "GP": 12, "LOO": 4}
_SITE = struct.Struct("<iiiIHHI")
_LENGTHS = struct.Struct("<II")


def header_bytes(text: str) -> bytes:
    """The head of a BCF file around the text of its header."""
    data = text.encode() + b"\0"
    return MAGIC + struct.pack("<I", len(data)) + data


class BcfFormatter:
    """Makes BCF records, with the FORMAT fields asked for.

    Args:
        formats: FORMAT fields.
        contigs: Contigs in the header's order.
        x_male_dosage: DS of a man of X who surely carries ALT.
        infos: INFO fields of the header.
    """

    def __init__(
        self,
        formats: Sequence[str],
        contigs: Sequence[str],
        *,
        x_male_dosage: int = 1,
        infos: Sequence[str] = tuple(INFO_FIELDS),
    ) -> None:
        self._formats = tuple(formats)
        self._numbers = string_numbers(formats, infos)
        self._contigs = {name: i for i, name in enumerate(contigs)}
        self._columns = {lone: ColumnTable(lone_ds=lone) for lone in {1, x_male_dosage}}
        self._x_male_dosage = x_male_dosage
        self._info_keys = {name: _integer(self._numbers[name]) for name in self._numbers}

    def lines(self, records: OutputRecords) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, record) of every record, by position; kept records after the panel's own."""
        heads, cells = self.heads(records, records.n_samples), self.cells(records)
        made = [(*head[:2], b"".join((head[2], *fields))) for head, fields in zip(heads, cells, strict=True)]
        if records.kept:
            made += self.kept(records, records.n_samples)
            made.sort(key=lambda item: item[0])
        return made

    def heads(self, records: OutputRecords, n_samples: int) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, all before the samples) of the panel's own records."""
        contig = self._contigs[records.contig]
        made: list[tuple[int, int, bytes]] = []
        by_site = zip(records.positions.tolist(), info_numbers(records), records.typed.tolist(), strict=True)
        for i, (position, numbers, typed) in enumerate(by_site):
            info, n_info = self._info(numbers, typed=typed)
            site = SiteColumns(records.site_ids[i], records.refs[i], (records.alts[i],), info, n_info)
            fields = self._fields(records, typed)
            n_bytes = sum(len(self._prefix(name, _WIDTHS[name])) + _WIDTHS[name] * n_samples for name in fields)
            made.append((position, len(site.ref), self._head(contig, position, site, n_bytes, len(fields), n_samples)))
        return made

    def cells(self, records: OutputRecords, *, first: bool = True, last: bool = True) -> Iterator[tuple[bytes, ...]]:
        """What stands of the samples in each of the panel's own records, field by field; keys before the first one."""
        blocks = {name: (prefix if first else b"", rows) for name, prefix, rows in self._sample_blocks(records)}
        for i, typed in enumerate(records.typed.tolist()):
            used = [blocks[name] for name in self._fields(records, typed)]
            yield tuple(prefix + rows[i].tobytes() for prefix, rows in used)

    def kept(self, records: OutputRecords, n_samples: int) -> list[tuple[int, int, bytes]]:
        """(position, length of REF, record) of the records that are passed through."""
        if "GT" not in self._formats:
            return []
        contig = self._contigs[records.contig]
        return [(k.position, len(k.ref), self._kept(contig, k, n_samples)) for k in records.kept]

    def _fields(self, records: OutputRecords, typed: bool) -> list[str]:
        return [name for name in self._formats if name != "LOO" or (typed and records.loo is not None)]

    def _record(
        self, contig: int, position: int, site: SiteColumns, individual: bytes, n_format: int, n_samples: int
    ) -> bytes:
        return self._head(contig, position, site, len(individual), n_format, n_samples) + individual

    def _head(
        self, contig: int, position: int, site: SiteColumns, n_bytes: int, n_format: int, n_samples: int
    ) -> bytes:
        """What stands before the samples, which take so many bytes."""
        n_alleles = 1 + len(site.alts)
        counts = (site.n_info, n_alleles, n_format << 24 | n_samples)
        shared = _SITE.pack(contig, position - 1, len(site.ref), _MISSING_FLOAT, *counts)
        shared += _string(site.site_id if site.site_id != "." else "")
        shared += b"".join(_string(allele) for allele in (site.ref, *site.alts))
        shared += (_integer(0) if site.passed else _NO_VALUES) + site.info
        return _LENGTHS.pack(len(shared), n_bytes) + shared

    def _info(self, numbers: Mapping[str, str], *, typed: bool) -> tuple[bytes, int]:
        flag = self._info_keys["TYPED" if typed else "IMP"] + b"\x00"
        floats = b"".join(
            self._info_keys[n] + b"\x15" + struct.pack("<f", float(value)) for n, value in numbers.items()
        )
        return floats + flag, len(numbers) + 1

    def _sample_blocks(self, records: OutputRecords) -> list[tuple[str, bytes, U8Array]]:
        """Per FORMAT field: its name, its key and type, and (L, bytes) its values."""
        columns = self._columns[lone_ds(records.contig, self._x_male_dosage)].columns(
            records.dosage[:, :, 0], records.dosage[:, :, 1], records.both
        )
        values: dict[str, U8Array] = {}
        for name in self._formats:
            if name == "GT":
                values[name] = _rows(_phased(columns.gt, columns.gt[..., 1] == NONE))
            elif name == "LOO":
                if records.loo is not None:
                    values[name] = _rows(_floats(records.loo, _MISSING_FLOAT))
            else:
                numbers = {"DS": columns.ds, "HDS": records.dosage, "GP": columns.gp}[name]
                values[name] = _rows(_floats(numbers, _END_FLOAT))
        n_samples = records.n_samples
        return [(name, self._prefix(name, rows.shape[1] // n_samples), rows) for name, rows in values.items()]

    def _prefix(self, name: str, n_bytes: int) -> bytes:
        kind, size = (_INT8, 1) if name == "GT" else (_FLOAT, 4)
        return _integer(self._numbers[name]) + bytes([(n_bytes // size) << 4 | kind])

    def _kept(self, contig: int, kept: PassThroughRecord, n_samples: int) -> bytes:
        calls = _phased(kept.ploidy.pairs(kept.alleles, NONE), kept.ploidy.is_haploid)
        if kept.unphased is not None:
            calls[kept.unphased, 1] &= 0xFE
        site = SiteColumns(kept.site_id, kept.ref, kept.alts, self._info_keys["UNUSED"] + b"\x00", 1)
        return self._record(contig, kept.position, site, self._prefix("GT", 2) + calls.tobytes(), 1, n_samples)


class SiteColumns(NamedTuple):
    """What a record says before its samples; not `passed`, nothing of filters."""

    site_id: str
    ref: str
    alts: tuple[str, ...]
    info: bytes
    n_info: int
    passed: bool = True


def _phased(alleles: IntArray, lone: BoolArray) -> U8Array:
    """(..., 2) allele numbers, -1 missing, as BCF codes phased calls; (...) calls of which there is the first alone."""
    codes = (alleles.astype(np.int64) + 1) << 1
    codes[..., 1] |= 1
    codes[lone, 1] = _END_INT8
    return codes.astype(np.uint8)


def _floats(numbers: I16Array, negative: int) -> F32Array:
    """Thousandths as float32; for negative ones BCF's missing value, or its end of a vector."""
    values = (numbers.astype(np.float64) / ONE).astype("<f4")
    values.view("<u4")[numbers < 0] = negative
    return values


def _rows(values: U8Array | F32Array) -> U8Array:
    """(L, bytes) from values of L x S samples; L may be 0."""
    return np.ascontiguousarray(values).reshape(len(values), math.prod(values.shape[1:])).view(np.uint8)


def _integer(value: int) -> bytes:
    """A typed integer, in one byte or four."""
    return struct.pack("<Bb", 1 << 4 | _INT8, value) if value < 128 else struct.pack("<Bi", 1 << 4 | _INT32, value)


def _string(text: str) -> bytes:
    """A typed string; the empty one is what BCF writes for a missing ID."""
    data = text.encode()
    size = bytes([len(data) << 4 | _CHAR]) if len(data) < 15 else bytes([15 << 4 | _CHAR]) + _integer(len(data))
    return size + data
