"""Retrieval in this process: the same engines and the same consistency check as a daemon's, without a wire."""

from __future__ import annotations

import dataclasses
import threading
from types import TracebackType
from typing import Final, Literal

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import ANY_SHARE, QueryBits, check_built_from, check_search
from vcfrag_core.retrieval.identity import Identity, split_digest
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.retrieval.site_weights import steps
from vcfrag_core.search.bitscan import BitscanEngine
from vcfrag_core.search.engine import Engine
from vcfrag_core.search.index import HeldPanel, HeldSplit, OpenIndex, build_index, handle_of, search_task
from vcfrag_core.search.reference import ReferenceEngine
from vcfrag_core.window.retriever import IndexSpec

EngineName = Literal["bitscan", "reference"]
GIB: Final = 1024**3
_ENGINES: Final = {"bitscan": BitscanEngine, "reference": ReferenceEngine}
_PANEL: Final = "panel"


class LocalRetriever:
    """Searches a panel in this process.

    Args:
        panel: The panel.
        engine: `bitscan`, or `reference`, which is slow and obvious.
        threads: Threads of a search.
        memory_budget_bytes: For segment indexes and the working sets of searches.
        max_missing_share: Largest share of observed sites at which a query may lack calls; no limit unless given.
    """

    def __init__(
        self,
        panel: Panel,
        *,
        engine: EngineName = "bitscan",
        threads: int = 1,
        memory_budget_bytes: int = 2 * GIB,
        max_missing_share: float = ANY_SHARE,
    ) -> None:
        self.max_missing_share = max_missing_share
        self._held = HeldPanel.of(panel)
        self._engine: Engine = _ENGINES[engine](threads=threads, budget_bytes=memory_budget_bytes)
        self._users: dict[str, int] = {}
        self._lock = threading.Lock()
        self._last_split: tuple[HeldSplit, str] | None = None

    def __enter__(self) -> LocalRetriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees everything; the retriever is not used afterwards."""
        with self._lock:
            self._engine.shutdown()

    def open(self, spec: IndexSpec) -> LocalIndex:
        """See `Retriever.open`."""
        split, known = self._split(spec.split)
        check_built_from(
            spec.identity,
            panel_name=_PANEL,
            panel_digest=self._held.digest,
            n_sites=self._held.panel.n_sites,
            split=spec.split,
            layout=spec.layout,
            observed=spec.observed,
            weights=spec.weights,
            known_split_digest=known,
        )
        index = build_index(
            handle_of(spec.identity),
            _PANEL,
            self._held,
            spec.identity,
            split,
            spec.layout,
            spec.observed,
            steps(spec.weights),
        )
        with self._lock:
            if index.handle not in self._users:
                self._engine.open(index.source)
            self._users[index.handle] = self._users.get(index.handle, 0) + 1
        return LocalIndex(self, index)

    def _split(self, split: Split) -> tuple[HeldSplit, str]:
        """The split over the panel, and its digest; made once for one that comes again and again."""
        last = self._last_split
        if last is None or last[0].split is not split:
            last = self._last_split = (HeldSplit.of(self._held, split), split_digest(split))
        return last

    def search(self, index: OpenIndex, stated: Identity, queries: QueryBits, k: int) -> SearchResult:
        """Checked as at a daemon's boundary, then searched; one search at a time, on all threads."""
        check_search(index, stated, queries, max_missing_share=self.max_missing_share)
        with self._lock:
            return self._engine.search(index.handle, search_task(index, queries, k), _go_on).result

    def close_index(self, index: OpenIndex) -> None:
        """Lets an index go once nobody has it open."""
        with self._lock:
            self._users[index.handle] -= 1
            if not self._users[index.handle]:
                del self._users[index.handle]
                self._engine.close(index.handle)


@dataclasses.dataclass(slots=True)
class LocalIndex:
    """An index that a `LocalRetriever` opened."""

    _retriever: LocalRetriever
    _index: OpenIndex
    _is_open: bool = True

    @property
    def identity(self) -> Identity:
        return self._index.identity

    def search(self, block: QueryBlock, k: int) -> SearchResult:
        """See `OpenedIndex.search`."""
        return self._retriever.search(self._index, self.identity, QueryBits.of(block), k)

    def close(self) -> None:
        """See `OpenedIndex.close`."""
        if self._is_open:
            self._is_open = False
            self._retriever.close_index(self._index)


def _go_on() -> None:
    """Nobody waits for a local search but the one who asked for it."""
