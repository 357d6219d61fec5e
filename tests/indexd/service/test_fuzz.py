"""Malformed and mismatched requests over every rpc: each gets a documented status and reason, and nothing breaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.message import Message

from vcfrag_indexd.serving.rpc import SERVICE_NAME
from vcfrag_indexd.testing import serve
from vcfrag_proto import status
from vcfrag_proto.v1 import index_pb2 as pb

STREAMING = "PrepareIndex"
REPLIES = {
    "OpenIndex": pb.OpenIndexReply,
    "PrepareIndex": pb.PrepareIndexProgress,
    "Search": pb.SearchReply,
    "ListIndexes": pb.ListIndexesReply,
    "CloseIndex": pb.CloseIndexReply,
    "Info": pb.InfoReply,
}
NUMBERS = (-(2**31), -1, 0, 1, 2, 7, 199, 200, 201, 65, 2**31 - 1)
TEXTS = ("", "x", "0" * 32, "S0001", "S0004", "nobody", "panel", "train", "\u00e4" * 40, "a" * 5000)
MESSAGE_SITES = 200


def documented(repository: Path) -> dict[str, set[str]]:
    """The reasons that the contract's comments name for every rpc."""
    text = (repository / "proto/vcfrag_proto/v1/index.proto").read_text()
    header, body = text.split("service Index {")
    every = set(re.findall(r"[A-Z_]{4,}", header)) & set(status.STATUS_OF)
    found = {}
    for comment, name in re.findall(r"((?:\s*//[^\n]*\n)+)\s*rpc (\w+)", body):
        reasons = set(re.findall(r"[A-Z_]{4,}", comment)) & set(status.STATUS_OF)
        if "any *_MISMATCH" in comment:
            reasons |= {reason for reason in status.STATUS_OF if reason.endswith("_MISMATCH")}
        found[name] = reasons | every
    return found


class Fuzzer:
    """Spoils valid requests, one generated change at a time."""

    def __init__(self, seed: int, valid: dict[str, Message]) -> None:
        self._rng = np.random.Generator(np.random.Philox(seed))
        self._valid = valid

    def next(self) -> tuple[str, bytes]:
        method = str(self._rng.choice(list(self._valid)))
        request = type(self._valid[method])()
        request.CopyFrom(self._valid[method])
        if self._rng.random() < 0.15:
            return method, self._spoil_bytes(request.SerializeToString())
        for _ in range(1 + int(self._rng.random() < 0.3)):
            self._spoil(request)
        return method, request.SerializeToString()

    def _spoil(self, message: Message) -> None:
        fields = list(message.DESCRIPTOR.fields)
        if not fields:
            return
        field = fields[self._rng.integers(len(fields))]
        value = getattr(message, field.name)
        if isinstance(value, Message) and self._rng.random() < 0.9:
            self._spoil(value)
        elif hasattr(value, "items"):
            self._spoil_map(value)
        elif not isinstance(value, (str, bytes)) and hasattr(value, "__len__"):
            self._spoil_list(value)
        elif isinstance(value, Message) or self._rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, self._other(value))

    def _spoil_map(self, groups: Any) -> None:
        if self._rng.random() < 0.5 and len(groups):
            del groups[sorted(groups)[int(self._rng.integers(len(groups)))]]
        else:
            groups[str(self._rng.choice(TEXTS))] = str(self._rng.choice(TEXTS))

    def _spoil_list(self, values: Any) -> None:
        if not len(values):
            return
        at = int(self._rng.integers(len(values)))
        if self._rng.random() < 0.4:
            del values[at]
        elif isinstance(values[at], Message):
            self._spoil(values[at])
        elif self._rng.random() < 0.5:
            values.append(values[at])
        else:
            values[at] = self._other(values[at])

    def _other(self, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return int(self._rng.choice(NUMBERS))
        if isinstance(value, str):
            return str(self._rng.choice(TEXTS))
        return self._spoil_bytes(value)

    def _spoil_bytes(self, data: bytes) -> bytes:
        kind = self._rng.integers(5)
        if kind == 0 or not data:
            return bytes(self._rng.integers(0, 256, int(self._rng.integers(0, 300)), dtype=np.uint8))
        if kind == 1:
            return data[: int(self._rng.integers(len(data)))]
        if kind == 2:
            return data + bytes(int(self._rng.integers(1, 9)))
        spoilt = bytearray(data)
        spoilt[int(self._rng.integers(len(data)))] ^= 1 << int(self._rng.integers(8))
        return bytes(spoilt)


class Target:
    """A daemon with an open index, and raw calls to it."""

    def __init__(self, address: str, index: Any, channel: grpc.Channel) -> None:
        self._channel = channel
        self.address = address
        opened = self.call("OpenIndex", index.open_request().SerializeToString())
        self.search = index.request(opened.handle, index.own(["S0004", "S0006"], 3, 160))
        identity = self.search.identity
        self.opening = index.open_request()
        self.valid: dict[str, Message] = {
            "OpenIndex": self.opening,
            "Search": self.search,
            "PrepareIndex": pb.PrepareIndexRequest(
                handle=opened.handle, identity=identity, start=0, stop=MESSAGE_SITES
            ),
            "CloseIndex": pb.CloseIndexRequest(handle="nothing"),
            "ListIndexes": pb.ListIndexesRequest(),
            "Info": pb.InfoRequest(),
        }

    def call(self, method: str, data: bytes) -> Any:
        path = f"/{SERVICE_NAME}/{method}"
        if method == STREAMING:
            return list(self._channel.unary_stream(path)(data, timeout=60))
        return REPLIES[method].FromString(self._channel.unary_unary(path)(data, timeout=60))

    def refusal(self, method: str, data: bytes) -> grpc.RpcError | None:
        """How a call failed; None if it did not."""
        try:
            self.call(method, data)
        except grpc.RpcError as failure:
            return failure
        return None

    def answer(self) -> bytes:
        """What a valid query gets, less the timings."""
        self.call("OpenIndex", self.opening.SerializeToString())
        reply = self.call("Search", self.search.SerializeToString())
        return bytes(reply.ids + reply.distances + reply.starts)


@pytest.fixture
def target(index) -> Iterator[Target]:
    with serve({"panel": index.panel}) as daemon, grpc.insecure_channel(daemon.address) as channel:
        yield Target(daemon.address, index, channel)


def bombard(target: Target, reasons: dict[str, set[str]], n: int, seed: int) -> Counter[str]:
    """Sends n spoilt requests; what came back, by method and reason."""
    fuzzer, seen = Fuzzer(seed, target.valid), Counter[str]()
    for i in range(n):
        method, data = fuzzer.next()
        failure = target.refusal(method, data)
        if failure is None:
            seen[f"{method} OK"] += 1
            continue
        error = status.decode(failure).error
        assert status.STATUS_OF[error.reason] is failure.code(), (i, method, failure)
        assert error.reason in reasons[method] - {"INTERNAL", "UNAVAILABLE"}, (i, method, error, data)
        seen[f"{method} {error.reason}"] += 1
    return seen


def test_fuzz__every_refusal_is_a_documented_one(target: Target, repository: Path) -> None:
    before = target.answer()
    seen = bombard(target, documented(repository), 600, seed=1)
    assert target.answer() == before
    assert len(seen) > 20, seen


@pytest.mark.soak
def test_fuzz__ten_thousand_requests_leave_no_trace(target: Target, repository: Path) -> None:
    before = target.answer()
    reasons = documented(repository)
    bombard(target, reasons, 1000, seed=2)
    resident = psutil.Process().memory_info().rss
    seen = bombard(target, reasons, 10_000, seed=3)
    grown = psutil.Process().memory_info().rss - resident
    assert target.answer() == before
    assert grown < 16 * 2**20, grown
    assert len(seen) > 25, seen


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f"], ids=["empty", "noise", "length"])
def test_fuzz__bytes_that_are_no_message(target: Target, data: bytes, repository: Path) -> None:
    reasons = documented(repository)
    for method in REPLIES:
        failure = target.refusal(method, data)
        if not data and method in ("Info", "ListIndexes"):
            assert failure is None
        else:
            assert failure is not None
            assert status.decode(failure).error.reason in reasons[method] - {"INTERNAL"}
