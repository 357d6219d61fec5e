"""What the service is asked and what it answers, without a wire."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import QueryBits
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import SearchResult
from vcfrag_core.types import BoolArray, F32Array


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Opens the index that five digests name.

    Attributes:
        panel: Its name here.
        identity: The digests that the caller states.
        split: The split.
        layout: Segment borders.
        observed: (V,) the mask; None where its digest must do.
        weights: (V,) the metric; None where its digest must do.
    """

    panel: str
    identity: Identity
    split: Split
    layout: SegmentLayout
    observed: BoolArray | None
    weights: F32Array | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An open index: its name, and whether it was open already."""

    handle: str
    identity: Identity
    already_open: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """Builds what searches of sites [start, stop) need."""

    handle: str
    identity: Identity
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrepareProgress:
    """How far it has come, and what the index holds."""

    segments_done: int
    segments_total: int
    n_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The k nearest reference haplotypes of every query in every segment of a range."""

    handle: str
    identity: Identity
    k: int
    queries: QueryBits


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """A search's result, of which index it is, and how long its parts took."""

    identity: Identity
    result: SearchResult
    k: int
    queue_seconds: float
    search_seconds: float
    build_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """An open index and what is held for it.

    Attributes:
        handle: Its name.
        panel: The panel that it is of.
        split: Name of its split.
        identity: Its digests.
        segments: Segment indexes and parts of them that are built.
        n_bytes: Held by these and by the identity itself.
        searches: Searches answered.
    """

    handle: str
    panel: str
    split: str
    identity: Identity
    segments: int
    n_bytes: int
    searches: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PanelInfo:
    """A panel; but for its name, nothing is known of it until it is ready."""

    name: str
    ready: bool
    digest: str = ""
    contig: str = ""
    n_sites: int = 0
    n_samples: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """What the daemon says of itself.

    Attributes:
        panels: By name, ascending.
        engine: Name of its engine.
        devices: Where it computes.
        versions: Of what answers may depend on.
        instance: New at every start.
    """

    panels: tuple[PanelInfo, ...]
    engine: str
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    instance: str
