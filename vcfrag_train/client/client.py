"""The client of vcfrag-indexd: what training, evaluation and imputation know of it."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from vcfrag_core.errors import (
    NotPermittedError,
    UnknownIndexError,
    UnknownMaskError,
    UnknownMetricError,
    VcfragError,
)
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.queries import QueryBlock, SearchResult
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_proto.channel import TlsConfig
from vcfrag_proto.messages import identity_message, identity_of
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_train.client import messages
from vcfrag_train.client.calls import Caller
from vcfrag_train.client.environment import tls_of, token_of
from vcfrag_train.client.messages import DaemonInfo, IndexHandle

__all__ = ["DaemonInfo", "IndexClient", "IndexHandle", "TlsConfig"]

WORK_PER_CALL = 4_000_000
SHARE_OF_QUEUE = 8
SHARE_OF_MESSAGE = 2


class IndexClient:
    """Opens indexes and searches them. Safe in threads; a forked or spawned process gets a channel of its own.

    Calls that fail as UNAVAILABLE, DRAINING or OVERLOADED are tried again until the deadline. An index that the
    daemon no longer knows, because it was restarted or had too many, is opened again, but only if this client
    opened it.

    Args:
        addresses: HOST:PORT of a daemon, or of several that serve the same panels.
        tls: TLS towards them; unless given, as the environment asks for it (`client_config.tls_of`), else plaintext.
        token: Bearer token; unless given, from the file that VCFRAG_DAEMON_TOKEN_FILE names.
        timeout_seconds: Deadline of every call, all its attempts together.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        tls: TlsConfig | None = None,
        token: str | None = None,
        timeout_seconds: float = 300.0,
    ) -> None:
        self._caller = Caller(
            (addresses,) if isinstance(addresses, str) else addresses,
            tls if tls is not None else tls_of(os.environ),
            token if token is not None else token_of(os.environ),
        )
        self._timeout_seconds = timeout_seconds
        self._opened: dict[str, IndexHandle] = {}
        self._info: DaemonInfo | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> IndexClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Closes the connection for good and ends the calls under way.

        The daemon keeps the indexes until they are closed or least recently used.
        """
        self._caller.close()

    def info(self) -> DaemonInfo:
        """What the daemon says of itself, asked anew."""
        reply = self._call("Info", pb.InfoRequest())
        self._info = messages.info_of(reply)
        return self._info

    def open_index(
        self,
        *,
        panel_name: str,
        identity: Identity,
        split: Split,
        layout: SegmentLayout,
        observed: BoolArray,
        weights: F32Array,
    ) -> IndexHandle:
        """Opens the index of an identity; again and again is the same.

        Args:
            panel_name: The name that the daemon gave the panel.
            identity: The five digests, computed by the caller from the very arrays that it works with.
            split: The split.
            layout: Segment borders.
            observed: (V,) the mask.
            weights: (V,) float32 multiples of 2**-10.

        Raises:
            VcfragError: Any refusal of IndexHandle; see the contract.
        """
        index = IndexHandle(
            handle="",
            panel_name=panel_name,
            identity=identity,
            split=split,
            layout=layout,
            observed=np.array(observed, dtype=np.bool_),
            weights=np.array(weights, dtype=np.float32),
        )
        index = dataclasses.replace(index, handle=self._open(index))
        with self._lock:
            self._opened[index.handle] = index
        return index

    def prepare(self, index: IndexHandle, start: int, stop: int) -> int:
        """Builds what searches of sites [start, stop) need, ahead of the first; the number of segments."""
        request = pb.PrepareIndexRequest(
            handle=index.handle, identity=identity_message(index.identity), start=start, stop=stop
        )
        progress = self._call("PrepareIndex", request, index)
        return int(progress[-1].segments_total)

    def search(self, index: IndexHandle, block: QueryBlock, k: int) -> SearchResult:
        """The k nearest reference haplotypes of every query in every segment of the block's range.

        Large batches go in several calls. Every reply's digests are compared with the index's.

        Raises:
            VcfragError: Any refusal of Search; see the contract.
            IdentityError: The reply speaks of another index.
        """
        at_once = self._queries_per_call(index, block, k)
        parts = []
        for begin in range(0, max(1, len(block.samples)), at_once):
            request = messages.search_request(index, block, slice(begin, begin + at_once), k)
            parts.append(messages.result_of(self._call("Search", request, index), index, len(request.samples), k))
        if len(parts) == 1:
            return parts[0]
        return dataclasses.replace(
            parts[0],
            ids=np.concatenate([part.ids for part in parts], axis=1),
            distances=np.concatenate([part.distances for part in parts], axis=1),
        )

    def list_indexes(self) -> list[pb.IndexInfo]:
        """The identities that are open on the daemon."""
        return list(self._call("ListIndexes", pb.ListIndexesRequest()).indexes)

    def close_index(self, index: IndexHandle) -> None:
        """Tells the daemon that the index is no longer needed.

        Where closing is reserved to administrators, nothing happens: the daemon lets it go in time.
        """
        with self._lock:
            self._opened.pop(index.handle, None)
        try:
            self._call("CloseIndex", pb.CloseIndexRequest(handle=index.handle))
        except (UnknownIndexError, NotPermittedError):
            return

    def _call(self, method: str, request: Any, index: IndexHandle | None = None) -> Any:
        def reopen(error: VcfragError) -> bool:
            if index is None or not isinstance(error, UnknownIndexError) or index.handle not in self._opened:
                return False
            return self._open(self._opened[index.handle]) == index.handle

        return self._caller.call(method, request, self._timeout_seconds, repair=reopen)

    def _open(self, index: IndexHandle) -> str:
        """Opens by digest first; the arrays are sent when the daemon does not know them."""
        request = messages.opening(index)

        def send_array(error: VcfragError) -> bool:
            if isinstance(error, UnknownMaskError) and not request.HasField("observed"):
                request.observed = bit.pack(index.observed).tobytes()
                return True
            if isinstance(error, UnknownMetricError) and not request.HasField("weights"):
                request.weights = index.weights.astype("<f4").tobytes()
                return True
            return False

        reply = self._caller.call("OpenIndex", request, self._timeout_seconds, repair=send_array)
        index.identity.check(identity_of(reply.identity))
        return str(reply.handle)

    def _queries_per_call(self, index: IndexHandle, block: QueryBlock, k: int) -> int:
        info = self._info or self.info()
        n_segments = index.layout.count_within(block.start, block.stop, index.observed)
        most_work = min(
            WORK_PER_CALL,
            max(1, info.max_queued_work // SHARE_OF_QUEUE),
            info.max_message_bytes // (8 * SHARE_OF_MESSAGE),
        )
        row_bytes = 3 * bit.n_bytes(block.stop - block.start) + 64
        by_message = info.max_message_bytes // (SHARE_OF_MESSAGE * row_bytes)
        return max(1, min(most_work // max(1, n_segments * max(1, k)), by_message))
