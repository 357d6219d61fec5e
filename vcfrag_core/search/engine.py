"""What every engine offers, and what it is given. Nothing here or below knows of gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vcfrag_core.panel.storage import HaplotypeBits
from vcfrag_core.retrieval.layout import Segment, SegmentLayout
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.cache import Holding
from vcfrag_core.types import BoolArray, I32Array, I64Array, U8Array, U64Array

# Called between pieces of work; raises when the caller's deadline has passed or the call was cancelled.
Checkpoint = Callable[[], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexSource:
    """All that an index is built from.

    Attributes:
        handle: Its name.
        panel_name: Name of the panel, by which engines in other processes find its bits.
        bits: Haplotypes of the panel.
        rows: (R,) ascending panel haplotype ids of the split's reference.
        keys: (R,) their tie-breaking keys.
        observed: (V,) the mask.
        steps: (V,) weights as whole numbers of steps.
        layout: Segment borders.
    """

    handle: str
    panel_name: str
    bits: HaplotypeBits
    rows: I32Array
    keys: U64Array
    observed: BoolArray
    steps: I32Array
    layout: SegmentLayout


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchTask:
    """Checked queries over the observed sites of one range.

    Attributes:
        start: First site of the context.
        stop: Site after its last.
        k: Neighbours wanted.
        alleles: (Q, M) 0 or 1 at the observed sites; 0 where there is no call.
        called: (Q, M) 1 where the query has a call.
        excluded: numbers of reference rows to leave out, all queries' after each other.
        excluded_starts: (Q + 1,) where each query's begin.
        shard: (i, n): answer only the segments that belong to the i-th of n devices.
    """

    start: int
    stop: int
    k: int
    alleles: U8Array
    called: U8Array
    excluded: I64Array
    excluded_starts: I64Array
    shard: tuple[int, int] = (0, 1)

    @property
    def n_queries(self) -> int:
        return len(self.alleles)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A search's result, and how long building what it needed took."""

    result: SearchResult
    build_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an engine holds."""

    holdings: Mapping[str, Holding]
    used_bytes: int
    peak_bytes: int
    budget_bytes: int
    builds: int = 0
    evictions: int = 0
    restarts: int = 0


class Engine(Protocol):
    """Holds segment indexes and searches them. One call at a time; `usage` and `close` at any time."""

    @property
    def name(self) -> str:
        """As in `--engine`."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it computes, such as `cpu` or `cuda:0`."""

    def available(self) -> bool:
        """Whether it can answer now; false while a worker restarts."""

    def open(self, source: IndexSource) -> None:
        """Takes note of an index; builds nothing."""

    def keep(self, n_bytes: int) -> None:
        """So much of the memory budget is taken beside the engine, for open indexes as a whole.

        Raises:
            OutOfBudgetError: It does not fit beside what a search under way uses.
        """

    def close(self, handle: str) -> None:
        """Forgets an index and all that was built for it."""

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        """Builds what searches of these segments need.

        Raises:
            OutOfBudgetError: One of them alone exceeds the memory budget.
            UnavailableError: The engine's worker died.
        """

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        """The k nearest of every query in every segment of the range, in the order of `vcfrag_core.retrieval.order`.

        Raises:
            OutOfBudgetError: The working set exceeds the memory budget.
            UnavailableError: The engine's worker died.
        """

    def usage(self) -> Usage:
        """Bytes and counts now."""

    def shutdown(self) -> None:
        """Frees everything; the engine is not used afterwards."""
