"""Exact search over packed bits on a CUDA device: what `cuda/nearest.cu` computes, asked for and accounted for.

The panel's bits lie on the device, in pieces of 1,024 sites that are uploaded when they are first needed and that all
masks and splits share; an index adds its references' ids and keys. A search packs the observed sites of its context
on the device, which takes less time than to keep them, and brings back k rows for each query and segment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from vcfrag_core.errors import OutOfBudgetError, UnknownIndexError
from vcfrag_core.retrieval.layout import Segment
from vcfrag_core.search.cache import Key, SegmentCache
from vcfrag_core.search.engine import Answer, Checkpoint, IndexSource, SearchTask, Usage
from vcfrag_core.search.tiled import result_of
from vcfrag_core.types import U8Array
from vcfrag_indexd.engines.budgets import DEVICE_SHARE
from vcfrag_indexd.engines.cuda.device import AnyArray, Device, DeviceArray, DeviceMemoryError, Launch
from vcfrag_indexd.engines.cuda.job import TILE_SITES, Context
from vcfrag_indexd.engines.cuda.passes import THREADS, Passes, u32, u64

MAX_UPLOAD_THREADS = 8
RECENT_CONTEXTS = 64
TILE_BYTES = TILE_SITES // 8  # of a haplotype
T = TypeVar("T")
ContextKey = tuple[str, int, int, tuple[int, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class _References:
    """(R,) panel haplotypes and (R,) keys of an index's references, on the device."""

    ids: DeviceArray
    keys: DeviceArray


class BitscanGpuEngine:
    """Exhaustive search on one device.

    Args:
        make_device: Called once, by the thread that makes the engine.
        threads: Threads of the host that copy.
        budget_bytes: Memory of the device for the panel's pieces, indexes and searches; nine tenths of what is free,
            once kernels and context have theirs, unless given.
    """

    name = "bitscan-gpu"

    def __init__(self, make_device: Callable[[], Device], *, threads: int, budget_bytes: int | None = None) -> None:
        self.device = make_device()
        self.devices: tuple[str, ...] = (self.device.name,)
        self._cache: SegmentCache[Any] = SegmentCache(budget_bytes or int(DEVICE_SHARE * self.device.free_bytes()))
        self._sources: dict[str, IndexSource] = {}
        self._contexts: OrderedDict[ContextKey, Context] = OrderedDict()
        self._scratch: DeviceArray | None = None
        self._scratch_room = contextlib.ExitStack()
        self._pool = ThreadPoolExecutor(min(threads, MAX_UPLOAD_THREADS), thread_name_prefix="vcfrag-upload")
        self._build_seconds = 0.0

    def available(self) -> bool:
        return True

    def open(self, source: IndexSource) -> None:
        self.close(source.handle)
        self._sources[source.handle] = source

    def keep(self, n_bytes: int) -> None:
        """Nothing: the budget is the device's, and open indexes are kept on the host."""

    def close(self, handle: str) -> None:
        source = self._sources.pop(handle, None)
        self._cache.drop(handle)
        for key in [key for key in self._contexts if key[0] == handle]:
            del self._contexts[key]
        if source is not None and not any(other.bits is source.bits for other in self._sources.values()):
            self._cache.drop(_panel_key(source))
        if not self._sources:
            self._free_scratch()

    def usage(self) -> Usage:
        cache = self._cache
        return Usage(
            holdings={handle: held for handle, held in cache.holdings().items() if handle in self._sources},
            used_bytes=cache.used_bytes,
            peak_bytes=cache.peak_bytes,
            budget_bytes=cache.budget_bytes,
            builds=cache.builds,
            evictions=cache.evictions,
        )

    def shutdown(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for handle in list(self._sources):
            self.close(handle)
        self.device.close()

    def prepare(self, handle: str, segments: Sequence[Segment], checkpoint: Checkpoint) -> None:
        source = self._source(handle)
        self.device.use()
        for segment in segments:
            checkpoint()
            with self._cache.pinned() as get:
                self._references(source, get)
                self._tiles(source, segment.start, segment.stop, get)

    def search(self, handle: str, task: SearchTask, checkpoint: Checkpoint) -> Answer:
        source = self._source(handle)
        context = self._context(source, task)
        self._build_seconds = 0.0
        ids = np.full((len(context.segments), task.n_queries, task.k), -1, dtype=np.int32)
        near = np.full(ids.shape, np.inf, dtype=np.float32)
        if ids.size and len(source.rows):
            checkpoint()
            self.device.use()
            with self._cache.pinned() as get:
                references = self._references(source, get)
                tiles = self._tiles(source, task.start, task.stop, get)
                rows = (references.ids.address, references.keys.address)
                passes = Passes(self.device, context, task, rows, len(source.rows))
                scratch = self._room(passes.scratch_bytes)
                addresses = np.array([tile.address for tile in tiles], dtype=np.uint64)
                self._with_room(lambda: passes.run(scratch, addresses, source.bits.n_haplotypes, checkpoint, ids, near))
        return Answer(result_of(context.segments, ids, near), self._build_seconds)

    def _source(self, handle: str) -> IndexSource:
        found = self._sources.get(handle)
        if found is None:
            raise UnknownIndexError(f"no index {handle!r} is open: open it again")
        return found

    def _context(self, source: IndexSource, task: SearchTask) -> Context:
        """Kept for the next search of the same range: an epoch has many."""
        key = (source.handle, task.start, task.stop, task.shard)
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = Context.of(source, task.start, task.stop, task.shard)
            if len(self._contexts) > RECENT_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return found

    def _references(self, source: IndexSource, get: Callable[..., Any]) -> _References:
        def build() -> _References:
            return _References(self._uploaded(source.rows), self._uploaded(source.keys))

        size = source.rows.nbytes + source.keys.nbytes
        found: _References = self._held(get, (source.handle, "references", 0, 0), size, build)
        return found

    def _tiles(self, source: IndexSource, start: int, stop: int, get: Callable[..., Any]) -> list[DeviceArray]:
        """The pieces of the panel that hold sites [start, stop), in order."""
        size = TILE_BYTES * source.bits.n_haplotypes

        def piece(tile: int) -> DeviceArray:
            key = (_panel_key(source), "tile", tile, tile + 1)
            found: DeviceArray = self._held(get, key, size, lambda: self._tile(source.bits.packed(), tile))
            return found

        return [piece(tile) for tile in range(start // TILE_SITES, (stop - 1) // TILE_SITES + 1)]

    def _tile(self, packed: U8Array, tile: int) -> DeviceArray:
        """(words, H) one piece of the panel, turned on the device."""
        given = packed[:, tile * TILE_BYTES : (tile + 1) * TILE_BYTES]
        rows = np.zeros((len(packed), TILE_BYTES), dtype=np.uint8)
        bounds = np.linspace(0, len(packed), MAX_UPLOAD_THREADS + 1).astype(int)

        def copy(begin: int, end: int) -> None:
            rows[begin:end, : given.shape[1]] = given[begin:end]

        list(self._pool.map(copy, bounds[:-1], bounds[1:]))
        by_haplotype, by_word = self._uploaded(rows), DeviceArray(self.device, rows.nbytes)
        arguments = (u64(by_haplotype.address), u64(by_word.address), u32(len(packed)))
        self.device.launch(Launch("transpose", (-(-len(packed) // THREADS), 1, 1), THREADS, arguments))
        return by_word

    def _held(self, get: Callable[..., Any], key: Key, n_bytes: int, build: Callable[[], Any]) -> Any:
        """A value of the cache, for which the last search's scratch memory goes if it must."""
        try:
            return get(key, n_bytes, lambda: self._timed(build))
        except OutOfBudgetError:
            if self._scratch is None:
                raise
            self._free_scratch()
        return get(key, n_bytes, lambda: self._timed(build))

    def _timed(self, build: Callable[[], Any]) -> Any:
        before = time.perf_counter()
        try:
            return self._with_room(build)
        finally:
            self._build_seconds += time.perf_counter() - before

    def _room(self, n_bytes: int) -> int:
        """Scratch memory of a search, kept for the next."""
        if self._scratch is None or self._scratch.n_bytes < n_bytes:
            self._free_scratch()
            self._scratch_room.enter_context(self._cache.reserve(n_bytes))
            try:
                self._scratch = self._with_room(lambda: DeviceArray(self.device, n_bytes))
            except BaseException:
                self._scratch_room.close()
                raise
        return self._scratch.address

    def _free_scratch(self) -> None:
        self._scratch = None
        self._scratch_room.close()

    def _uploaded(self, array: AnyArray) -> DeviceArray:
        made = DeviceArray(self.device, array.nbytes)
        self.device.upload(made.address, np.ascontiguousarray(array))
        return made

    def _with_room(self, work: Callable[[], T]) -> T:
        """The work's result; where the device has no room for it, what is not in use goes and it is tried again.

        Raises:
            OutOfBudgetError: Others have so much of the device that there is no room even so.
        """
        try:
            return work()
        except DeviceMemoryError:
            self._cache.evict_unpinned()
        try:
            return work()
        except DeviceMemoryError as error:
            raise OutOfBudgetError(
                f"{self.device.name}: {error}, {self.device.free_bytes()} bytes are free: search a shorter range or "
                "fewer queries, or leave more of the device to the daemon"
            ) from error


def _panel_key(source: IndexSource) -> str:
    """Under which the cache keeps a panel's pieces: handles are hexadecimal, so that none is like it."""
    return f"panel {source.panel_name} {id(source.bits)}"
