"""From pieces to the records of a window: what a chunk of everybody writes, and what `merge` writes of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vcfrag_core.output.genotypes import NONE
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, records_at
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import I16Array
from vcfrag_train.imputing.selection import with_min_r2
from vcfrag_train.jobs.chunk_file import Piece, SitesOfPiece, pieces_of
from vcfrag_train.jobs.manifest import Manifest
from vcfrag_train.jobs.targets import StretchTargets


def window_records(
    manifest: Manifest, window: Window, panel: Panel, targets: StretchTargets, batches: Sequence[Iterator[Piece]]
) -> Iterator[OutputRecords]:
    """The records of a window, some sites at a time, of everybody.

    Args:
        manifest: The job.
        window: The window.
        panel: Its panel.
        targets: What was decided of the stretch.
        batches: The window's pieces of each batch of samples, in the order of the samples; they are read to their end.
    """
    for place in pieces_of(window, targets.written, manifest.sites_per_piece):
        kept = _between(targets.kept, panel, place.start, place.stop)
        if len(place.written):
            pieces = [next(batch) for batch in batches]
        elif kept:
            pieces = [Piece.without_sites(len(manifest.samples))]
        else:
            continue
        yield _records(manifest, place, panel, targets, pieces, kept)
    for batch in batches:
        if next(batch, None) is not None:
            raise ValueError("a batch has more pieces than the window")


def _records(
    manifest: Manifest,
    place: SitesOfPiece,
    panel: Panel,
    targets: StretchTargets,
    pieces: Sequence[Piece],
    kept: Sequence[PassThroughRecord],
) -> OutputRecords:
    first, *others = [piece.sums for piece in pieces]
    records = records_at(
        panel,
        place.written,
        dosage=dosage_of(pieces),
        typed=targets.observed[place.written],
        sums=sum(others, start=first),
        er2=targets.er2[place.written],
        both=_both(pieces),
        kept=kept,
    )
    return with_min_r2(records, manifest.min_r2)


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
