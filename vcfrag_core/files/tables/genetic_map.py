"""Reads genetic maps in the layouts that phasing and imputation tools use.

PLINK, Beagle      chr id cM bp                              no header
SHAPEIT, GLIMPSE   pos chr cM                                header, or none
without ids        chr pos cM                                header, or none
HapMap, Eagle      Chromosome Position(bp) Rate(cM/Mb) Map(cM)   header
IMPUTE2            position COMBINED_rate(cM/Mb) Genetic_Map(cM) header; any contig
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import GeneticMapError
from vcfrag_core.files.tables.text import numbered_lines
from vcfrag_core.files.vcf.reader import name_contigs
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import FloatArray, IntArray

MIN_COVERED_SHARE = 0.5
# Chromosomes of animals and plants have 0.3 to 10 cM per Mb. A map below this over some length is in other units.
MIN_CM_PER_MB = 0.05
_MIN_MB = 1.0
# In a piece, the stretch before it tells, too: a map in centimorgan begins where the contig does.
_MIN_CM_PER_MB_OF_PIECE = 0.1
_MIN_MB_OF_PIECE = 0.5

# A line's number and fields. The garbage collector goes through lists of strings again and again, but not tuples.
_Row = tuple[int, tuple[str, ...]]


class GeneticMapWarning(UserWarning):
    """Genetic distances are guessed."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Columns:
    """Where a line holds what; no contig column: the map is for the contig that was asked for."""

    position: int
    cm: int
    contig: int | None
    n_fields: int


def read_genetic_map(path: str | Path, contig: str) -> GeneticMap:
    """The contig's map; `20` and `chr20` are one contig. Lines that repeat the line before are left out.

    Raises:
        GeneticMapError: No such file, no layout that is known, other contigs only, a value that is no number,
            positions that do not ascend, cM that fall or are all the same; names the line.
    """
    columns, body = _read(path)
    if columns.contig is not None:
        body = _of_contig(path, body, columns.contig, contig)
    return _assembled(path, body, columns, contig)


def require_contigs(path: str | Path, contigs: Sequence[str]) -> None:
    """Refuses a map that lacks any of the contigs.

    Raises:
        GeneticMapError: As `read_genetic_map` of the first that it lacks, but for what the lines say.
    """
    columns, body = _read(path)
    for contig in contigs if columns.contig is not None else ():
        _of_contig(path, body, columns.contig or 0, contig)


def _read(path: str | Path) -> tuple[_Columns, list[_Row]]:
    """The layout, and all lines but a header."""
    rows = [(number, tuple(line.split())) for number, line in numbered_lines(path, GeneticMapError)]
    if not rows:
        raise GeneticMapError("the file is empty", path=path)
    has_header = not any(_is_number(field) for field in rows[0][1])
    columns = _named_columns(path, rows[0][1]) if has_header else _known_columns(path, [row for _, row in rows])
    body = rows[1:] if has_header else rows
    if not body:
        raise GeneticMapError("there is nothing after the header", path=path)
    for number, row in body:
        if len(row) != columns.n_fields:
            raise GeneticMapError(f"{len(row)} fields, not {columns.n_fields}", path=path, record=f"line {number}")
    return columns, body


def map_for(panel: Panel, path: str | Path | None) -> GeneticMap:
    """The map for a panel: from a file, or 1 cM per Mb with a warning.

    Raises:
        GeneticMapError: As `read_genetic_map`, or the map covers less than half of the panel's sites, or has so few
            centimorgan that they are Morgans.
    """
    first, last = int(panel.positions[0]), int(panel.positions[-1])
    if path is None:
        warnings.warn(
            f"no genetic map: 1 cM per Mb is assumed on {panel.contig}; a map makes imputation more accurate",
            GeneticMapWarning,
            stacklevel=2,
        )
        return GeneticMap.constant(panel.contig, first, last)
    genetic_map = read_genetic_map(path, panel.contig)
    _check_units(path, genetic_map)
    start, stop = int(genetic_map.positions[0]), int(genetic_map.positions[-1])
    covered = int(((panel.positions >= start) & (panel.positions <= stop)).sum())
    if covered < MIN_COVERED_SHARE * panel.n_sites:
        raise GeneticMapError(
            f"covers {panel.contig}:{start}-{stop}, where {covered} of the panel's {panel.n_sites} sites"
            f" ({panel.contig}:{first}-{last}) lie; is it of another genome build or region?",
            path=path,
        )
    return genetic_map


def _check_units(path: str | Path, genetic_map: GeneticMap) -> None:
    mb = float(genetic_map.positions[-1] - genetic_map.positions[0]) / 1e6
    cm = float(genetic_map.cm[-1] - genetic_map.cm[0])
    least_at_end = _MIN_CM_PER_MB_OF_PIECE * float(genetic_map.positions[-1]) / 1e6
    is_low = mb >= _MIN_MB and cm < MIN_CM_PER_MB * mb
    is_low_piece = mb >= _MIN_MB_OF_PIECE and cm < _MIN_CM_PER_MB_OF_PIECE * mb and genetic_map.cm[-1] < least_at_end
    if is_low or is_low_piece:
        raise GeneticMapError(
            f"has {cm:.3g} cM in {mb:.3g} Mb of {genetic_map.contig}, {cm / mb:.2g} per Mb: are these Morgans?"
            " Multiply them by 100; where they are none, give the map of the whole contig",
            path=path,
        )


def _named_columns(path: str | Path, header: Sequence[str]) -> _Columns:
    names = [name.lower().lstrip("#") for name in header]

    def find(pattern: str) -> int | None:
        return next((i for i, name in enumerate(names) if re.fullmatch(pattern, name)), None)

    position, cm = find(r"pos|position.*|bp|base.*|physical.*"), find(r"cm|.*map.*|.*[(_]cm\)?")
    if position is None or cm is None:
        raise GeneticMapError(
            f"the header {' '.join(header)!r} names no position and no cM; write `pos chr cM`", path=path
        )
    return _Columns(position, cm, find(r"chr|chrom.*|contig"), len(names))


def _known_columns(path: str | Path, rows: Sequence[Sequence[str]]) -> _Columns:
    if len(rows[0]) == 4:
        return _Columns(position=3, cm=2, contig=0, n_fields=4)
    if len(rows[0]) != 3:
        raise GeneticMapError(
            f"{len(rows[0])} fields and no header; PLINK's `chr id cM bp` or SHAPEIT's `pos chr cM` are wanted",
            path=path,
        )
    # Of two columns, the one that hardly changes names the contig.
    contig = 0 if len({row[0] for row in rows}) < len({row[1] for row in rows if len(row) > 1}) else 1
    return _Columns(position=1 - contig, cm=2, contig=contig, n_fields=3)


def _of_contig(path: str | Path, rows: list[_Row], column: int, contig: str) -> list[_Row]:
    there = tuple(dict.fromkeys(row[column] for _, row in rows))
    name = contig_alias(contig, there)
    if name is None:
        raise GeneticMapError(f"the map is for {name_contigs(there)}, not for {contig}", path=path)
    return [(number, row) for number, row in rows if row[column] == name]


def _assembled(path: str | Path, rows: list[_Row], columns: _Columns, contig: str) -> GeneticMap:
    positions = _numbers(path, rows, columns.position, int).astype(np.int64)
    cm = _numbers(path, rows, columns.cm, float).astype(np.float64)
    step, rise = np.diff(positions), np.diff(cm)
    repeats = (step == 0) & (rise == 0)
    falls = np.flatnonzero(~repeats & ((step <= 0) | (rise < 0)))
    if len(falls):
        i = int(falls[0])
        raise GeneticMapError(
            f"position {positions[i + 1]} at {cm[i + 1]:g} cM comes after {positions[i]} at {cm[i]:g} cM;"
            " both must ascend",
            path=path,
            record=f"line {rows[i + 1][0]}",
        )
    if cm[0] == cm[-1]:
        raise GeneticMapError(f"the map holds no genetic distance on {contig}: all cM are the same", path=path)
    kept = np.concatenate(([True], ~repeats))
    return GeneticMap(positions=positions[kept], cm=cm[kept], contig=contig, source=str(path))


def _numbers(path: str | Path, rows: list[_Row], column: int, kind: type[int] | type[float]) -> IntArray | FloatArray:
    values: list[float] = []
    try:
        values.extend(_number(row[column], kind) for _, row in rows)
        unusable = np.flatnonzero(~np.isfinite(values))
        first_wrong = int(unusable[0]) if len(unusable) else None
    except ValueError:
        first_wrong = len(values)
    if first_wrong is not None:
        line, row = rows[first_wrong]
        what = "a position, a whole number" if kind is int else "a number of cM"
        raise GeneticMapError(f"{row[column]!r} is not {what}", path=path, record=f"line {line}")
    return np.array(values)


def _number(field: str, kind: type[int] | type[float]) -> float:
    value = kind(field)
    if kind is int and abs(value) >= 1 << 31:
        raise ValueError("no position")
    return value


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
