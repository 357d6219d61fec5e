"""Reads the role of every sample from a file."""

from __future__ import annotations

from pathlib import Path

from vcfrag_core.errors import SampleTableError
from vcfrag_core.files.tables.text import numbered_lines
from vcfrag_core.panel.split_design import ROLES

_HEADER = ["sample", "role"]


def read_split_table(path: str | Path) -> dict[str, str]:
    """Sample to role, from lines of `sample<TAB>role`; a header `sample<TAB>role` is allowed.

    Raises:
        SampleTableError: No such file or an empty one, a line of another shape, an unknown role, a sample named twice.
    """
    roles: dict[str, str] = {}
    for number, line in numbered_lines(path, SampleTableError):
        fields = [field.strip() for field in line.split("\t")]
        if not roles and [field.lower().lstrip("#") for field in fields] == _HEADER:
            continue
        record = f"line {number}"
        if len(fields) != 2 or not fields[0]:
            raise SampleTableError("must be `sample<TAB>role`", path=path, record=record)
        sample, role = fields
        if role not in ROLES:
            raise SampleTableError(
                f"unknown role {role!r}; known are {', '.join(ROLES)}", path=path, record=record, sample=sample
            )
        if sample in roles:
            raise SampleTableError("is named twice", path=path, record=record, sample=sample)
        roles[sample] = role
    if not roles:
        raise SampleTableError("the file names no sample", path=path)
    return roles
