"""Panels by name, and the indexes that are open: each the five digests and the arrays that they stand for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from vcfrag_core.errors import (
    ShapeError,
    UnavailableError,
    UnknownIndexError,
    UnknownMaskError,
    UnknownMetricError,
    UnknownPanelError,
    VcfragError,
)
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import check_built_from
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.site_weights import steps
from vcfrag_core.search.engine import IndexSource
from vcfrag_core.search.index import HeldPanel, OpenIndex, build_index, handle_of
from vcfrag_core.types import BoolArray, F32Array, I32Array

A = TypeVar("A", BoolArray, I32Array)
# Masks change all the time and are a byte a site; metrics are four, and change with a refresh.
KNOWN_MASKS = 256
KNOWN_METRICS = 16


class Registry:
    """Panels and open indexes; the least recently used index is closed when there are too many.

    Args:
        max_open: Indexes open at once.
        on_open: Told of every new index.
        on_close: Told of the handle of every index that goes.
    """

    def __init__(
        self, *, max_open: int, on_open: Callable[[IndexSource], None], on_close: Callable[[str], None]
    ) -> None:
        self._max_open = max_open
        self._on_open = on_open
        self._on_close = on_close
        self._panels: dict[str, HeldPanel | None] = {}
        self._open: OrderedDict[str, OpenIndex] = OrderedDict()
        self._masks: OrderedDict[str, BoolArray] = OrderedDict()
        self._metrics: OrderedDict[str, I32Array] = OrderedDict()
        self._lock = threading.RLock()

    def expect_panel(self, name: str) -> None:
        """A panel that is still being read."""
        self._panels.setdefault(name, None)

    def add_panel(self, name: str, held: HeldPanel) -> None:
        self._panels[name] = held

    def panels(self) -> dict[str, HeldPanel | None]:
        """By name; None while a panel is being read."""
        return dict(self._panels)

    def indexes(self) -> list[OpenIndex]:
        """Open indexes, least recently used first."""
        with self._lock:
            return list(self._open.values())

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

    def open(
        self,
        panel_name: str,
        stated: Identity,
        split: Split,
        layout: SegmentLayout,
        observed: BoolArray | None,
        weights: F32Array | None,
    ) -> tuple[OpenIndex, bool]:
        """The index of this identity, and whether it was open already.

        Raises:
            UnknownPanelError, UnavailableError: No such panel, or it is still being read.
            IdentityError: Something does not have the digest stated for it.
            UnknownMaskError, UnknownMetricError: Only a digest was given, and it is not known here.
            ShapeError, RangeError, NotFiniteError: Arrays that make no sense.
            UnknownSampleError: A reference sample that the panel lacks.
        """
        held = self._held(panel_name)
        n_sites = held.panel.n_sites
        check_built_from(
            stated,
            panel_name=panel_name,
            panel_digest=held.digest,
            n_sites=n_sites,
            split=split,
            layout=layout,
            observed=observed,
            weights=weights,
        )
        with self._lock:
            mask = self._mask(stated.mask, observed, n_sites)
            metric = self._metric(stated.metric, weights, n_sites)
            handle = handle_of(stated)
            if handle in self._open:
                return self.find(handle), True
            index = build_index(handle, panel_name, held, stated, split, layout, mask, metric)
            while len(self._open) >= self._max_open:
                self._forget(next(iter(self._open)))
            self._on_open(index.source)
            self._open[handle] = index
            return index, False

    def _held(self, name: str) -> HeldPanel:
        if name not in self._panels:
            raise UnknownPanelError(f"there is no panel {name!r} here: there are {sorted(self._panels)}")
        held = self._panels[name]
        if held is None:
            raise UnavailableError(f"panel {name!r} is still being read")
        return held

    def _mask(self, digest: str, observed: BoolArray | None, n_sites: int) -> BoolArray:
        if observed is None:
            return _known(self._masks, digest, UnknownMaskError, n_sites)
        return _remember(self._masks, digest, observed, KNOWN_MASKS)

    def _metric(self, digest: str, weights: F32Array | None, n_sites: int) -> I32Array:
        if weights is None:
            return _known(self._metrics, digest, UnknownMetricError, n_sites)
        return _remember(self._metrics, digest, steps(weights), KNOWN_METRICS)

    def _forget(self, handle: str) -> None:
        del self._open[handle]
        self._on_close(handle)


def _known(arrays: OrderedDict[str, A], digest: str, error: type[VcfragError], n_sites: int) -> A:
    if digest not in arrays:
        raise error(f"nothing with the digest {digest!r} was sent to this daemon: send the array")
    arrays.move_to_end(digest)
    if len(arrays[digest]) != n_sites:
        raise ShapeError(f"the array with the digest {digest} is of {len(arrays[digest])} sites, not {n_sites}")
    return arrays[digest]


def _remember(arrays: OrderedDict[str, A], digest: str, array: A, most: int) -> A:
    arrays[digest] = array
    arrays.move_to_end(digest)
    if len(arrays) > most:
        arrays.popitem(last=False)
    return array
