"""Panels by name, and the indexes that are open: each the five digests and the arrays that they stand for."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from vcfrag_core.errors import (
    RangeError,
    ShapeError,
    UnavailableError,
    UnknownIndexError,
    UnknownMaskError,
    UnknownMetricError,
    UnknownPanelError,
    UnknownSampleError,
    VcfragError,
)
from vcfrag_core.hashing import text_digest
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import check_built_from
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.metric import steps
from vcfrag_core.search.engine import IndexSource
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U64Array

A = TypeVar("A", BoolArray, I32Array)
# Masks change all the time and are a byte a site; metrics are four, and change with a refresh.
KNOWN_MASKS = 256
KNOWN_METRICS = 16
NO_ROWS: I64Array = np.zeros(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldPanel:
    """A panel with what is computed from it once.

    Attributes:
        panel: The panel.
        digest: Its digest.
        keys: (H,) tie-breaking keys.
        row_of: Number of each sample.
    """

    panel: Panel
    digest: str
    keys: U64Array
    row_of: Mapping[str, int]

    @classmethod
    def of(cls, panel: Panel) -> HeldPanel:
        names = {name: i for i, name in enumerate(panel.samples)}
        return cls(panel, panel.digest, haplotype_keys(panel), names)


@dataclasses.dataclass(slots=True, eq=False)
class OpenIndex:
    """An open identity.

    Attributes:
        panel_name: The name under which it was opened.
        split: Its split.
        identity: Its digests.
        source: What the engine builds from.
        rows_of_group: Reference rows of every exclusion group.
        searches: Searches answered.
    """

    panel_name: str
    split: Split
    identity: Identity
    source: IndexSource
    held: HeldPanel
    rows_of_group: Mapping[str, I64Array]
    searches: int = 0

    @property
    def handle(self) -> str:
        return self.source.handle

    @property
    def observed(self) -> BoolArray:
        return self.source.observed

    def site_label(self, site: int) -> str:
        return self.held.panel.site_label(site)

    def excluded(self, sample: str) -> I64Array:
        """Reference rows that a query of this sample must not see.

        Raises:
            UnknownSampleError: Neither the panel nor the split knows the name.
        """
        group = self.split.groups.get(sample)
        if group is None and sample not in self.held.row_of:
            raise UnknownSampleError(
                f"sample {sample!r} is neither in panel {self.panel_name!r} nor in split {self.split.name!r}: "
                "name it EXTERNAL if it is in no panel"
            )
        return self.rows_of_group.get(group, NO_ROWS) if group is not None else NO_ROWS


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
            index = _build(handle, panel_name, held, stated, split, layout, mask, metric)
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


def handle_of(identity: Identity) -> str:
    """The handle of an identity: the same after every restart."""
    return text_digest("handle", *(getattr(identity, f.name) for f in dataclasses.fields(identity)))


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


def _build(
    handle: str,
    panel_name: str,
    held: HeldPanel,
    identity: Identity,
    split: Split,
    layout: SegmentLayout,
    observed: BoolArray,
    weights: I32Array,
) -> OpenIndex:
    rows = np.sort(held.panel.rows_of(split.reference)).astype(np.int32)
    if not observed.any():
        raise RangeError("the mask observes no site: nothing can be retrieved")
    number = {int(row): i for i, row in enumerate(rows)}
    groups: dict[str, list[int]] = {}
    for name in split.reference:
        first = number[2 * held.row_of[name]]
        groups.setdefault(split.groups[name], []).extend((first, first + 1))
    source = IndexSource(
        handle=handle,
        panel_name=panel_name,
        packed=held.panel.packed,
        rows=rows,
        keys=held.keys[rows],
        observed=observed,
        steps=weights,
        layout=layout,
    )
    by_group = {group: np.array(sorted(mine), dtype=np.int64) for group, mine in groups.items()}
    return OpenIndex(panel_name, split, identity, source, held, by_group)
