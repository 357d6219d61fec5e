"""HTTP/2 by hand: connections that say what no gRPC library would."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
FRAME_HEADER_BYTES = 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_BYTES = 16_384
SECONDS = 30.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field, never indexed, without Huffman's code (RFC 7541, section 6.2.2)."""
    return b"\x00" + _length(name) + name + _length(value) + value


def message(data: bytes, *, stated: int | None = None, compressed: bool = False) -> bytes:
    """A gRPC message with its prefix, whose length may lie."""
    return bytes((compressed,)) + struct.pack(">I", len(data) if stated is None else stated) + data


class Http2:
    """A connection whose every frame is written by the test.

    Args:
        address: HOST:PORT.
        window: What the server may send on every stream before it is granted more; 0 for nothing.
    """

    def __init__(self, address: str, *, window: int = 65_535) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._next = 1
        self._initial = 65_535
        self._room = {0: 65_535}
        self._read = bytearray()
        self._taken = self._granted = 0
        self._ended: set[int] = set()
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))

    def __enter__(self) -> Http2:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def call(self, path: str | bytes, fields: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """Begins a call and sends no message; its stream."""
        stream, self._next = self._next, self._next + 2
        path = path.encode() if isinstance(path, str) else path
        block = b"".join(
            literal(name, value)
            for name, value in (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", path),
                (b":authority", b"x"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                *fields,
            )
        )
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, block))
        return stream

    def send(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """Bytes of a message, in frames; whether there is a window for them is the caller's concern."""
        for begin in range(0, len(data), MAX_FRAME_BYTES):
            self.socket.sendall(frame(DATA, 0, stream, data[begin : begin + MAX_FRAME_BYTES]))
        if last:
            self.socket.sendall(frame(DATA, END_STREAM, stream))

    def pour(self, stream: int, data: bytes, *, patience_seconds: float = SECONDS) -> int:
        """Sends as much as the server makes room for, until it makes none for a while; how many bytes that were."""
        sent = 0
        while sent < len(data):
            room = min(self._room[0], self._room.setdefault(stream, self._initial), MAX_FRAME_BYTES, len(data) - sent)
            if room <= 0:
                if not self._listen(patience_seconds):
                    break
                continue
            self.socket.sendall(frame(DATA, 0, stream, data[sent : sent + room]))
            self._room[0] -= room
            self._room[stream] -= room
            sent += room
        return sent

    def begin_reply(self, stream: int, n_bytes: int = 1) -> None:
        """Makes room for, and reads, the first bytes of a reply and no more."""
        self._grant(stream, n_bytes)
        while self._taken < n_bytes:
            assert self._listen(SECONDS), "the server sent no reply"

    def rest_of_reply(self, stream: int, window: int = 2**20) -> int:
        """Reads a reply to its end; how many bytes it had in all, its five of prefix among them."""
        while stream not in self._ended:
            if self._granted - self._taken < window:
                self._grant(stream, window)
            if not self._listen(SECONDS) and stream not in self._ended:
                raise AssertionError(f"cut off after {self._taken} bytes")
        return self._taken

    def _grant(self, stream: int, n_bytes: int) -> None:
        more = struct.pack(">I", n_bytes)
        self.socket.sendall(frame(WINDOW_UPDATE, 0, stream, more) + frame(WINDOW_UPDATE, 0, 0, more))
        self._granted += n_bytes

    def _listen(self, seconds: float) -> bool:
        """Reads one frame and notes the room that it makes; False when none came or the server has gone."""
        self.socket.settimeout(seconds)
        try:
            while len(self._read) < FRAME_HEADER_BYTES or len(self._read) < FRAME_HEADER_BYTES + self._length():
                more = self.socket.recv(65_536)
                if not more:
                    return False
                self._read += more
        except (TimeoutError, ConnectionError):
            return False
        finally:
            self.socket.settimeout(SECONDS)
        length, kind, flags = self._length(), self._read[3], self._read[4]
        stream = struct.unpack(">I", self._read[5:9])[0]
        payload = self._read[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + length]
        del self._read[: FRAME_HEADER_BYTES + length]
        self._note(kind, flags, stream, bytes(payload))
        return kind not in (RST_STREAM, GOAWAY) and not (kind == HEADERS and flags & END_STREAM)

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._taken += len(payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._ended.add(stream)
        if kind == WINDOW_UPDATE:
            self._room[stream] = self._room.get(stream, self._initial) + struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            for begin in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[begin : begin + 6])
                if name == INITIAL_WINDOW_SIZE:
                    for open_stream in self._room:
                        self._room[open_stream] += (value - self._initial) * (open_stream > 0)
                    self._initial = value
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))

    def _length(self) -> int:
        return int.from_bytes(self._read[:3], "big")

    def reset(self, stream: int) -> None:
        """Takes a call back."""
        self.socket.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))

    def closed(self, seconds: float) -> bool:
        """Whether the server closes the connection within some seconds; what it sends is read."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            try:
                while self.socket.recv(65_536):
                    pass
            except ConnectionError:
                return True
            return True
        return False


def _length(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes((len(data),))
    rest, out = len(data) - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)
