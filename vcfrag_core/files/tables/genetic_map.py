"""Reads genetic maps in the layouts that phasing and imputation tools use.

PLINK, Beagle      chr id cM bp                              no header
SHAPEIT, GLIMPSE   pos chr cM                                header, or none
without ids        chr pos cM                                header, or none
HapMap, Eagle      Chromosome Position(bp) Rate(cM/Mb) Map(cM)   header
IMPUTE2            position COMBINED_rate(cM/Mb) Genetic_Map(cM) header; any contig
"""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import io
import itertools
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vcfrag_core.errors import GeneticMapError
from vcfrag_core.files.tables.text import file_state, lines_that_say, numbered_pieces
from vcfrag_core.files.vcf.reader import name_contigs
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel.genetic_map import GeneticMap, GeneticMapWarning
from vcfrag_core.panel.panel import Panel
from vcfrag_core.types import F64Array, I64Array

MIN_COVERED_SHARE = 0.5
_WELL_COVERED_SHARE = 0.9
# Chromosomes of animals and plants have 0.3 to 10 cM per Mb. A map below this over some length is in other units.
MIN_CM_PER_MB = 0.05
_MIN_MB = 1.0
# In a piece, the stretch before it tells, too: a map in centimorgan begins where the contig does.
_MIN_CM_PER_MB_OF_PIECE = 0.1
_MIN_MB_OF_PIECE = 0.5
# Bees have 26, yeast 350 on contigs of less than 2 Mb; base pairs taken for centimorgans are a million.
_MAX_CM_PER_MB = 60.0
_MIN_MB_OF_CONTIG = 5.0
_MAX_CM_PER_MB_OF_PIECE = 10_000.0

# So many lines tell which of two columns names the contig, where no header does.
_LINES_THAT_TELL: Final = 10_000
_POSITIONS: Final = 1 << 31
# Longer names of contigs are read line by line.
_LONGEST_NAME: Final = 32


@dataclasses.dataclass(frozen=True, slots=True)
class _Columns:
    """Where a line holds what; no contig column: the map is for the contig that was asked for."""

    position: int
    cm: int
    contig: int | None
    n_fields: int


class _Lines:
    """Lines of one contig as numbers: objects for each would take a hundred bytes a line, and time to let go."""

    def __init__(self) -> None:
        self.numbers, self.positions, self.cm = array.array("q"), array.array("q"), array.array("d")
        # The first line that is unusable, and why; it matters where its contig is asked for.
        self.fault: tuple[int, str] | None = None

    def add(self, number: int, fields: Sequence[str], columns: _Columns) -> None:
        """Takes a line; after one that is unusable it takes none."""
        if self.fault is not None:
            return
        field, what = fields[columns.position], "a position, a whole number"
        try:
            position = _position(field)
            field, what = fields[columns.cm], "a number of cM"
            cm = _centimorgan(field)
        except ValueError:
            self.fault = number, f"{field!r} is not {what}"
            return
        self.numbers.append(number)
        self.positions.append(position)
        self.cm.append(cm)

    def extend(self, first: int, positions: I64Array, cm: F64Array) -> None:
        """Takes consecutive lines that are usable; none after one that is not."""
        if self.fault is None:
            self.numbers.extend(range(first, first + len(positions)))
            self.positions.frombytes(positions.tobytes())
            self.cm.frombytes(cm.tobytes())


def read_genetic_map(path: str | Path, contig: str) -> GeneticMap:
    """The contig's map; `20` and `chr20` are one contig. Lines that repeat the line before are left out.

    Raises:
        GeneticMapError: No such file, no layout that is known, other contigs only, a value that is no number,
            positions that do not ascend, cM that fall or are all the same; names the line.
    """
    return _assembled(path, _lines_of(path, contig), contig)


def require_contigs(path: str | Path, contigs: Sequence[str]) -> None:
    """Refuses a map that lacks any of the contigs.

    Raises:
        GeneticMapError: As `read_genetic_map` of the first that it lacks, but for what the lines say.
    """
    for contig in contigs:
        _lines_of(path, contig)


def _lines_of(path: str | Path, contig: str) -> _Lines:
    there = _read(path)
    if None in there:
        return there[None]
    names = [name for name in there if name is not None]
    name = contig_alias(contig, names)
    if name is None:
        raise GeneticMapError(f"the map is for {name_contigs(names)}, not for {contig}", path=path)
    return there[name]


def _read(path: str | Path) -> dict[str | None, _Lines]:
    """What the file holds, contig by contig; a file that is as it was is not read a second time."""
    return _parse(path, file_state(path))


@functools.lru_cache(maxsize=1)
def _parse(path: str | Path, state: tuple[int, ...]) -> dict[str | None, _Lines]:
    pieces = numbered_pieces(path, GeneticMapError)
    number, piece, head = 1, "", list[tuple[int, str]]()
    while not head:
        number, piece = next(pieces, (0, ""))
        if not number:
            raise GeneticMapError("the file is empty", path=path)
        head = list(itertools.islice(lines_that_say(number, io.StringIO(piece)), _LINES_THAT_TELL))
    first = head[0][1].split()
    has_header = not any(_is_number(field) for field in first)
    columns = _named_columns(path, first) if has_header else _known_columns(path, [row.split() for _, row in head])
    if has_header:
        n_lines = head[0][0] - number + 1
        number, piece = number + n_lines, "".join(piece.split("\n", n_lines)[n_lines:])
    there: dict[str | None, _Lines] = collections.defaultdict(_Lines)
    for start, lines in itertools.chain([(number, piece)], pieces):
        _add_piece(path, there, start, lines, columns)
    if not there:
        raise GeneticMapError("there is nothing after the header", path=path)
    return dict(there)


def _add_piece(path: str | Path, there: dict[str | None, _Lines], first: int, piece: str, columns: _Columns) -> None:
    """Takes whole lines, of which the first has a number: all at once, or one by one where that cannot be."""
    table = _table(piece, columns)
    if table is None:
        for number, line in lines_that_say(first, io.StringIO(piece)):
            fields = line.split()
            if len(fields) != columns.n_fields:
                raise GeneticMapError(
                    f"{len(fields)} fields, not {columns.n_fields}", path=path, record=f"line {number}"
                )
            there[None if columns.contig is None else fields[columns.contig]].add(number, fields, columns)
        return
    borders = [0, len(table)]
    if columns.contig is not None:
        contigs = table["contig"]
        borders[1:1] = (np.flatnonzero(contigs[1:] != contigs[:-1]) + 1).tolist()
    for start, stop in itertools.pairwise(borders):
        name = None if columns.contig is None else str(table["contig"][start])
        there[name].extend(first + start, table["position"][start:stop], table["cm"][start:stop])


def _table(piece: str, columns: _Columns) -> NDArray[np.void] | None:
    """The lines as a table, read by NumPy; None where one is blank, or a field not as plain as those of a good map."""
    names, kinds = [f"_{i}" for i in range(columns.n_fields)], ["U1"] * columns.n_fields
    names[columns.position], kinds[columns.position] = "position", "i8"
    names[columns.cm], kinds[columns.cm] = "cm", "f8"
    if columns.contig is not None:
        names[columns.contig], kinds[columns.contig] = "contig", f"U{_LONGEST_NAME}"
    try:
        with warnings.catch_warnings():
            # NumPy would take `1.0` for a whole number, and warn.
            warnings.simplefilter("error")
            lines = io.StringIO(piece)
            table = np.loadtxt(lines, dtype=list(zip(names, kinds, strict=True)), comments=None, ndmin=1)
    except (ValueError, Warning):
        return None
    is_plain = (
        len(table) == piece.count("\n") + (not piece.endswith("\n"))
        and -_POSITIONS < int(table["position"].min()) <= int(table["position"].max()) < _POSITIONS
        and bool(np.isfinite(table["cm"]).all())
        and (columns.contig is None or int(np.char.str_len(table["contig"]).max()) < _LONGEST_NAME)
    )
    return table if is_plain else None


def map_for(panel: Panel, path: str | Path | None) -> GeneticMap:
    """The map for a panel: from a file, or 1 cM per Mb with a warning; so is one that leaves out a tenth of the sites.

    Raises:
        GeneticMapError: As `read_genetic_map`, or the map covers less than half of the panel's sites, or has so few
            centimorgan that they are Morgans, or so many that they are base pairs.
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
    if covered < _WELL_COVERED_SHARE * panel.n_sites:
        warnings.warn(
            f"{path}: covers {panel.contig}:{start}-{stop}; beyond, where {panel.n_sites - covered} of the panel's"
            f" {panel.n_sites} sites lie, its mean rate is assumed",
            GeneticMapWarning,
            stacklevel=2,
        )
    return genetic_map


def _check_units(path: str | Path, genetic_map: GeneticMap) -> None:
    """Refuses Morgans, base pairs, and hundredths of a centimorgan."""
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
    most = _MAX_CM_PER_MB if mb >= _MIN_MB_OF_CONTIG else _MAX_CM_PER_MB_OF_PIECE
    if mb and cm > most * mb:
        raise GeneticMapError(
            f"has {cm:.3g} cM in {mb:.3g} Mb of {genetic_map.contig}, {cm / mb:.3g} per Mb: are these base pairs, or"
            " centimorgans times 100? Centimorgans are wanted",
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


def _assembled(path: str | Path, lines: _Lines, contig: str) -> GeneticMap:
    if lines.fault is not None:
        raise GeneticMapError(lines.fault[1], path=path, record=f"line {lines.fault[0]}")
    positions, cm = np.array(lines.positions, dtype=np.int64), np.array(lines.cm, dtype=np.float64)
    step, rise = np.diff(positions), np.diff(cm)
    repeats = (step == 0) & (rise == 0)
    falls = np.flatnonzero(~repeats & ((step <= 0) | (rise < 0)))
    if len(falls):
        i = int(falls[0])
        raise GeneticMapError(
            f"position {positions[i + 1]} at {cm[i + 1]:g} cM comes after {positions[i]} at {cm[i]:g} cM;"
            " both must ascend",
            path=path,
            record=f"line {lines.numbers[i + 1]}",
        )
    if cm[0] == cm[-1]:
        raise GeneticMapError(f"the map holds no genetic distance on {contig}: all cM are the same", path=path)
    kept = np.concatenate(([True], ~repeats))
    return GeneticMap(positions=positions[kept], cm=cm[kept], contig=contig, source=str(path))


def _position(field: str) -> int:
    value = int(field)
    if abs(value) >= _POSITIONS:
        raise ValueError("no position")
    return value


def _centimorgan(field: str) -> float:
    value = float(field)
    if not math.isfinite(value):
        raise ValueError("no distance")
    return value


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
