"""Imputing the development tasks' targets; on the device once `impute` has a path there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Not measured yet."""
    note("missing", "impute has no path on a device")
