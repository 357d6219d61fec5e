"""Joins the chunks of a job: windows without seams, batches of samples with the cohort's own statistics."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import open_writer
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.imputation.windows import imputation_windows
from vcfrag_core.output.genotypes import NONE
from vcfrag_core.output.header import Header, ordered_lines
from vcfrag_core.output.records import OutputRecords, PassThroughRecord, records_at
from vcfrag_core.output.writer import RecordWriter
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.types import I16Array
from vcfrag_train.imputing.selection import with_min_r2
from vcfrag_train.jobs.chunk_file import ChunkReader, Piece, chunk_file, is_done, map_of, pieces_of, require_same
from vcfrag_train.jobs.manifest import Chunk, Manifest, output_of
from vcfrag_train.jobs.targets import StretchTargets, read_targets
from vcfrag_train.reporter import SILENT, Reporter


def merge(
    manifest: Manifest,
    folder: Path,
    *,
    threads: int = 1,
    scratch: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[tuple[Path, int]]:
    """Writes the outputs of a job whose chunks are done; what is written already and whole is left alone.

    Args:
        manifest: The job.
        folder: Its folder.
        threads: Threads that compress.
        scratch: Folder of what is written before an output is whole; the output's own without it.
        reporter: Is told how it goes.

    Returns:
        Each output and its number of records.

    Raises:
        ConfigError: Chunks are missing; names them.
        TruncatedFileError: A chunk is damaged.
        ProvenanceMismatchError: The panel is not what the job was planned with.
    """
    _allow_open_files()
    missing = missing_chunks(manifest, folder)
    outputs: dict[Path, list[int]] = {}
    for number, stretch in enumerate(manifest.stretches):
        outputs.setdefault(output_of(manifest, stretch.contig), []).append(number)
    done = {path: _merged(manifest, folder, path) for path in outputs}
    if missing and not all(done.values()):
        named = ", ".join(map(str, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise ConfigError(f"{len(missing)} of {len(manifest.chunks)} chunks are not done: {named}; run them first")
    results = []
    for path, numbers in outputs.items():
        n_records = done[path]
        if n_records is None:
            n_records = _merge_one(manifest, folder, path, numbers, threads, scratch, reporter)
            _mark(manifest, folder, path, n_records)
        results.append((path, n_records))
    return results


def _allow_open_files() -> None:
    """As many as the system lets this process have: all batches of a window are read side by side."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Some systems name a limit that they do not grant.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def missing_chunks(manifest: Manifest, folder: Path) -> list[int]:
    """Numbers of the chunks that are not done, or not whole."""
    return [c.number for c in manifest.chunks if not is_done(chunk_file(folder, c), manifest, c)]


def _merge_one(
    manifest: Manifest,
    folder: Path,
    path: Path,
    numbers: Sequence[int],
    threads: int,
    scratch: Path | None,
    reporter: Reporter,
) -> int:
    contigs = list(dict.fromkeys(manifest.stretches[number].contig for number in numbers))
    begun_before = _read_mark(_begun_file(folder, path)) == {"manifest": manifest.decisions}
    with open_writer(
        path, manifest.output, contigs=contigs, threads=threads, resume=begun_before, scratch=scratch
    ) as writer:
        _begun_file(folder, path).write_text(json.dumps({"manifest": manifest.decisions}))
        begun: dict[str, int] = {}
        for number in numbers:
            contig = manifest.stretches[number].contig
            if contig not in begun:
                writer.begin(contig, {"manifest": manifest.decisions})
            reporter.stage(f"merging {contig}")
            begun[contig] = _merge_stretch(manifest, folder, number, writer, begun.get(contig, 0), threads, reporter)
        return writer.finish(_header(manifest, numbers))


def _merge_stretch(
    manifest: Manifest,
    folder: Path,
    number: int,
    writer: RecordWriter,
    before: int,
    threads: int,
    reporter: Reporter,
) -> int:
    """Writes the windows of a stretch, of whose contig so many are written before; returns how many are then."""
    stretch = manifest.stretches[number]
    panel = load_panel(Path(stretch.panel), region=stretch.region, threads=threads, missing=manifest.panel_missing)
    require_same("panel", stretch.panel, stretch.panel_digest, panel.digest)
    targets = read_targets(folder, number, panel.n_sites)
    windows = windows_of(manifest, number, panel)
    chunks = [chunk for chunk in manifest.chunks if chunk.stretch == number]
    for window in windows:
        place = before + window.number
        if targets.written[window.start : window.stop].any() and not writer.has(stretch.contig, place):
            of_window = [c for c in chunks if c.windows[0] <= window.number < c.windows[1]]
            of_window.sort(key=lambda chunk: chunk.samples)
            writer.write(stretch.contig, place, _records(manifest, folder, of_window, window, panel, targets))
        reporter.sites(window.stop, panel.n_sites)
    return before + len(windows)


def windows_of(manifest: Manifest, number: int, panel: Panel) -> list[Window]:
    """The windows of a stretch, as its chunks have them."""
    stretch = manifest.stretches[number]
    return imputation_windows(map_of(stretch, panel).at(panel.positions), stretch.parameters.flank_cm)


def _records(
    manifest: Manifest,
    folder: Path,
    chunks: Sequence[Chunk],
    window: Window,
    panel: Panel,
    targets: StretchTargets,
) -> Iterator[OutputRecords]:
    """The records of a window, some sites at a time, of everybody."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(ChunkReader(chunk_file(folder, c), manifest, c)) for c in chunks]
        for place in pieces_of(window, targets.written, manifest.sites_per_piece):
            kept = _between(targets.kept, panel, place.start, place.stop)
            if len(place.written):
                pieces = [reader.piece(window.number, place.number) for reader in readers]
            elif kept:
                pieces = [Piece.without_sites(len(manifest.samples))]
            else:
                continue
            first, *others = [piece.sums for piece in pieces]
            records = records_at(
                panel,
                place.written,
                dosage=np.concatenate([piece.dosage for piece in pieces], axis=1),
                typed=targets.observed[place.written],
                sums=sum(others, start=first),
                er2=targets.er2[place.written],
                both=_both(pieces),
                kept=kept,
            )
            yield with_min_r2(records, manifest.min_r2)


def _both(pieces: Sequence[Piece]) -> I16Array | None:
    """(L, S) thousandths of everybody; None where everybody's haplotypes are independent."""
    if all(piece.both is None for piece in pieces):
        return None
    return np.concatenate(
        [np.full(p.dosage.shape[:2], NONE, dtype=np.int16) if p.both is None else p.both for p in pieces], axis=1
    )


def _between(kept: Sequence[PassThroughRecord], panel: Panel, start: int, stop: int) -> list[PassThroughRecord]:
    """Kept records from site `start` to just before site `stop`; the contig's ends take what lies beyond."""
    low = int(panel.positions[start]) if start else 0
    high = int(panel.positions[stop]) if stop < panel.n_sites else np.iinfo(np.int64).max
    return [record for record in kept if low <= record.position < high]


def _header(manifest: Manifest, numbers: Sequence[int]) -> Header:
    stretches = [manifest.stretches[number] for number in numbers]
    lines = [line for stretch in stretches for line in stretch.lines]
    provenance = [("version", manifest.version), ("command", manifest.command)]
    provenance += [("model", method) for method in dict.fromkeys(stretch.method for stretch in stretches)]
    provenance += ordered_lines(lines)
    return Header(
        samples=manifest.samples,
        contigs={stretch.contig: stretch.contig_length for stretch in stretches},
        formats=manifest.output.formats,
        provenance=provenance,
    )


def _begun_file(folder: Path, path: Path) -> Path:
    """Says that the parts of an output are those of this job, and not of a run before."""
    return folder / f"merging-{path.name}.json"


def _read_mark(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _mark_file(folder: Path, path: Path) -> Path:
    return folder / f"merged-{path.name}.json"


def _merged(manifest: Manifest, folder: Path, path: Path) -> int | None:
    """Records of an output that is there as it was merged; None where it is not."""
    mark = _read_mark(_mark_file(folder, path))
    if not isinstance(mark, dict) or not path.is_file():
        return None
    status = path.stat()
    same = mark.get("manifest") == manifest.decisions and mark.get("bytes") == status.st_size
    return int(mark["records"]) if same and mark.get("changed") == status.st_mtime_ns else None


def _mark(manifest: Manifest, folder: Path, path: Path, n_records: int) -> None:
    status = path.stat()
    mark = {
        "manifest": manifest.decisions,
        "records": n_records,
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
    }
    _mark_file(folder, path).write_text(json.dumps(mark))
