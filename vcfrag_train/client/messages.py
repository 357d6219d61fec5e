"""The contract's messages as the client writes and reads them, and what it keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_proto.messages import identity_message, identity_of
from vcfrag_proto.v1 import index_pb2 as pb


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """What a daemon says of itself.

    Attributes:
        panels: Digest of every panel by name; "" while it is being read.
        engine: Name of its engine.
        devices: Where it computes.
        versions: Of what answers may depend on.
        instance: New at every start of the daemon.
        max_message_bytes: Largest message that it takes.
        max_k: Most neighbours per segment.
        max_queued_work: Queries x segments x k that it admits at once.
        max_missing_share: Share of observed sites at which a query may lack a call.
    """

    panels: Mapping[str, str]
    engine: str
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    instance: str
    max_message_bytes: int
    max_k: int
    max_queued_work: int
    max_missing_share: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexHandle:
    """An index as its opener described it: the handle, and what it takes to open it again."""

    handle: str
    panel_name: str
    identity: Identity
    split: Split
    layout: SegmentLayout
    observed: BoolArray
    weights: F32Array


def info_of(reply: pb.InfoReply) -> DaemonInfo:
    """What a daemon said of itself."""
    return DaemonInfo(
        panels={panel.name: panel.digest for panel in reply.panels},
        engine=reply.engine,
        devices=tuple(reply.devices),
        versions=dict(reply.versions),
        instance=reply.instance,
        max_message_bytes=reply.limits.max_message_bytes,
        max_k=reply.limits.max_k,
        max_queued_work=reply.limits.max_queued_work,
        max_missing_share=reply.limits.max_missing_share,
    )


def opening(index: IndexHandle) -> pb.OpenIndexRequest:
    """An IndexHandle by digests; mask and metric are added where the daemon does not know them."""
    return pb.OpenIndexRequest(
        panel=index.panel_name,
        identity=identity_message(index.identity),
        split=pb.Split(
            name=index.split.name,
            reference=index.split.reference,
            held_out=index.split.held_out,
            groups=dict(index.split.groups),
        ),
        layout=pb.Layout(
            n_sites=index.layout.n_sites, lengths=index.layout.lengths, min_observed=index.layout.min_observed
        ),
    )


def search_request(index: IndexHandle, block: QueryBlock, queries: slice, k: int) -> pb.SearchRequest:
    """Some queries of a block as a Search."""
    alleles = block.alleles[queries]
    called = block.observed & (alleles >= 0)
    missing = block.observed & (alleles < 0)
    return pb.SearchRequest(
        handle=index.handle,
        identity=identity_message(index.identity),
        start=block.start,
        stop=block.stop,
        k=k,
        samples=[
            pb.QuerySample(name=who) if isinstance(who, str) else pb.QuerySample(external=True)
            for who in block.samples[queries]
        ],
        observed=bit.pack(called).tobytes(),
        missing=bit.pack(missing).tobytes() if missing.any() else b"",
        alleles=bit.pack(called & (alleles == 1)).tobytes(),
    )


def result_of(reply: pb.SearchReply, index: IndexHandle, n_queries: int, k: int) -> SearchResult:
    """The arrays of a reply.

    Raises:
        IdentityError: It speaks of another index.
        ShapeError: Its arrays are not of the size that was asked for.
    """
    index.identity.check(identity_of(reply.identity))
    starts = np.frombuffer(reply.starts, dtype="<i4").astype(np.int32)
    shape = (len(starts), n_queries, k)
    if reply.k != k or len(reply.ids) != 4 * int(np.prod(shape)) or len(reply.distances) != len(reply.ids):
        raise ShapeError(f"the reply's arrays are not of {shape[0]} segments x {n_queries} queries x {k} neighbours")
    return SearchResult(
        starts=starts,
        stops=np.frombuffer(reply.stops, dtype="<i4").astype(np.int32),
        scales=np.frombuffer(reply.scales, dtype="<i4").astype(np.int32),
        ids=np.frombuffer(reply.ids, dtype="<i4").reshape(shape).astype(np.int32),
        distances=np.frombuffer(reply.distances, dtype="<f4").reshape(shape).astype(np.float32),
    )
