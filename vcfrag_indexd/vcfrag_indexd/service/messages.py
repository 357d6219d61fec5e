"""Messages to arrays and back, with every check of shape and meaning that needs no open index."""

from __future__ import annotations

import numpy as np

from vcfrag_core.errors import (
    ConfigError,
    NoSampleError,
    OutOfBudgetError,
    RangeError,
    ShapeError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.consistency import QueryBits, check_search, rows_of
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import EXTERNAL, External
from vcfrag_core.search.engine import SearchTask
from vcfrag_core.search.index import OpenIndex, search_task
from vcfrag_core.types import BoolArray, F32Array, I32Array
from vcfrag_proto.messages import identity_of
from vcfrag_proto.status import MAX_MESSAGE_BYTES
from vcfrag_proto.v1 import index_pb2 as pb

MAX_SCALES = 32
MESSAGE_MARGIN_BYTES = 1024 * 1024


def split_of(message: pb.Split) -> Split:
    """
    Raises:
        RangeError: A split that makes no sense.
        HeldOutSampleError: A held-out sample is in the reference.
    """
    try:
        return Split(
            name=message.name,
            reference=tuple(message.reference),
            held_out=tuple(message.held_out),
            groups=dict(message.groups),
        )
    except ConfigError as error:
        raise RangeError(str(error)) from error


def layout_of(message: pb.Layout) -> SegmentLayout:
    """
    Raises:
        RangeError: A layout that makes no sense.
    """
    if message.n_sites < 1 or len(message.lengths) > MAX_SCALES:
        raise RangeError(f"a layout of {message.n_sites} sites and {len(message.lengths)} scales")
    try:
        return SegmentLayout(n_sites=message.n_sites, lengths=tuple(message.lengths), min_observed=message.min_observed)
    except ConfigError as error:
        raise RangeError(str(error)) from error


def mask_of(data: bytes, n_sites: int) -> BoolArray:
    """(V,) bool of a mask's bits.

    Raises:
        ShapeError: Not ceil(V / 8) bytes, or padding bits that are not 0.
    """
    return np.asarray(bit.unpack(rows_of("observed", data, 1, n_sites), 0, n_sites)[0], dtype=np.bool_)


def weights_of(data: bytes) -> F32Array:
    """(V,) weights.

    Raises:
        ShapeError: Not whole float32 numbers.
    """
    if len(data) % 4:
        raise ShapeError(f"weights are {len(data)} bytes, not a whole number of float32")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def task_of(request: pb.SearchRequest, index: OpenIndex, *, max_k: int, max_missing_share: float) -> SearchTask:
    """The checked queries of a Search.

    Raises:
        RangeError: k outside what is allowed.
        NoSampleError, UnknownSampleError: A query without a name, or with one that nobody knows.
        VcfragError: The queries were not made for this index; see `check_search`.
    """
    if not 1 <= request.k <= max_k:
        raise RangeError(f"k must be in [1, {max_k}], got {request.k}")
    queries = QueryBits(
        start=request.start,
        stop=request.stop,
        samples=tuple(_who(i, sample) for i, sample in enumerate(request.samples)),
        observed=request.observed,
        missing=request.missing,
        alleles=request.alleles,
    )
    check_search(index, identity_of(request.identity), queries, max_missing_share=max_missing_share)
    return search_task(index, queries, request.k)


def _who(i: int, sample: pb.QuerySample) -> str | External:
    if sample.WhichOneof("who") == "name" and sample.name:
        return sample.name
    if sample.WhichOneof("who") == "external" and sample.external:
        return EXTERNAL
    raise NoSampleError(f"query {i} names no sample: give its name, or say external")


def int32_bytes(values: I32Array) -> bytes:
    """Numbers as little-endian int32."""
    return values.astype("<i4", copy=False).tobytes()


def check_reply_size(work: int) -> None:
    """
    Raises:
        OutOfBudgetError: The reply to so many queries x segments x k would not fit into one message.
    """
    if 8 * work > MAX_MESSAGE_BYTES - MESSAGE_MARGIN_BYTES:
        raise OutOfBudgetError(
            f"the reply would be {8 * work} bytes, more than a message of {MAX_MESSAGE_BYTES} holds: send fewer queries"
        )
