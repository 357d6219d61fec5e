"""Searches of one index over one range that wait together: computed as one, answered apart.

Each query is compared with the references by itself, so that its neighbours do not depend on who is asked about beside
it. Only searches of the same range are joined: where a range ends decides which segments it has and how ties in them
are settled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vcfrag_core.errors import VcfragError
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.search.engine import SearchTask
from vcfrag_core.search.index import OpenIndex
from vcfrag_indexd.service.call import Call

# A neighbour's id and distance.
BYTES_OF_A_NEIGHBOUR = 8


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A search that was checked and can be computed.

    Attributes:
        index: The index.
        task: The queries.
        work: Queries x segments x k.
    """

    index: OpenIndex
    task: SearchTask
    work: int

    @property
    def task_bytes(self) -> int:
        return self.task.alleles.nbytes + self.task.called.nbytes + self.task.excluded.nbytes

    @property
    def reply_bytes(self) -> int:
        return BYTES_OF_A_NEIGHBOUR * self.work

    def fits(self, other: PlannedSearch) -> bool:
        """Whether the two can be computed as one."""
        a, b = self.task, other.task
        same_range = (a.start, a.stop, a.k, a.shard) == (b.start, b.stop, b.k, b.shard)
        return same_range and self.index.handle == other.index.handle


@dataclasses.dataclass(slots=True)
class Waiting:
    """A search whose turn it is.

    Attributes:
        planned: What is to be found.
        call: For whom.
        queue_seconds: How long it waited.
        failed: Why nobody waits for its answer any more; None as long as somebody does.
    """

    planned: PlannedSearch
    call: Call
    queue_seconds: float
    failed: VcfragError | None = None


def checkpoint_of(searches: Sequence[Waiting]) -> None:
    """Notes which of the searches are no longer wanted.

    Raises:
        DeadlineError, UnavailableError: None of them is.
    """
    for search in searches:
        if search.failed is None:
            try:
                search.call.checkpoint()
            except VcfragError as error:
                search.failed = error
    gone = [search.failed for search in searches if search.failed is not None]
    if len(gone) == len(searches):
        raise gone[0]


def joined(tasks: Sequence[SearchTask]) -> SearchTask:
    """One task with the queries of all, one after another."""
    ends = np.cumsum([0, *(len(task.excluded) for task in tasks)])
    starts = [task.excluded_starts[:-1] + end for task, end in zip(tasks, ends, strict=False)]
    return dataclasses.replace(
        tasks[0],
        alleles=np.concatenate([task.alleles for task in tasks]),
        called=np.concatenate([task.called for task in tasks]),
        excluded=np.concatenate([task.excluded for task in tasks]),
        excluded_starts=np.concatenate([*starts, ends[-1:]]),
    )


def apart(result: SearchResult, tasks: Sequence[SearchTask]) -> list[SearchResult]:
    """Each task's part of their joint answer."""
    ends = np.cumsum([task.n_queries for task in tasks])[:-1]
    parts = zip(np.split(result.ids, ends, axis=1), np.split(result.distances, ends, axis=1), strict=True)
    return [dataclasses.replace(result, ids=ids, distances=distances) for ids, distances in parts]
