"""Reads what is known of samples: population, super-population, family, parents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from vcfrag_core.errors import SampleTableError
from vcfrag_core.files.tables.text import numbered_lines

_UNKNOWN = frozenset({"", "0", ".", "NA", "na", "nan", "None"})

_NAMES = {
    "sample": ("sample", "sample_id", "sample name", "iid", "id"),
    "population": ("pop", "population", "population code"),
    "super_population": ("super_pop", "superpop", "super_population", "superpopulation", "superpopulation code"),
    "family": ("family", "family_id", "fid"),
    "father": ("father", "paternal_id", "pat", "pid"),
    "mother": ("mother", "maternal_id", "mat", "mid"),
}
_FAM = ("family", "sample", "father", "mother")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleTable:
    """One row per sample; None where the file does not say.

    Attributes:
        samples: S unique names.
        population: S populations.
        super_population: S super-populations.
        family: S families.
        father: S names of fathers, who need not be in the table.
        mother: S names of mothers.
    """

    samples: tuple[str, ...]
    population: tuple[str | None, ...]
    super_population: tuple[str | None, ...]
    family: tuple[str | None, ...]
    father: tuple[str | None, ...]
    mother: tuple[str | None, ...]


def read_sample_table(path: str | Path) -> SampleTable:
    """A tab-separated table with a header that has a column `sample`, or a PLINK .fam or .ped without one.

    Other columns that are known: pop, super_pop, family, father, mother (PLINK's .psam names too); the rest is left
    alone. `0`, `.`, `NA` and nothing mean unknown.

    Raises:
        SampleTableError: No such file, no column `sample`, a line of another length, a sample that is named twice.
    """
    lines = list(numbered_lines(path, SampleTableError))
    if not lines:
        raise SampleTableError("the file is empty", path=path)
    if Path(path).suffix in {".fam", ".ped"}:
        columns = {name: i for i, name in enumerate(_FAM)}
        rows = [(number, line.split(maxsplit=6)[:6]) for number, line in lines]
        width = 6
    else:
        separator = "\t" if "\t" in lines[0][1] else None
        header = lines[0][1].split(separator)
        columns, width = _columns(path, header), len(header)
        rows = [(number, line.split(separator)) for number, line in lines[1:]]
    _check(path, rows, width, columns["sample"])
    return _assembled([row for _, row in rows], columns)


def _columns(path: str | Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower().lstrip("#") for name in header]
    found = {
        field: next(names.index(name) for name in known if name in names)
        for field, known in _NAMES.items()
        if not set(known).isdisjoint(names)
    }
    if "sample" not in found:
        raise SampleTableError(f"no column `sample` in the header {' '.join(header)!r}", path=path)
    return found


def _check(path: str | Path, rows: Sequence[tuple[int, Sequence[str]]], width: int, sample: int) -> None:
    first_line: dict[str, int] = {}
    for number, row in rows:
        record = f"line {number}"
        if len(row) != width:
            raise SampleTableError(f"{len(row)} fields, not {width}", path=path, record=record)
        name = row[sample].strip()
        if name in _UNKNOWN - {"0"}:
            raise SampleTableError("no sample name", path=path, record=record)
        if name in first_line:
            raise SampleTableError(
                f"is named twice, first in line {first_line[name]}", path=path, record=record, sample=name
            )
        first_line[name] = number


def _assembled(rows: Sequence[Sequence[str]], columns: dict[str, int]) -> SampleTable:
    def column(name: str) -> tuple[str | None, ...]:
        if name not in columns:
            return (None,) * len(rows)
        values = (row[columns[name]].strip() for row in rows)
        return tuple(None if value in _UNKNOWN else value for value in values)

    return SampleTable(
        samples=tuple(row[columns["sample"]].strip() for row in rows),
        **{name: column(name) for name in _NAMES if name != "sample"},
    )
