"""One search on a device: its arrays in scratch memory, and the ladder of passes over them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from vcfrag_core.search.engine import Checkpoint, SearchTask
from vcfrag_core.search.tiled import excluded_of
from vcfrag_core.types import F32Array, I32Array
from vcfrag_indexd.engines.cuda import job
from vcfrag_indexd.engines.cuda.device import AnyArray, Device, Launch
from vcfrag_indexd.engines.cuda.job import QUERIES, ROWS, TABLE_BYTES, Context, Ladder, PackArgument, SearchArgument

THREADS = 256  # of a block of `filter`, and of those without shared memory
WARP = 32
MAX_TAKEN = 64  # neighbours that a warp takes one by one; more are sorted
SEGMENT_BLOCKS = 8192  # enough to fill a device, and to let the last ones end together; found on an H200
# Shared memory of `filter` beside its tables, rounded up.
FILTER_FIXED_BYTES = 20 * 1024
LIST_BYTES = 512 * 1024 * 1024
ALIGNMENT = 256
ROWS_TOGETHER = 32  # so that every row of a strip begins where a warp's loads do


class Passes:
    """Answers one task.

    Args:
        device: Where.
        context: Of the task's range.
        task: The queries.
        rows: Addresses of (R,) ids and (R,) keys of the references.
        n_rows: R.
    """

    def __init__(self, device: Device, context: Context, task: SearchTask, rows: tuple[int, int], n_rows: int) -> None:
        self._device, self._context, self._task = device, context, task
        self._ids, self._keys = rows
        self._n_rows = n_rows
        self._row_stride = _round_up(n_rows, ROWS_TOGETHER)
        self._ladder = Ladder.of(n_rows, task.k)
        self.together = self._queries_together()
        self._places, self.scratch_bytes = self._laid_out()
        self._base = 0

    def run(
        self, scratch: int, tiles: AnyArray, n_haplotypes: int, checkpoint: Checkpoint, ids: I32Array, near: F32Array
    ) -> None:
        """Fills (G, Q, K) ids and distances.

        Args:
            scratch: Address of `scratch_bytes`.
            tiles: (n,) addresses of the panel's pieces from that of the first site on.
            n_haplotypes: H of the panel.
            checkpoint: Raises where the call is no longer wanted.
            ids: Receives the ids.
            near: Receives the distances.
        """
        self._base = scratch
        self._pack(tiles, n_haplotypes)
        for begin in range(0, self._task.n_queries, self.together):
            checkpoint()
            queries = slice(begin, min(begin + self.together, self._task.n_queries))
            ids[:, queries], near[:, queries] = self._answer(queries, checkpoint)

    def _queries_together(self) -> int:
        """As many queries as fit beside their lists, a multiple of those of a block."""
        lists = len(self._context.segments) * self._ladder.capacity * job.ENTRY_BYTES
        most = max(1, LIST_BYTES // (lists * QUERIES)) * QUERIES
        return min(most, _round_up(self._task.n_queries, QUERIES))

    def _laid_out(self) -> tuple[dict[str, int], int]:
        """Where every array begins in scratch memory, and how much there is."""
        context, n_words, n_segments = self._context, self._context.n_words, len(self._context.segments)
        pairs, capacity = n_segments * self.together, self._ladder.capacity
        sizes = {
            "strip": 4 * n_words * self._row_stride,
            "tables": n_words * TABLE_BYTES if context.weighted else 0,
            "tiles": 8 * self._n_tiles(),
            "pieces": context.pieces.nbytes,
            "first_piece": context.first_piece.nbytes,
            "steps": context.steps.nbytes,
            "segments": context.described.nbytes,
            "queries": 8 * n_words * self.together,
            "excluded_starts": 4 * (self.together + 1),
            "excluded": 4 * len(self._task.excluded),
            "limits": 8 * pairs,
            "bounds": job.KEY_BYTES * pairs,
            "counts": 4 * pairs,
            "list_near": 8 * pairs * capacity,
            "list_wide": 8 * pairs * capacity,
            "list_hash": 8 * pairs * capacity,
            "list_row": 4 * pairs * capacity,
            "out": 8 * pairs * self._task.k + 4,
        }
        places, total = {}, 0
        for name, size in sizes.items():
            places[name], total = total, total + _round_up(size, ALIGNMENT)
        return places, total

    def _n_tiles(self) -> int:
        return (self._task.stop - 1) // job.TILE_SITES - self._task.start // job.TILE_SITES + 1

    def _at(self, name: str) -> int:
        return self._base + self._places[name]

    def _upload(self, first: str, arrays: dict[str, AnyArray]) -> None:
        """Copies arrays that lie one after the other in scratch memory, at once."""
        last = list(arrays)[-1]
        together = np.zeros(self._places[last] - self._places[first] + arrays[last].nbytes, dtype=np.uint8)
        for name, array in arrays.items():
            begin = self._places[name] - self._places[first]
            together[begin : begin + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._device.upload(self._at(first), together)

    def _pack(self, tiles: AnyArray, n_haplotypes: int) -> None:
        """The strip of the context, and the tables of its words."""
        context = self._context
        self._upload(
            "tiles",
            {
                "tiles": tiles,
                "pieces": context.pieces,
                "first_piece": context.first_piece,
                "steps": context.steps,
                "segments": context.described,
            },
        )
        argument = PackArgument(
            tiles=self._at("tiles"), rows=self._ids, pieces=self._at("pieces"), first_piece=self._at("first_piece"),
            strip=self._at("strip"), n_haplotypes=n_haplotypes, n_rows=self._n_rows, row_stride=self._row_stride,
            n_pieces=len(context.pieces),
        )  # fmt: skip
        grid = (-(-self._row_stride // THREADS), context.n_words, 1)
        self._device.launch(Launch("pack", grid, THREADS, (argument,)))
        if context.weighted:
            entries = context.n_words * TABLE_BYTES // 4
            arguments = (u64(self._at("steps")), u64(self._at("tables")), u32(len(context.steps)), u32(entries))
            self._device.launch(Launch("tabulate", (-(-entries // THREADS), 1, 1), THREADS, arguments))

    def _answer(self, queries: slice, checkpoint: Checkpoint) -> tuple[I32Array, F32Array]:
        task, n = self._task, queries.stop - queries.start
        excluded, starts = excluded_of(task, queries)
        counted = task.called[queries] & (self._context.steps > 0)
        self._upload(
            "queries",
            {
                "queries": job.query_words(task.alleles[queries], counted, self.together),
                "excluded_starts": starts.astype(np.int32),
                "excluded": job.ascending(excluded, starts),
            },
        )
        argument = self._argument(n)
        n_pairs = len(self._context.segments) * self.together
        self._device.launch(Launch("start", (-(-n_pairs // THREADS), 1, 1), THREADS, (argument, u32(n_pairs))))
        for stride in self._ladder.strides:
            self._pass(argument, stride)
        answers = len(self._context.segments) * n * task.k
        out = np.empty(2 * answers + 1, dtype=np.int32)
        self._device.download(self._at("out"), out)
        while out[-1]:
            checkpoint()
            self._device.fill(argument.n_unsettled, 0, 4)
            self._pass(argument, 1)
            self._device.download(self._at("out"), out)
        shape = (len(self._context.segments), n, task.k)
        return out[:answers].reshape(shape), out[answers:-1].view(np.float32).reshape(shape)

    def _argument(self, n: int) -> SearchArgument:
        lies_in_scratch = (
            "strip", "queries", "tables", "segments", "excluded", "excluded_starts", "limits", "bounds", "counts",
            "list_near", "list_wide", "list_hash", "list_row",
        )  # fmt: skip
        out, size = self._at("out"), 4 * len(self._context.segments) * n * self._task.k
        return SearchArgument(
            **{name: self._at(name) for name in lies_in_scratch},
            keys=self._keys, ids=self._ids, out_ids=out, out_distances=out + size, n_unsettled=out + 2 * size,
            unit=self._context.unit, n_rows=self._n_rows, row_stride=self._row_stride, n_queries=n,
            query_stride=self.together, k=self._task.k, capacity=self._ladder.capacity,
        )  # fmt: skip

    def _pass(self, argument: SearchArgument, stride: int) -> None:
        """Filters the rows of one stride and settles what passed."""
        n_segments = len(self._context.segments)
        quads = -(-(self._row_stride // ROWS) // stride)
        groups = argument.query_stride // QUERIES
        argument.stride = stride
        argument.quads_per_block = _round_up(-(-quads * groups * n_segments // SEGMENT_BLOCKS), THREADS)
        grid = (-(-quads // argument.quads_per_block), groups, n_segments)
        self._device.launch(self._filter(grid)(argument))
        entries = self._ladder.capacity
        if entries * job.ENTRY_BYTES > self._device.shared_bytes:
            entries = 1 << ((self._device.shared_bytes // job.ENTRY_BYTES).bit_length() - 1)
        kernel, threads = ("settle", WARP) if self._task.k <= MAX_TAKEN else ("settle_many", THREADS)
        grid = (argument.n_queries, n_segments, 1)
        self._device.launch(Launch(kernel, grid, threads, (argument, u32(entries)), entries * job.ENTRY_BYTES))

    def _filter(self, grid: tuple[int, int, int]) -> Callable[[SearchArgument], Launch]:
        """The launch of the kernel that these weights need."""
        if not self._context.weighted:
            return lambda argument: Launch("filter_count", grid, THREADS, (argument,))
        described = self._context.described
        longest = int((described["last"] - described["first"]).max()) + 1
        # Tables of segments that do not fit are read where they lie.
        n_words = min(longest, (self._device.shared_bytes - FILTER_FIXED_BYTES) // TABLE_BYTES)
        kernel = "filter_weighted_long" if self._context.long else "filter_weighted"
        return lambda argument: Launch(kernel, grid, THREADS, (argument, u32(n_words)), n_words * TABLE_BYTES)


def _round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def u32(value: int) -> ctypes.c_uint32:
    """A kernel's argument."""
    return ctypes.c_uint32(value)


def u64(value: int) -> ctypes.c_uint64:
    """A kernel's argument, such as an address."""
    return ctypes.c_uint64(value)
