"""Batches prepared by threads while the batch before trains, handed over in order, with the waiting counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Plan = TypeVar("Plan")
Item = TypeVar("Item")


class WaitClock:
    """Seconds spent waiting for batches, against seconds of everything.

    Attributes:
        waited_seconds: Waiting for batches to be prepared.
        index_seconds: The part of it that the daemon's answers took.
    """

    def __init__(self) -> None:
        self.waited_seconds = 0.0
        self.index_seconds = 0.0
        self._started = time.monotonic()

    def restart(self) -> None:
        self.waited_seconds = 0.0
        self.index_seconds = 0.0
        self._started = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def share(self) -> float:
        """Share of the time since the last restart that was spent waiting."""
        return self.waited_seconds / max(self.elapsed_seconds, 1e-9)

    @property
    def index_share(self) -> float:
        """Share of the time since the last restart that was spent waiting for the daemon."""
        return self.index_seconds / max(self.elapsed_seconds, 1e-9)


class Prefetcher(Generic[Plan, Item]):
    """Runs `build` over plans on worker threads and yields the results in the plans' order.

    An error of `build` is raised where its item would have come. Plans are started in order, so that a build may
    wait for something that follows from the items before it.

    Args:
        plans: What to build; read lazily, on the consumer's thread.
        build: Makes the item of a plan; called on several threads when `threads` > 1.
        depth: Items built ahead of the consumer; 0 builds each when it is asked for.
        threads: Worker threads.
        clock: Where waiting is counted.
    """

    def __init__(
        self, plans: Iterable[Plan], build: Callable[[Plan], Item], *, depth: int, threads: int, clock: WaitClock
    ) -> None:
        self._plans = iter(plans)
        self._build = build
        self._depth = depth
        self._clock = clock
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="vcfrag-prefetch")
        self._pending: deque[Future[Item]] = deque()

    def __iter__(self) -> Iterator[Item]:
        try:
            self._fill(self._depth)
            while True:
                self._fill(max(1, self._depth))
                if not self._pending:
                    return
                item = self._take()
                self._fill(self._depth)
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Drops what has not begun and lets the threads end."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> Item:
        started = time.monotonic()
        try:
            return self._pending.popleft().result()
        finally:
            self._clock.waited_seconds += time.monotonic() - started

    def _fill(self, count: int) -> None:
        while len(self._pending) < count:
            try:
                plan = next(self._plans)
            except StopIteration:
                return
            self._pending.append(self._pool.submit(self._build, plan))
