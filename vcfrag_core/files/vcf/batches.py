"""Records whose samples come in batches, each compressed by who imputed it: they are joined without being read.

A record's samples take far more than what stands before them, and only the latter (AF, R2) follows from everybody. So
each batch's cells are BGZF blocks of their own, and a record is a block with its head and then those of the batches; in
a BCF, whose fields stand one after another, so it is for each field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

from vcfrag_core.files.vcf import bgzf
from vcfrag_core.files.vcf.bcf import BcfFormatter
from vcfrag_core.files.vcf.lines import LineFormatter
from vcfrag_core.files.vcf.writer import packed_table
from vcfrag_core.output.records import OutputRecords
from vcfrag_core.types import BoolArray, I64Array


@dataclasses.dataclass(frozen=True, slots=True)
class BatchRows:
    """A batch's cells at L sites, in F fields: one in a VCF, one for each FORMAT field in a BCF.

    Attributes:
        data: Blocks, site by site, and field by field within.
        sizes: (L, F) bytes of each.
    """

    data: bytes
    sizes: I64Array

    def of_site(self, site: int, starts: I64Array) -> list[bytes]:
        """The blocks of each field; `starts` as `starts_of` has them."""
        edges = starts[site * self.sizes.shape[1] :][: self.sizes.shape[1] + 1].tolist()
        return [self.data[a:b] for a, b in zip(edges, edges[1:], strict=False)]

    def starts(self) -> I64Array:
        """(L F + 1,) where each field of each site begins, and the end."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class BatchedRecords:
    """Records of consecutive sites whose samples come in batches.

    Attributes:
        records: What is written of the sites, without samples.
        keep: (L,) which of the batches' sites these are.
        batches: The cells of each batch, in the samples' order.
    """

    records: OutputRecords
    keep: BoolArray
    batches: Sequence[BatchRows]


def batch_rows(
    formatter: BcfFormatter | LineFormatter, records: OutputRecords, *, first: bool, last: bool
) -> BatchRows:
    """The cells of a batch of samples.

    Args:
        formatter: Of the output.
        records: The batch's own, whatever AF and R2 they have.
        first: Whether the batch begins with the first sample.
        last: Whether it ends with the last one.
    """
    each = [
        [bgzf.compress(cells)[0] for cells in fields] for fields in formatter.cells(records, first=first, last=last)
    ]
    sizes = np.array([[len(blocks) for blocks in fields] for fields in each], dtype=np.int64)
    return BatchRows(b"".join(blocks for fields in each for blocks in fields), sizes)


def write_batches(
    file: BinaryIO, formatter: BcfFormatter | LineFormatter, n_samples: int, pieces: Iterable[BatchedRecords]
) -> bytes:
    """Writes a window as `VcfParts` does, of samples that come in batches; returns its table."""
    begins: list[int] = []
    lengths: list[int] = []
    places: list[int] = [0]
    for piece in pieces:
        for position, length, blocks in _joined(formatter, n_samples, piece):
            begins.append(position - 1)
            lengths.append(length)
            file.write(blocks)
            places.append(places[-1] + len(blocks))
    # Every record begins a block.
    return packed_table(begins, lengths, np.array(places, dtype=np.int64) << 16, places[-1])


def _joined(
    formatter: BcfFormatter | LineFormatter, n_samples: int, piece: BatchedRecords
) -> list[tuple[int, int, bytes]]:
    """(position, length of REF, blocks) of every record, by position; kept records after the panel's own."""
    starts = [batch.starts() for batch in piece.batches]
    heads = formatter.heads(piece.records, n_samples)
    made = []
    for site, (position, length, head) in zip(np.flatnonzero(piece.keep).tolist(), heads, strict=True):
        cells = [batch.of_site(site, at) for batch, at in zip(piece.batches, starts, strict=True)]
        blocks = [b"".join(field) for field in zip(*cells, strict=True)]
        made.append((position, length, b"".join([bgzf.compress(head)[0], *blocks])))
    kept = formatter.kept(piece.records, n_samples)
    made += [(position, length, bgzf.compress(line)[0]) for position, length, line in kept]
    made.sort(key=lambda record: record[0])
    return made
