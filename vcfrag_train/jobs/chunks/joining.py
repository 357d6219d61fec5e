"""From pieces to the records of a window: what a chunk of everybody writes, and what `merge` writes of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vcfrag_core.files.vcf.batches import BatchedRecords
from vcfrag_core.files.vcf.bcf import BcfFormatter
from vcfrag_core.files.vcf.lines import LineFormatter
from vcfrag_core.files.vcf.writer import formatter_of
from vcfrag_core.output.genotypes import NONE
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, records_at
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import I16Array
from vcfrag_train.imputing.min_r2 import has_min_r2
from vcfrag_train.jobs.chunks.chunk_file import Piece, SitesOfPiece, pieces_of
from vcfrag_train.jobs.manifest import Manifest, contigs_of, output_of
from vcfrag_train.jobs.targets import StretchTargets


def window_records(
    manifest: Manifest, window: Window, panel: Panel, targets: StretchTargets, batches: Sequence[Iterator[Piece]]
) -> Iterator[OutputRecords]:
    """The records of a window, some sites at a time, of everybody; `with_min_r2` tells which of them are written.

    Args:
        manifest: The job.
        window: The window.
        panel: Its panel.
        targets: What was decided of the stretch.
        batches: The window's pieces of each batch of samples, in the order of the samples; they are read to their end.
    """
    for place, kept, pieces in _places(manifest, window, panel, targets, batches):
        yield _records(place, panel, targets, pieces, kept, dosage_of(pieces))


def window_rows(
    manifest: Manifest, window: Window, panel: Panel, targets: StretchTargets, batches: Sequence[Iterator[Piece]]
) -> Iterator[BatchedRecords]:
    """As `window_records`, of batches that keep rows."""
    for place, kept, pieces in _places(manifest, window, panel, targets, batches):
        nobody = np.zeros((len(place.written), 0, 2), dtype=np.int16)
        records = _records(place, panel, targets, pieces, kept, nobody)
        keep = has_min_r2(records, manifest.min_r2)
        rows = [piece.rows for piece in pieces if piece.rows is not None]
        yield BatchedRecords(records if keep.all() else records.select(keep), keep, rows)


def _places(
    manifest: Manifest, window: Window, panel: Panel, targets: StretchTargets, batches: Sequence[Iterator[Piece]]
) -> Iterator[tuple[SitesOfPiece, list[PassThroughRecord], list[Piece]]]:
    """Sites, records that are passed through among them, and what the batches have of them."""
    for place in pieces_of(window, targets.written, manifest.sites_per_piece):
        kept = _between(targets.kept, panel, place.start, place.stop)
        if len(place.written):
            yield place, kept, [next(batch) for batch in batches]
        elif kept:
            yield place, kept, [Piece.without_sites(len(manifest.samples))]
    for batch in batches:
        if next(batch, None) is not None:
            raise ValueError("a batch has more pieces than the window")


def _records(
    place: SitesOfPiece,
    panel: Panel,
    targets: StretchTargets,
    pieces: Sequence[Piece],
    kept: Sequence[PassThroughRecord],
    dosage: I16Array,
) -> OutputRecords:
    first, *others = [piece.sums for piece in pieces]
    return records_at(
        panel,
        place.written,
        dosage=dosage,
        typed=targets.observed[place.written],
        sums=sum(others, start=first),
        er2=targets.er2[place.written],
        both=_both(pieces),
        kept=kept,
    )


def formatter_for(manifest: Manifest, contig: str) -> BcfFormatter | LineFormatter:
    """What makes the rows and heads of the output that a contig goes to."""
    path = output_of(manifest, contig)
    return formatter_of(path, manifest.output.formats, contigs_of(manifest, path), manifest.output.x_male_dosage)


def dosage_of(pieces: Sequence[Piece]) -> I16Array:
    """(L, S, 2) thousandths of everybody."""
    there = [piece.dosage for piece in pieces if piece.dosage is not None]
    return there[0] if len(there) == 1 else np.concatenate(there, axis=1)


def _both(pieces: Sequence[Piece]) -> I16Array | None:
    """(L, S) thousandths of everybody; None where everybody's haplotypes are independent."""
    if all(piece.both is None for piece in pieces):
        return None
    each = [_independent(piece) if piece.both is None else piece.both for piece in pieces]
    return np.concatenate(each, axis=1)


def _independent(piece: Piece) -> I16Array:
    return np.full((len(piece.sums.base), piece.sums.n_samples), NONE, dtype=np.int16)


def _between(kept: Sequence[PassThroughRecord], panel: Panel, start: int, stop: int) -> list[PassThroughRecord]:
    """Kept records from site `start` to just before site `stop`; the contig's ends take what lies beyond."""
    low = int(panel.positions[start]) if start else 0
    high = int(panel.positions[stop]) if stop < panel.n_sites else np.iinfo(np.int64).max
    return [record for record in kept if low <= record.position < high]
