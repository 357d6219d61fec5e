"""How records that hold arrays show themselves: by shape, since nobody reads a panel's alleles in a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sized
from typing import Any, Final

import numpy as np

_FEW: Final = 4


def repr_by_shape(record: Any) -> str:
    """`Name(field=…)` of a dataclass: arrays by element type and shape, more than a few items by their number."""
    fields = ", ".join(f"{field.name}={_short(getattr(record, field.name))}" for field in dataclasses.fields(record))
    return f"{type(record).__name__}({fields})"


def _short(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Sized) and not isinstance(value, str | bytes) and len(value) > _FEW:
        return f"<{len(value)} items>"
    return repr(value)
