"""Budgets of the host and of a device, apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vcfrag_core.errors import ConfigError
from vcfrag_core.search.cache import Holding, Key, SegmentCache

DEVICE_SHARE = 0.9


class HostAndDevice(SegmentCache[Any]):
    """Two caches that look like one: values of some kinds lie on a device, and count there.

    Args:
        host: For all other values, and for scratch memory.
        device: For values of those kinds.
        kinds_on_device: Which kinds.
    """

    def __init__(self, host: SegmentCache[Any], device: SegmentCache[Any], *, kinds_on_device: Sequence[str]) -> None:
        super().__init__(host.budget_bytes + device.budget_bytes)
        self._host, self._device, self._kinds = host, device, frozenset(kinds_on_device)

    @property
    def used_bytes(self) -> int:
        return self._host.used_bytes + self._device.used_bytes

    @property
    def peak_bytes(self) -> int:
        return self._host.peak_bytes + self._device.peak_bytes

    @property
    def builds(self) -> int:
        return self._host.builds + self._device.builds

    @builds.setter
    def builds(self, value: int) -> None:
        """Counted by the two."""

    @property
    def evictions(self) -> int:
        return self._host.evictions + self._device.evictions

    @evictions.setter
    def evictions(self, value: int) -> None:
        """Counted by the two."""

    def holdings(self) -> dict[str, Holding]:
        found = self._host.holdings()
        for handle, held in self._device.holdings().items():
            before = found.get(handle, Holding())
            found[handle] = Holding(before.entries + held.entries, before.n_bytes + held.n_bytes)
        return found

    @contextlib.contextmanager
    def reserve(self, n_bytes: int) -> Iterator[None]:
        with self._host.reserve(n_bytes):
            yield

    @contextlib.contextmanager
    def pinned(self) -> Iterator[Callable[[Key, int, Callable[[], Any]], Any]]:
        with self._host.pinned() as of_host, self._device.pinned() as of_device:

            def get(key: Key, n_bytes: int, build: Callable[[], Any]) -> Any:
                return (of_device if key[1] in self._kinds else of_host)(key, n_bytes, build)

            yield get

    def drop(self, handle: str) -> None:
        self._host.drop(handle)
        self._device.drop(handle)

    def evict_unpinned(self) -> None:
        self._host.evict_unpinned()
        self._device.evict_unpinned()


def device_budget(number: int) -> int | None:
    """Nine tenths of a device's free memory; None where CUDA's Python bindings are not installed to ask."""
    from vcfrag_indexd.engines.cuda.driver import free_bytes_of

    try:
        return int(DEVICE_SHARE * free_bytes_of(number))
    except ConfigError:
        return None
