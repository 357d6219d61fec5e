"""Coordinate indexes of a bgzipped VCF (TBI, or CSI for contigs beyond 512 Mb) and of a BCF (CSI).

Formats: the tabix and CSI specifications of samtools/hts-specs. Built from what the writer knows of its own records,
so that a finished file need not be read again. Of an index that is read it is asked where the last record ends.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np

from vcfrag_core.files.vcf import bgzf
from vcfrag_core.types import I64Array

MIN_SHIFT = 14
TBI_DEPTH = 5
TBI_MAX_POSITION = 1 << 29
_TABIX_VCF = (2, 1, 2, 0, ord("#"), 0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContigRecords:
    """The records of one contig, in file order.

    Attributes:
        contig: Its name.
        begins: (R,) 0-based first position, non-decreasing.
        ends: (R,) 0-based position after the last of REF.
        starts: (R,) virtual offset of each record.
        stops: (R,) virtual offset after it.
    """

    contig: str
    begins: I64Array
    ends: I64Array
    starts: I64Array
    stops: I64Array


def tbi(contigs: Sequence[ContigRecords]) -> bytes:
    """A tabix index, bgzipped."""
    names = b"".join(c.contig.encode() + b"\0" for c in contigs)
    head = struct.pack("<4s8i", b"TBI\1", len(contigs), *_TABIX_VCF, len(names)) + names
    return _bgzipped(head + b"".join(_tbi_contig(c) for c in contigs))


def csi(contigs: Sequence[ContigRecords], *, max_position: int, is_vcf: bool) -> bytes:
    """A CSI index, bgzipped; a VCF's carries the tabix columns and names, a BCF's counts contigs as its header does."""
    depth = depth_for(max_position)
    names = b"".join(c.contig.encode() + b"\0" for c in contigs)
    aux = struct.pack("<7i", *_TABIX_VCF, len(names)) + names if is_vcf else b""
    head = struct.pack("<4s3i", b"CSI\1", MIN_SHIFT, depth, len(aux)) + aux + struct.pack("<i", len(contigs))
    return _bgzipped(head + b"".join(_csi_contig(c, depth) for c in contigs))


def last_offset(index: bytes) -> int:
    """Virtual offset after the last record that a TBI or CSI, unpacked, knows; 0 if it knows none.

    Raises:
        ValueError: This is neither, or not whole.
    """
    try:
        if index[:4] == b"TBI\1":
            n_contigs, names = struct.unpack_from("<i24xi", index, 4)
            at, depth, bin_head = 36 + names, TBI_DEPTH, struct.Struct("<Ii")
        elif index[:4] == b"CSI\1":
            depth, aux = struct.unpack_from("<4xii", index, 4)
            (n_contigs,) = struct.unpack_from("<i", index, 16 + aux)
            at, bin_head = 20 + aux, struct.Struct("<I8xi")
        else:
            raise ValueError("neither TBI nor CSI")
        summary, last = _first_bin(depth + 1) + 1, 0
        for _ in range(n_contigs):
            (n_bins,) = struct.unpack_from("<i", index, at)
            at += 4
            for _ in range(n_bins):
                number, n_chunks = bin_head.unpack_from(index, at)
                at += bin_head.size + 16 * n_chunks
                if number != summary and n_chunks:
                    # Chunks ascend.
                    last = max(last, *struct.unpack_from("<Q", index, at - 8))
            if bin_head.size == 8:
                (n_linear,) = struct.unpack_from("<i", index, at)
                at += 4 + 8 * n_linear
    except struct.error as error:
        raise ValueError("not whole") from error
    return last


def depth_for(max_position: int) -> int:
    """Levels of bins that reach `max_position`; at least those of a tabix index."""
    depth = TBI_DEPTH
    while (1 << (MIN_SHIFT + 3 * depth)) < max_position:
        depth += 1
    return depth


def bins_of(begins: I64Array, ends: I64Array, depth: int) -> I64Array:
    """(R,) the smallest bin that holds each [begin, end); `reg2bin` of the CSI specification."""
    last = np.maximum(ends, begins + 1) - 1
    bins = np.zeros(len(begins), dtype=np.int64)
    done = np.zeros(len(begins), dtype=np.bool_)
    for level in range(depth, 0, -1):
        shift = MIN_SHIFT + 3 * (depth - level)
        fits = ~done & (begins >> shift == last >> shift)
        bins[fits] = _first_bin(level) + (begins[fits] >> shift)
        done |= fits
    return bins


def _first_bin(level: int) -> int:
    return int(((1 << (3 * level)) - 1) // 7)


def _bin_start(number: int, depth: int) -> int:
    """First position that bin `number` covers."""
    level = next(n for n in range(depth + 1) if number < _first_bin(n + 1))
    return (number - _first_bin(level)) << (MIN_SHIFT + 3 * (depth - level))


def _linear(records: ContigRecords) -> I64Array:
    """(W,) per 16 kb: the first offset of a record that overlaps it, or of the next record after it."""
    last = (np.maximum(records.ends, records.begins + 1) - 1) >> MIN_SHIFT
    offsets = np.full(int(last.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(offsets, last, records.starts)
    first = records.begins >> MIN_SHIFT
    np.minimum.at(offsets, first, records.starts)
    for i in np.flatnonzero(last - first > 1):
        window = slice(int(first[i]), int(last[i]))
        offsets[window] = np.minimum(offsets[window], records.starts[i])
    return np.minimum.accumulate(offsets[::-1])[::-1]


def _chunks(records: ContigRecords, depth: int) -> dict[int, list[tuple[int, int]]]:
    """Bin to its chunks; records that follow each other in one bin share a chunk."""
    bins = bins_of(records.begins, records.ends, depth)
    borders = np.flatnonzero(np.diff(bins)) + 1
    first = np.concatenate(([0], borders))
    last = np.concatenate((borders, [len(bins)])) - 1
    chunks: dict[int, list[tuple[int, int]]] = {}
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        chunks.setdefault(int(bins[a]), []).append((int(records.starts[a]), int(records.stops[b])))
    return chunks


def _summary_chunks(records: ContigRecords) -> list[tuple[int, int]]:
    """What the pseudo-bin holds: the extent in the file, and the number of records."""
    return [(int(records.starts[0]), int(records.stops[-1])), (len(records.begins), 0)]


def _tbi_contig(records: ContigRecords) -> bytes:
    if not len(records.begins):
        return struct.pack("<ii", 0, 0)
    chunks = _chunks(records, TBI_DEPTH)
    chunks[_first_bin(TBI_DEPTH + 1) + 1] = _summary_chunks(records)
    body = b"".join(struct.pack("<Ii", b, len(c)) + _pack_chunks(c) for b, c in sorted(chunks.items()))
    linear = _linear(records)
    return struct.pack("<i", len(chunks)) + body + struct.pack("<i", len(linear)) + linear.astype("<u8").tobytes()


def _csi_contig(records: ContigRecords, depth: int) -> bytes:
    if not len(records.begins):
        return struct.pack("<i", 0)
    chunks = _chunks(records, depth)
    linear = _linear(records)
    body = b""
    for number, chunk in sorted(chunks.items()):
        offset = int(linear[min(_bin_start(number, depth) >> MIN_SHIFT, len(linear) - 1)])
        body += struct.pack("<IQi", number, offset, len(chunk)) + _pack_chunks(chunk)
    summary = _summary_chunks(records)
    body += struct.pack("<IQi", _first_bin(depth + 1) + 1, 0, len(summary)) + _pack_chunks(summary)
    return struct.pack("<i", len(chunks) + 1) + body


def _pack_chunks(chunks: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<QQ", *chunk) for chunk in chunks)


def _bgzipped(data: bytes) -> bytes:
    return bgzf.compress(data, level=6)[0] + bgzf.EOF_BLOCK
