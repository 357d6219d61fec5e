"""Room on disk that a job needs: chunks, the parts of an output that is merged, and the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.files.names import PLACE
from vcfrag_train.imputing.room import DOSAGES, Need, output_bytes, part_bytes
from vcfrag_train.jobs.manifest import Chunk, Manifest, Stretch, is_of_everybody, output_of

# What a chunk of some samples keeps of each site for the cohort's statistics, and one of everybody of R2.
_BYTES_OF_SUMS: Final = 320
_BYTES_OF_R2: Final = 8


def needs_of_job(manifest: Manifest, folder: Path, scratch: Path | None, chunks: Sequence[Chunk]) -> list[Need]:
    """What a job writes whose chunks are yet to be made.

    Args:
        manifest: The job.
        folder: Where its folder lies.
        scratch: Folder of what is written before an output is whole; the output's own without it.
        chunks: Those that are not done.
    """
    outputs = dict.fromkeys(output_of(manifest, stretch.contig) for stretch in manifest.stretches)
    n_bytes = sum(_bytes_of(manifest, chunk) for chunk in chunks)
    return [Need(folder, "chunks", n_bytes), *needs_of_merge(manifest, scratch, outputs)]


def needs_of_merge(manifest: Manifest, scratch: Path | None, outputs: Iterable[Path]) -> list[Need]:
    """What is written where chunks are joined: the outputs, and the parts of one of them at a time."""
    n_sites: dict[Path, int] = dict.fromkeys(outputs, 0)
    for stretch in manifest.stretches:
        path = output_of(manifest, stretch.contig)
        if path in n_sites:
            n_sites[path] += stretch.n_written
    if not n_sites:
        return []
    samples, chosen = len(manifest.samples), manifest.output
    parts = max(samples * n * part_bytes(path, chosen) for path, n in n_sites.items())
    whole = sum(samples * n * output_bytes(path, chosen) for path, n in n_sites.items())
    out = Path(manifest.out)
    of = "those of one contig" if PLACE in out.name else "its parts"
    return [Need(out.parent, out.name, whole), Need(scratch or out.parent, f"{of} while they are merged", parts)]


def _bytes_of(manifest: Manifest, chunk: Chunk) -> float:
    stretch = manifest.stretches[chunk.stretch]
    path, n_sites = output_of(manifest, stretch.contig), _sites_of(stretch, chunk)
    n_samples = chunk.samples[1] - chunk.samples[0]
    everybody = is_of_everybody(manifest, chunk)
    kept = part_bytes(path, manifest.output) if chunk.rows or everybody else DOSAGES
    return n_sites * (n_samples * kept + (_BYTES_OF_R2 if everybody else _BYTES_OF_SUMS))


def _sites_of(stretch: Stretch, chunk: Chunk) -> float:
    """Sites that a chunk writes, about."""
    return stretch.n_written * (chunk.windows[1] - chunk.windows[0]) / max(1, stretch.n_windows)
