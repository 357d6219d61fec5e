"""Imputing on a device, of which there is none: why, says docs/decisions/impute-on-the-host.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Says so; what copying alone takes on a device and on its host, the stage `copying` measures."""
    note("missing", "impute computes on the host alone")
