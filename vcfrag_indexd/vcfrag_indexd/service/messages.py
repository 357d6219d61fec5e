"""Protobuf to what the service is asked, and what it answers to protobuf: the one module that knows both.

Every decoder bounds counts, names and lengths before protobuf unfolds anything, and makes every check of shape and
meaning that needs no open index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message

from vcfrag_core.errors import ConfigError, NoSampleError, RangeError, ShapeError
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import QueryBits, rows_of
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.types import BoolArray, F32Array, I32Array
from vcfrag_indexd.config.config import LimitsConfig
from vcfrag_indexd.service.call import Call
from vcfrag_indexd.service.requests import (
    DaemonInfo,
    IndexInfo,
    Opened,
    OpenRequest,
    PanelInfo,
    PrepareProgress,
    PrepareRequest,
    SearchAnswer,
    SearchRequest,
)
from vcfrag_indexd.service.wire import Bound, count_fields
from vcfrag_proto.messages import identity_message, identity_of
from vcfrag_proto.v1 import index_pb2 as pb

MAX_SCALES = 32
MAX_QUERIES = 65_536
MAX_NAME_BYTES = 1024
# A reference sample, a held-out one, or a sample with its group: strings, and the dictionary that holds them.
BYTES_OF_A_NAME = 300
BYTES_OF_A_QUERY = 300
# The encoded message, protobuf's copy of its bytes, and ours.
COPIES = 3
QUERIES_PER_CHECKPOINT = 1024

_NAME = Bound(name="name", most_bytes=MAX_NAME_BYTES)
_IDENTITY = Bound(name="identity", most_bytes=5 * MAX_NAME_BYTES)
_SEARCH = {
    1: _NAME,
    2: _IDENTITY,
    6: Bound(name="queries", most=MAX_QUERIES, most_bytes=MAX_NAME_BYTES),
}
_PREPARE = {1: _NAME, 2: _IDENTITY}


def _opening(max_names: int) -> dict[int, Bound]:
    names = {
        1: Bound(name="split name", most_bytes=MAX_NAME_BYTES),
        2: Bound(name="reference samples", most=max_names, most_bytes=MAX_NAME_BYTES),
        3: Bound(name="held-out samples", most=max_names, most_bytes=MAX_NAME_BYTES),
        4: Bound(name="exclusion groups", most=max_names, most_bytes=2 * MAX_NAME_BYTES),
    }
    lengths = Bound(name="segment lengths", most=MAX_SCALES, most_bytes=10 * MAX_SCALES)
    return {
        1: _NAME,
        2: _IDENTITY,
        3: Bound(name="split", inner=names),
        4: Bound(name="layout", inner={2: lengths}),
    }


def bytes_to_decode(data: bytes) -> int:
    """What a message may take while it is decoded, names and queries apart."""
    return COPIES * len(data)


def count_names(data: bytes, limits: LimitsConfig) -> int:
    """Reference samples, held-out samples and groups of an OpenIndex, before it is decoded.

    Raises:
        RangeError: Too many, or one that is too long.
        ShapeError: Bytes that are not the message.
    """
    return count_fields(data, _opening(limits.max_names))


def decode_opening(data: bytes) -> OpenRequest:
    """An OpenIndex whose names have been counted.

    Raises:
        ShapeError: Bytes that are not the message, or arrays of the wrong size.
        RangeError: A split, a layout or a name that makes no sense.
        HeldOutSampleError: A held-out sample is in the reference.
    """
    message = _parse(pb.OpenIndexRequest, data)
    layout = _layout_of(message.layout)
    return OpenRequest(
        panel=message.panel,
        identity=identity_of(message.identity),
        split=_split_of(message.split),
        layout=layout,
        observed=_mask_of(message.observed, layout.n_sites) if message.HasField("observed") else None,
        weights=_weights_of(message.weights) if message.HasField("weights") else None,
    )


def decode_prepare(data: bytes) -> PrepareRequest:
    """
    Raises:
        ShapeError: Bytes that are not the message.
        RangeError: A name that is too long.
    """
    count_fields(data, _PREPARE)
    message = _parse(pb.PrepareIndexRequest, data)
    return PrepareRequest(
        handle=message.handle, identity=identity_of(message.identity), start=message.start, stop=message.stop
    )


def decode_search(data: bytes, call: Call) -> SearchRequest:
    """
    Raises:
        ShapeError: Bytes that are not the message.
        RangeError: Too many queries, or a name that is too long.
        NoSampleError: A query that names no sample.
        DeadlineError, UnavailableError: The call is no longer wanted.
    """
    count_fields(data, _SEARCH)
    message = _parse(pb.SearchRequest, data)
    call.checkpoint()
    return SearchRequest(
        handle=message.handle,
        identity=identity_of(message.identity),
        k=message.k,
        queries=QueryBits(
            start=message.start,
            stop=message.stop,
            samples=_samples_of(message.samples, call),
            observed=message.observed,
            missing=message.missing,
            alleles=message.alleles,
        ),
    )


def decode_handle(data: bytes) -> str:
    """The index that a CloseIndex names.

    Raises:
        ShapeError: Bytes that are not the message.
        RangeError: A name that is too long.
    """
    count_fields(data, {1: _NAME})
    return str(_parse(pb.CloseIndexRequest, data).handle)


def decode_nothing(kind: type[Message], data: bytes) -> None:
    """A request without fields.

    Raises:
        ShapeError: Bytes that are not the message.
        RangeError: A field again and again.
    """
    count_fields(data, {})
    _parse(kind, data)


def encode_opened(opened: Opened) -> bytes:
    return _encode(
        pb.OpenIndexReply(
            handle=opened.handle, identity=identity_message(opened.identity), already_open=opened.already_open
        )
    )


def encode_progress(progress: PrepareProgress) -> bytes:
    return _encode(
        pb.PrepareIndexProgress(
            segments_done=progress.segments_done, segments_total=progress.segments_total, bytes=progress.n_bytes
        )
    )


def encode_answer(answer: SearchAnswer) -> bytes:
    """Field by field, so that no array is held more often than it must be."""
    result = answer.result
    message = pb.SearchReply(
        identity=identity_message(answer.identity),
        k=answer.k,
        queue_seconds=answer.queue_seconds,
        search_seconds=answer.search_seconds,
        build_seconds=answer.build_seconds,
    )
    message.starts = _int32_bytes(result.starts)
    message.stops = _int32_bytes(result.stops)
    message.scales = _int32_bytes(result.scales)
    message.ids = _int32_bytes(result.ids)
    message.distances = result.distances.astype("<f4", copy=False).tobytes()
    return _encode(message)


def encode_indexes(indexes: Sequence[IndexInfo]) -> bytes:
    return _encode(
        pb.ListIndexesReply(
            indexes=[
                pb.IndexInfo(
                    handle=index.handle,
                    panel=index.panel,
                    split=index.split,
                    identity=identity_message(index.identity),
                    segments=index.segments,
                    bytes=index.n_bytes,
                    searches=index.searches,
                )
                for index in indexes
            ]
        )
    )


def encode_closed() -> bytes:
    return _encode(pb.CloseIndexReply())


def encode_info(info: DaemonInfo, limits: LimitsConfig) -> bytes:
    return _encode(
        pb.InfoReply(
            panels=[_panel_message(panel) for panel in info.panels],
            limits=pb.Limits(
                max_message_bytes=limits.message_bytes,
                max_k=limits.max_k,
                memory_budget_bytes=limits.memory_budget_bytes,
                max_queued_work=limits.max_queued_work,
                max_open_indexes=limits.max_open_indexes,
                max_missing_share=limits.max_missing_share,
            ),
            engine=info.engine,
            devices=info.devices,
            versions=info.versions,
            instance=info.instance,
        )
    )


def _panel_message(panel: PanelInfo) -> pb.PanelInfo:
    return pb.PanelInfo(
        name=panel.name,
        digest=panel.digest,
        contig=panel.contig,
        n_sites=panel.n_sites,
        n_samples=panel.n_samples,
        ready=panel.ready,
    )


def _split_of(message: pb.Split) -> Split:
    if message.name and not message.name.isprintable():
        raise RangeError(f"the split's name {message.name!r} has characters that do not print")
    try:
        return Split(
            name=message.name,
            reference=tuple(message.reference),
            held_out=tuple(message.held_out),
            groups=_groups_of(message.groups),
        )
    except ConfigError as error:
        raise RangeError(str(error)) from error


def _groups_of(groups: Mapping[str, str]) -> dict[str, str]:
    """A person who is a group alone is named once in memory."""
    return {sample: sample if group == sample else group for sample, group in groups.items()}


def _layout_of(message: pb.Layout) -> SegmentLayout:
    if message.n_sites < 1 or len(message.lengths) > MAX_SCALES:
        raise RangeError(f"a layout of {message.n_sites} sites and {len(message.lengths)} scales")
    try:
        return SegmentLayout(n_sites=message.n_sites, lengths=tuple(message.lengths), min_observed=message.min_observed)
    except ConfigError as error:
        raise RangeError(str(error)) from error


def _mask_of(data: bytes, n_sites: int) -> BoolArray:
    return np.asarray(bit.unpack(rows_of("observed", data, 1, n_sites), 0, n_sites)[0], dtype=np.bool_)


def _weights_of(data: bytes) -> F32Array:
    if len(data) % 4:
        raise ShapeError(f"weights are {len(data)} bytes, not a whole number of float32")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def _samples_of(samples: Sequence[pb.QuerySample], call: Call) -> tuple[str | External, ...]:
    found = []
    for i, sample in enumerate(samples):
        if i % QUERIES_PER_CHECKPOINT == 0:
            call.checkpoint()
        found.append(_sample_of(i, sample))
    return tuple(found)


def _sample_of(i: int, sample: pb.QuerySample) -> str | External:
    if sample.name:
        return sample.name
    if sample.external:
        return EXTERNAL
    raise NoSampleError(f"query {i} names no sample: give its name, or say external")


def _int32_bytes(values: I32Array) -> bytes:
    return values.astype("<i4", copy=False).tobytes()


def _parse(kind: type[Message], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ShapeError(f"{len(data)} bytes that are not a {kind.DESCRIPTOR.name}") from error


def _encode(message: Message) -> bytes:
    return bytes(message.SerializeToString())
