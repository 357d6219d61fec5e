"""Segment indexes within a byte budget: least recently used ones go first, pinned ones never."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vcfrag_core.errors import OutOfBudgetError

T = TypeVar("T")
Key = tuple[str, str, int, int]  # handle, kind, and two numbers that say which part


@dataclasses.dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    size: int
    pins: int = 0
    dropped: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What the cache holds for one handle."""

    entries: int = 0
    n_bytes: int = 0


class SegmentCache(Generic[T]):
    """Values by key; their bytes and the reserved scratch never exceed the budget.

    A value's size is stated before it is built, and room is made before it is allocated.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.builds = 0
        self.evictions = 0
        self._entries: OrderedDict[Key, _Entry[T]] = OrderedDict()
        self._holdings: dict[str, Holding] = {}
        self._held = 0
        self._pinned = 0
        self._reserved = 0
        self._kept = 0
        self._peak = 0
        self._lock = threading.RLock()

    @property
    def used_bytes(self) -> int:
        """Bytes of the values, of the scratch reserved now and of what is kept beside them."""
        with self._lock:
            return self._taken

    @property
    def peak_bytes(self) -> int:
        """The most that `used_bytes` has been."""
        return self._peak

    @property
    def _taken(self) -> int:
        return self._held + self._reserved + self._kept

    def keep(self, n_bytes: int) -> None:
        """So many bytes of the budget are taken by what is no value of this cache.

        Raises:
            OutOfBudgetError: The budget cannot hold them, even with every unpinned value gone.
        """
        with self._lock:
            self._make_room(n_bytes - self._kept)
            self._kept = n_bytes
            self._note_peak()

    def holdings(self) -> dict[str, Holding]:
        """Entries and bytes by handle."""
        with self._lock:
            return dict(self._holdings)

    @contextlib.contextmanager
    def reserve(self, n_bytes: int) -> Iterator[None]:
        """Keeps room for scratch memory.

        Raises:
            OutOfBudgetError: The budget cannot hold it, even with every unpinned value gone.
        """
        with self._lock:
            self._make_room(n_bytes)
            self._reserved += n_bytes
            self._note_peak()
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= n_bytes

    @contextlib.contextmanager
    def pinned(self) -> Iterator[Callable[[Key, int, Callable[[], T]], T]]:
        """A function get(key, n_bytes, build) whose values stay until the block ends.

        Raises:
            OutOfBudgetError: From get: the value does not fit beside those that are pinned.
        """
        pins: list[_Entry[T]] = []

        def get(key: Key, n_bytes: int, build: Callable[[], T]) -> T:
            with self._lock:
                entry = self._entries.get(key) or self._insert(key, n_bytes, build)
                self._entries.move_to_end(key)
                self._pinned += entry.size if entry.pins == 0 else 0
                entry.pins += 1
                pins.append(entry)
                return entry.value

        try:
            yield get
        finally:
            with self._lock:
                for entry in pins:
                    entry.pins -= 1
                    self._pinned -= entry.size if entry.pins == 0 else 0
                    if entry.pins == 0 and entry.dropped:
                        self._held -= entry.size

    def drop(self, handle: str) -> None:
        """Forgets every value of a handle; one in use lives on until its user lets go."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == handle]:
                entry = self._remove(key)
                entry.dropped = True
                self._held -= entry.size if entry.pins == 0 else 0

    def evict_unpinned(self) -> None:
        """Lets go of every value that is not in use: for memory that others have taken."""
        with self._lock:
            self._evict(self._held - self._pinned)

    def _insert(self, key: Key, n_bytes: int, build: Callable[[], T]) -> _Entry[T]:
        self._make_room(n_bytes)
        self._held += n_bytes
        self._note_peak()
        try:
            entry = _Entry(build(), n_bytes)
        except BaseException:
            self._held -= n_bytes
            raise
        self._entries[key] = entry
        before = self._holdings.get(key[0], Holding())
        self._holdings[key[0]] = Holding(before.entries + 1, before.n_bytes + n_bytes)
        self.builds += 1
        return entry

    def _remove(self, key: Key) -> _Entry[T]:
        entry = self._entries.pop(key)
        before = self._holdings.pop(key[0])
        if before.entries > 1:
            self._holdings[key[0]] = Holding(before.entries - 1, before.n_bytes - entry.size)
        return entry

    def _make_room(self, n_bytes: int) -> None:
        used = self._pinned + self._reserved + self._kept
        if used + n_bytes > self.budget_bytes:
            raise OutOfBudgetError(
                f"{n_bytes} more bytes are needed beside {used} in use, of a budget of {self.budget_bytes}: "
                "search a shorter range or fewer queries, or raise memory_budget_bytes"
            )
        if self._taken + n_bytes > self.budget_bytes:
            self._evict(self._taken + n_bytes - self.budget_bytes)

    def _evict(self, n_bytes: int) -> None:
        """Lets go of at least `n_bytes`, least recently used values first."""
        going, freed = [], 0
        for key, entry in self._entries.items():
            if freed >= n_bytes:
                break
            if not entry.pins:
                going.append(key)
                freed += entry.size
        for key in going:
            self._held -= self._remove(key).size
        self.evictions += len(going)

    def _note_peak(self) -> None:
        self._peak = max(self._peak, self._taken)
