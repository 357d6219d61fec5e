"""FORMAT PS of a VCF: which calls have their phase known among themselves.

The VCF specification declares it as one Integer; some callers declare it as String, or in other words, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vcfrag_core.errors import InputError
from vcfrag_core.files.vcf.reader import Record
from vcfrag_core.types import I32Array

# Below it lie BCF's codes for what is missing and for the end of a vector (BCF specification, section 6.3.3).
_FEWEST = -2_147_483_640
_DECLARED = re.compile(r"^##FORMAT=<(.*)>", re.MULTILINE)


class PhaseSets:
    """The phase sets of a file's calls, record by record.

    Args:
        path: The file.
        header: Its header.
        n_samples: S, its samples.
    """

    def __init__(self, path: Path, header: str, n_samples: int) -> None:
        self._path = path
        self._none = np.zeros(n_samples, dtype=np.int32)
        self._kind = _declared(header, "PS").get("Type")
        self._is_by_list = bool(_declared(header, "PSL"))
        self._numbers = {".": 0, "": 0}
        self.named = False

    @property
    def is_declared(self) -> bool:
        """Whether the header declares PS of a kind that is read, and not PSL."""
        return self._kind in ("Integer", "String", "Character") and not self._is_by_list

    def of(self, record: Record, label: str) -> I32Array:
        """(S,) number of each call's phase set, 0 where none is named.

        Args:
            record: A record of the file.
            label: What messages call it.

        Raises:
            InputError: Sets that are no whole numbers and no names, or named by PSL (VCF 4.4), which is not read.
        """
        if self._is_by_list and "PSL" in record.FORMAT:
            raise InputError(
                "names phase sets by PSL, which is not read; name them by PS, or take the phase away:"
                " `bcftools annotate -x FORMAT/PSL` and `bcftools +setGT -- -t a -n u`",
                path=self._path,
                record=label,
            )
        if self._kind is None and "PS" not in record.FORMAT:
            # Without a declaration htslib takes the field for a String.
            return self._none
        if self._kind == "Integer":
            values = record.format("PS", int)
            found = None if values is None else _numbers(np.asarray(values, dtype=np.int32)[:, 0])
        elif self._kind in (None, "String", "Character"):
            names = record.format("PS", str)
            found = None if names is None else self._numbered(names)
        else:
            raise InputError(
                f"FORMAT PS is declared as {self._kind}; declare it as Integer or String, as its values are",
                path=self._path,
            )
        if found is None:
            return self._none
        self.named = True
        return found

    def _numbered(self, names: Iterable[str]) -> I32Array:
        numbers = self._numbers
        return np.array([numbers.setdefault(str(name), len(numbers)) for name in names], dtype=np.int32)


def _numbers(values: I32Array) -> I32Array:
    """Sets by number, 0 where there is none; a negative one, which VCF does not allow, is a name as good as others."""
    return np.where(values < _FEWEST, 0, np.where(values < 0, values & np.iinfo(np.int32).max, values)).astype(np.int32)


def _declared(header: str, field: str) -> dict[str, str]:
    """The attributes of a FORMAT field's line, in any order; none where it is not declared."""
    for line in _DECLARED.findall(header):
        # A description, which may hold anything, is no attribute that is asked for.
        attributes = dict(part.split("=", 1) for part in re.sub(r'"[^"]*"', "", line).split(",") if "=" in part)
        if attributes.get("ID") == field:
            return attributes
    return {}
