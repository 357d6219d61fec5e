"""The same at 50,000 and 200,000 haplotypes, on fewer windows: a search costs the same in every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.search_small import measured


def run(note: Callable[[str, Any], None]) -> None:
    """16 windows, less for the slow."""
    measured(note, 200_000, 16, 8, 1)
