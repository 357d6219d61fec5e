"""Panels by name, and the indexes that are open: each the five digests and the arrays that they stand for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeVar

from vcfrag_core.errors import (
    OutOfBudgetError,
    ShapeError,
    UnavailableError,
    UnknownIndexError,
    UnknownMaskError,
    UnknownMetricError,
    UnknownPanelError,
    VcfragError,
)
from vcfrag_core.retrieval.consistency import check_built_from
from vcfrag_core.retrieval.site_weights import steps
from vcfrag_core.search.engine import Engine
from vcfrag_core.search.index import HeldPanel, HeldSplit, OpenIndex, build_index, handle_of
from vcfrag_core.types import BoolArray, I32Array
from vcfrag_indexd.service.messages import BYTES_OF_A_NAME
from vcfrag_indexd.service.requests import OpenRequest

A = TypeVar("A", BoolArray, I32Array)
# Masks change all the time and are a byte a site; metrics are four, and change with a refresh.
KNOWN_MASKS = 256
KNOWN_METRICS = 16
# What an engine notes of an observed site, and of a reference haplotype: where it lies, and id and key.
BYTES_OF_A_SITE = 16
BYTES_OF_A_ROW = 32


class Registry:
    """Panels and open indexes; the least recently used go when there are too many, or they are too large together.

    Args:
        engine: Told of every index that is opened or closed, and of the bytes that all take.
        max_open: Indexes open at once.
        max_bytes: Bytes of open indexes and of known masks and metrics.
    """

    def __init__(self, engine: Engine, *, max_open: int, max_bytes: int) -> None:
        self._engine = engine
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._panels: dict[str, HeldPanel | None] = {}
        self._open: OrderedDict[str, OpenIndex] = OrderedDict()
        self._masks: OrderedDict[str, BoolArray] = OrderedDict()
        self._metrics: OrderedDict[str, I32Array] = OrderedDict()
        self._own_bytes: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def n_bytes(self) -> int:
        """Held by open indexes, masks and metrics."""
        with self._lock:
            arrays = {id(array): array.nbytes for array in (*self._masks.values(), *self._metrics.values())}
            for index in self._open.values():
                arrays[id(index.source.observed)] = index.source.observed.nbytes
                arrays[id(index.source.steps)] = index.source.steps.nbytes
            return sum(arrays.values()) + sum(self._own_bytes.values())

    def expect_panel(self, name: str) -> None:
        """A panel that is still being read."""
        self._panels.setdefault(name, None)

    def add_panel(self, name: str, held: HeldPanel) -> None:
        self._panels[name] = held

    def panels(self) -> dict[str, HeldPanel | None]:
        """By name; None while a panel is being read."""
        return dict(self._panels)

    def indexes(self) -> list[tuple[OpenIndex, int]]:
        """Open indexes, least recently used first, and what each takes beside its panel, mask and metric."""
        with self._lock:
            return [(index, self._own_bytes[handle]) for handle, index in self._open.items()]

    def find(self, handle: str) -> OpenIndex:
        """
        Raises:
            UnknownIndexError: No such index is open.
        """
        with self._lock:
            found = self._open.get(handle)
            if found is None:
                raise UnknownIndexError(f"no index {handle!r} is open here: open it again")
            self._open.move_to_end(handle)
            return found

    def close(self, handle: str) -> None:
        """
        Raises:
            UnknownIndexError: No such index is open.
        """
        with self._lock:
            self.find(handle)
            self._forget(handle)
            self._engine.keep(self.n_bytes)

    def open(self, request: OpenRequest) -> tuple[OpenIndex, bool]:
        """The index of this identity, and whether it was open already.

        Raises:
            UnknownPanelError, UnavailableError: No such panel, or it is still being read.
            IdentityError: Something does not have the digest stated for it.
            UnknownMaskError, UnknownMetricError: Only a digest was given, and it is not known here.
            ShapeError, RangeError, NotFiniteError: Arrays that make no sense.
            UnknownSampleError: A reference sample that the panel lacks.
            OutOfBudgetError: The index alone is more than the memory budget allows for open indexes.
        """
        held, stated = self._held(request.panel), request.identity
        check_built_from(
            stated,
            panel_name=request.panel,
            panel_digest=held.digest,
            n_sites=held.panel.n_sites,
            split=request.split,
            layout=request.layout,
            observed=request.observed,
            weights=request.weights,
        )
        handle = handle_of(stated)
        with self._lock:
            if handle in self._open:
                return self.find(handle), True
            mask, weights = self._mask(request, held.panel.n_sites), self._metric(request, held.panel.n_sites)
            split = HeldSplit.of(held, request.split)
            index = build_index(handle, request.panel, held, stated, split, request.layout, mask, weights)
            while len(self._open) >= self._max_open:
                self._forget(next(iter(self._open)))
            self._make_room(own_bytes(index))
            self._engine.keep(self.n_bytes + own_bytes(index))
            self._engine.open(index.source)
            self._open[handle], self._own_bytes[handle] = index, own_bytes(index)
            return index, False

    def _held(self, name: str) -> HeldPanel:
        if name not in self._panels:
            raise UnknownPanelError(f"there is no panel {name!r} here: there are {sorted(self._panels)}")
        held = self._panels[name]
        if held is None:
            raise UnavailableError(f"panel {name!r} is still being read")
        return held

    def _mask(self, request: OpenRequest, n_sites: int) -> BoolArray:
        digest = request.identity.mask
        if request.observed is None:
            return _known(self._masks, digest, UnknownMaskError, n_sites)
        return self._remember(self._masks, digest, request.observed, KNOWN_MASKS)

    def _metric(self, request: OpenRequest, n_sites: int) -> I32Array:
        digest = request.identity.metric
        if request.weights is None:
            return _known(self._metrics, digest, UnknownMetricError, n_sites)
        return self._remember(self._metrics, digest, steps(request.weights), KNOWN_METRICS)

    def _remember(self, arrays: OrderedDict[str, A], digest: str, array: A, most: int) -> A:
        if digest in arrays:
            arrays.move_to_end(digest)
            return arrays[digest]
        self._make_room(array.nbytes)
        arrays[digest] = array
        if len(arrays) > most:
            arrays.popitem(last=False)
        return array

    def _make_room(self, n_bytes: int) -> None:
        while self.n_bytes + n_bytes > self._max_bytes:
            if not self._forget_something():
                raise OutOfBudgetError(
                    f"an index that takes {n_bytes} bytes, more than the {self._max_bytes} of the memory budget that "
                    "open indexes may take: name fewer samples, or raise memory_budget_bytes"
                )

    def _forget_something(self) -> bool:
        """Lets go of a mask or metric that no open index has, else of the index that was not used for longest."""
        used = {id(array) for index in self._open.values() for array in (index.source.observed, index.source.steps)}
        for arrays in (self._masks, self._metrics):
            # The newest of each may be what the index that is being opened needs.
            for digest in [digest for digest, array in arrays.items() if id(array) not in used][:-1]:
                del arrays[digest]
                return True
        if self._open:
            self._forget(next(iter(self._open)))
            return True
        return False

    def _forget(self, handle: str) -> None:
        del self._open[handle], self._own_bytes[handle]
        self._engine.close(handle)


def own_bytes(index: OpenIndex) -> int:
    """What an open index takes beside its panel, its mask and its metric: names, and where sites and rows lie."""
    split, source = index.split, index.source
    names = len(split.reference) + len(split.held_out) + len(split.groups)
    return BYTES_OF_A_NAME * names + BYTES_OF_A_SITE * int(source.observed.sum()) + BYTES_OF_A_ROW * len(source.rows)


def _known(arrays: OrderedDict[str, A], digest: str, error: type[VcfragError], n_sites: int) -> A:
    if digest not in arrays:
        raise error(f"nothing with the digest {digest!r} was sent to this daemon: send the array")
    arrays.move_to_end(digest)
    if len(arrays[digest]) != n_sites:
        raise ShapeError(f"the array with the digest {digest} is of {len(arrays[digest])} sites, not {n_sites}")
    return arrays[digest]
