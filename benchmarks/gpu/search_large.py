"""The same at 50,000 and 200,000 haplotypes, on fewer windows: a search costs the same in every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.search_small import measured


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """16 windows of 200,000; with time, one of 50,000 and the slow, too."""
    measured(note, 200_000, 16, 8, [], None if brief else ("faiss-gpu", 1))
    if not brief:
        measured(note, 50_000, 16, 8, [], None)
