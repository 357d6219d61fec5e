"""The genetic map of a stretch as a job has it: read by `plan` once, and from then on from the job's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.imputation.windows import imputation_windows
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_train.jobs.manifest import Manifest, Stretch, require_same


def write_map(genetic_map: GeneticMap, folder: Path, number: int) -> None:
    """Keeps the map of a stretch in the job's folder."""
    with atomic_path(_file(folder, number)) as temporary, temporary.open("wb") as file:
        np.savez(file, positions=genetic_map.positions, cm=genetic_map.cm)


def state_of(path: Path | None) -> tuple[int, int] | None:
    """Size and time of change of a map's file: what it keeps on every machine that sees it while it is as it was."""
    if path is None:
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def map_of(manifest: Manifest, folder: Path, number: int, panel: Panel) -> GeneticMap:
    """The genetic map that a stretch was planned with; its file is not read where it is as it was.

    Raises:
        GeneticMapError: The file cannot be read.
        ProvenanceMismatchError: The file holds another map now.
    """
    stretch = manifest.stretches[number]
    genetic_map = _map(stretch, folder, number, panel)
    require_same("genetic map", stretch.map or "of 1 cM per Mb", stretch.map_digest, genetic_map.digest)
    return genetic_map


def _map(stretch: Stretch, folder: Path, number: int, panel: Panel) -> GeneticMap:
    if stretch.map is None:
        return GeneticMap.constant(panel.contig, int(panel.positions[0]), int(panel.positions[-1]))
    path = Path(stretch.map)
    kept = _file(folder, number)
    if path.is_file() and state_of(path) == stretch.map_state and kept.is_file():
        with np.load(kept, allow_pickle=False) as table:
            return GeneticMap(positions=table["positions"], cm=table["cm"], contig=panel.contig, source=stretch.map)
    return map_for(panel, path)


def windows_of(manifest: Manifest, folder: Path, number: int, panel: Panel) -> list[Window]:
    """The windows of a stretch, as its chunks have them."""
    genetic_map = map_of(manifest, folder, number, panel)
    return imputation_windows(genetic_map.at(panel.positions), manifest.stretches[number].parameters.flank_cm)


def _file(folder: Path, number: int) -> Path:
    return folder / f"map-{number:04d}.npz"
