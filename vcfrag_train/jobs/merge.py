"""Joins the chunks of a job: windows without seams, batches of samples with the cohort's own statistics."""

from __future__ import annotations

import contextlib
import functools
import json
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.outputs import companions, open_writer
from vcfrag_core.output.header import Header, ordered_lines
from vcfrag_core.output.writer import RecordWriter
from vcfrag_train.imputing.room import check_room
from vcfrag_train.jobs.chunks.chunk_file import ChunkReader, chunk_file, is_done
from vcfrag_train.jobs.manifest import Chunk, Manifest, contigs_of, is_of_everybody, output_of, require_same
from vcfrag_train.jobs.room import needs_of_merge
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
        ConfigError: Chunks are missing; names them. Or there is no room for the outputs.
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
    for line in check_room(needs_of_merge(manifest, scratch, [path for path, n in done.items() if n is None])):
        reporter.say(line)
    results = []
    for path, numbers in outputs.items():
        n_records = done[path]
        if n_records is None:
            n_records = _merge_one(manifest, folder, path, numbers, threads, scratch, reporter)
            _mark(manifest, folder, path, n_records)
        else:
            reporter.say(f"{path} is there already, whole, and stays as it is")
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


def remove_work(folder: Path) -> None:
    """Removes the chunks of a job, and what says that they were merged; it begins anew then."""
    shutil.rmtree(folder / "chunks", ignore_errors=True)
    for mark in (*folder.glob("merging-*.json"), *folder.glob("merged-*.json")):
        mark.unlink()


def _merge_one(
    manifest: Manifest,
    folder: Path,
    path: Path,
    numbers: Sequence[int],
    threads: int,
    scratch: Path | None,
    reporter: Reporter,
) -> int:
    begun_before = _read_mark(_begun_file(folder, path)) == {"manifest": manifest.decisions}
    with open_writer(
        path, manifest.output, contigs=contigs_of(manifest, path), threads=threads, resume=begun_before, scratch=scratch
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
    chunks = [chunk for chunk in manifest.chunks if chunk.stretch == number]
    if all(is_of_everybody(manifest, chunk) for chunk in chunks):
        _take_stretch(manifest, folder, number, chunks, writer, before, reporter)
    else:
        _join_stretch(manifest, folder, number, chunks, writer, before, threads, reporter)
    return before + manifest.stretches[number].n_windows


def _take_stretch(
    manifest: Manifest,
    folder: Path,
    number: int,
    chunks: Sequence[Chunk],
    writer: RecordWriter,
    before: int,
    reporter: Reporter,
) -> None:
    """Takes the windows as the chunks have them, which are of everybody."""
    stretch = manifest.stretches[number]
    for chunk in chunks:
        with ChunkReader(chunk_file(folder, chunk), manifest, chunk) as reader:
            for window in range(*chunk.windows):
                if reader.has_part(window) and not writer.has(stretch.contig, before + window):
                    writer.put(stretch.contig, before + window, functools.partial(reader.copy_part, window))
                reporter.sites(window + 1, stretch.n_windows)


def _join_stretch(
    manifest: Manifest,
    folder: Path,
    number: int,
    chunks: Sequence[Chunk],
    writer: RecordWriter,
    before: int,
    threads: int,
    reporter: Reporter,
) -> None:
    """Joins batches of samples, window by window."""
    # Chunks of everybody are joined without what these bring along.
    from vcfrag_core.files.panel.cache import load_panel
    from vcfrag_core.files.vcf.batches import write_batches
    from vcfrag_train.imputing.min_r2 import with_min_r2
    from vcfrag_train.jobs.chunks.joining import formatter_for, window_records, window_rows
    from vcfrag_train.jobs.maps import windows_of
    from vcfrag_train.jobs.targets import read_targets

    stretch = manifest.stretches[number]
    panel = load_panel(Path(stretch.panel), region=stretch.region, threads=threads, missing=manifest.panel_missing)
    require_same("panel", stretch.panel, stretch.panel_digest, panel.digest)
    targets = read_targets(folder, number, stretch)
    formatter = formatter_for(manifest, stretch.contig) if any(chunk.rows for chunk in chunks) else None
    for window in windows_of(manifest, folder, number, panel):
        place = before + window.number
        if targets.written[window.start : window.stop].any() and not writer.has(stretch.contig, place):
            of_window = [c for c in chunks if c.windows[0] <= window.number < c.windows[1]]
            of_window.sort(key=lambda chunk: chunk.samples)
            with contextlib.ExitStack() as stack:
                readers = [stack.enter_context(ChunkReader(chunk_file(folder, c), manifest, c)) for c in of_window]
                batches = [reader.pieces(window.number) for reader in readers]
                if formatter is not None:
                    rows = window_rows(manifest, window, panel, targets, batches)
                    make = functools.partial(
                        write_batches, formatter=formatter, n_samples=len(manifest.samples), pieces=rows
                    )
                    writer.put(stretch.contig, place, make)
                else:
                    joined = window_records(manifest, window, panel, targets, batches)
                    writer.write(stretch.contig, place, (with_min_r2(r, manifest.min_r2) for r in joined))
        reporter.sites(window.stop, panel.n_sites)


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
    """Records of an output that is there as it was merged, with what belongs beside it; None where it is not."""
    mark = _read_mark(_mark_file(folder, path))
    if not isinstance(mark, dict) or not path.is_file():
        return None
    status = path.stat()
    same = mark.get("manifest") == manifest.decisions and mark.get("bytes") == status.st_size
    same = same and mark.get("beside") == _beside(path)
    return int(mark["records"]) if same and mark.get("changed") == status.st_mtime_ns else None


def _beside(path: Path) -> dict[str, int]:
    """Bytes of what was written beside an output."""
    return {file.name: file.stat().st_size for file in companions(path) if file.is_file()}


def _mark(manifest: Manifest, folder: Path, path: Path, n_records: int) -> None:
    status = path.stat()
    mark = {
        "manifest": manifest.decisions,
        "records": n_records,
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "beside": _beside(path),
    }
    _mark_file(folder, path).write_text(json.dumps(mark))
