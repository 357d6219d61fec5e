"""Messages to arrays and back, with every check of shape and meaning that needs no open index."""

from __future__ import annotations

import numpy as np

from vcfrag_core.errors import (
    ConfigError,
    MaskMismatchError,
    NoSampleError,
    OutOfBudgetError,
    RangeError,
    ShapeError,
    TooManyMissingError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import EXTERNAL, Who
from vcfrag_core.search.engine import SearchTask
from vcfrag_core.types import BoolArray, F32Array, I32Array, I64Array, U8Array
from vcfrag_indexd.service.registry import OpenIndex
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
    return np.asarray(bit.unpack(_rows("observed", data, 1, n_sites), 0, n_sites)[0], dtype=np.bool_)


def weights_of(data: bytes) -> F32Array:
    """(V,) weights.

    Raises:
        ShapeError: Not whole float32 numbers.
    """
    if len(data) % 4:
        raise ShapeError(f"weights are {len(data)} bytes, not a whole number of float32")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def check_range(start: int, stop: int, n_sites: int) -> None:
    """
    Raises:
        RangeError: Sites [start, stop) are empty or not within the panel.
    """
    if not 0 <= start < stop <= n_sites:
        raise RangeError(f"sites [{start}, {stop}) of a panel of {n_sites}")


def task_of(request: pb.SearchRequest, index: OpenIndex, *, max_k: int, max_missing_share: float) -> SearchTask:
    """The checked queries of a Search.

    Raises:
        RangeError: Sites or k outside what is allowed.
        NoSampleError, UnknownSampleError: A query without a name, or with one that nobody knows.
        ShapeError: Bytes of the wrong size, bits that contradict each other.
        MaskMismatchError: A query's sites are not the index's; names the first.
        TooManyMissingError: A query lacks too many calls.
    """
    start, stop = request.start, request.stop
    check_range(start, stop, len(index.source.observed))
    if not 1 <= request.k <= max_k:
        raise RangeError(f"k must be in [1, {max_k}], got {request.k}")
    samples = [_who(i, sample) for i, sample in enumerate(request.samples)]
    if not samples:
        raise ShapeError("a search needs at least one query")
    n_sites = stop - start
    observed = _rows("observed", request.observed, len(samples), n_sites)
    missing = np.zeros_like(observed)
    if request.missing:
        missing = _rows("missing", request.missing, len(samples), n_sites)
    alleles = _rows("alleles", request.alleles, len(samples), n_sites)
    _check_mask(index, start, stop, observed, missing)
    if (alleles & ~observed).any():
        raise ShapeError("a query has an allele at a site at which it is not observed")
    excluded = [index.excluded(name) if isinstance(name, str) else np.zeros(0, np.int64) for name in samples]
    sites = np.flatnonzero(index.source.observed[start:stop])
    _check_missing(missing, sites, n_sites, max_missing_share)
    return SearchTask(
        start=start,
        stop=stop,
        k=request.k,
        alleles=_columns(alleles, sites),
        called=_columns(observed, sites),
        excluded=np.concatenate(excluded),
        excluded_starts=np.cumsum([0, *(len(rows) for rows in excluded)]).astype(np.int64),
    )


def _who(i: int, sample: pb.QuerySample) -> str | Who:
    if sample.WhichOneof("who") == "name" and sample.name:
        return sample.name
    if sample.WhichOneof("who") == "external" and sample.external:
        return EXTERNAL
    raise NoSampleError(f"query {i} names no sample: give its name, or say external")


def _rows(what: str, data: bytes, n_rows: int, n_bits: int) -> U8Array:
    width = bit.n_bytes(n_bits)
    if len(data) != n_rows * width:
        raise ShapeError(f"{what} has {len(data)} bytes; {n_rows} rows of {n_bits} bits need {n_rows * width}")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(n_rows, width)
    if n_bits % 8 and (rows[:, -1] >> (n_bits % 8)).any():
        raise ShapeError(f"{what} has padding bits that are not 0")
    return rows


def _check_mask(index: OpenIndex, start: int, stop: int, observed: U8Array, missing: U8Array) -> None:
    expected = bit.pack(index.source.observed[start:stop])
    differs = (observed | missing) ^ expected
    if differs.any():
        query = int(np.flatnonzero(differs.any(axis=1))[0])
        site = int(np.flatnonzero(np.unpackbits(differs[query], bitorder="little"))[0])
        has = "masked" if (expected[site >> 3] >> (site & 7)) & 1 == 0 else "observed"
        raise MaskMismatchError(
            f"query {query} was masked with another mask: site {start + site} "
            f"({index.held.panel.site_label(start + site)}) is {has} in the index and not in the query"
        )
    if (observed & missing).any():
        raise ShapeError("a site is both observed and missing in one query")


def _check_missing(missing: U8Array, sites: I64Array, n_sites: int, max_share: float) -> None:
    counts = _ONES[missing].sum(axis=1)
    if counts.any() and counts.max() > max_share * len(sites):
        query = int(np.argmax(counts))
        raise TooManyMissingError(
            f"query {query} lacks {counts[query]} of {len(sites)} observed sites among {n_sites}, "
            f"more than {max_share:.1%}: mask them as unobserved for all, or drop the sample"
        )


_ONES: I64Array = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.int64)


def _columns(rows: U8Array, sites: I64Array) -> U8Array:
    """(Q, M) zeros and ones of (Q, bytes) bits at the given sites."""
    shifts: U8Array = (sites & 7).astype(np.uint8)
    return np.asarray((rows[:, sites >> 3] >> shifts) & np.uint8(1), dtype=np.uint8)


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
