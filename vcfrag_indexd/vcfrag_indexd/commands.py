"""What the command line asks of a running daemon: health, list, verify, close."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vcfrag_core.errors import ConfigError, PanelMismatchError, UnavailableError, UnknownPanelError
from vcfrag_proto.status import MAX_MESSAGE_BYTES, decode
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A daemon to be asked.

    Attributes:
        address: HOST:PORT.
        ca_file: PEM of the authority that signed its certificate; plaintext unless given.
        certificate_file: PEM chain of the asker, for mutual TLS.
        key_file: Its private key.
        token_file: Holds the bearer token, for `ls` and `close` the administration's.
    """

    address: str
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        options = (("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),)
        if self.ca_file is None:
            channel = grpc.insecure_channel(self.address, options=options)
        else:
            credentials = grpc.ssl_channel_credentials(
                _read(self.ca_file), _read(self.key_file), _read(self.certificate_file)
            )
            channel = grpc.secure_channel(self.address, credentials, options=options)
        with channel:
            yield channel

    def call(self, method: str, request: Any) -> Any:
        """
        Raises:
            VcfragError: The daemon's refusal.
        """
        token = _read(self.token_file)
        metadata = () if token is None else (("authorization", f"Bearer {token.decode().strip()}"),)
        with self.channel() as channel:
            try:
                return getattr(rpc.IndexStub(channel), method)(request, timeout=SECONDS, metadata=metadata)
            except grpc.RpcError as failure:
                raise decode(failure).error from failure


def health_of(remote: Remote, service: str) -> str:
    """`SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN`.

    Raises:
        UnavailableError: Nobody answers.
    """
    with remote.channel() as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=SECONDS
            )
        except grpc.RpcError as failure:
            if failure.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise UnavailableError(f"{remote.address}: {failure.code().name}: {failure.details()}") from failure
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def list_lines(remote: Remote) -> list[str]:
    """A line for every open index."""
    found = remote.call("ListIndexes", pb.ListIndexesRequest()).indexes
    lines = [f"{'handle':32}  {'panel':16} {'split':12} {'segments':>8} {'MiB':>9} {'searches':>9}"]
    lines += [
        f"{i.handle:32}  {i.panel:16} {i.split:12} {i.segments:8d} {i.bytes / 2**20:9.1f} {i.searches:9d}"
        for i in found
    ]
    return lines


def verify_panel(remote: Remote, name: str, file: Path) -> str:
    """The digest that a panel file and a daemon's panel share.

    Raises:
        UnknownPanelError: The daemon has no such panel, or has not read it yet.
        PanelMismatchError: It has another.
    """
    from vcfrag_core.files.panel_cache import load_panel

    held = {panel.name: panel for panel in remote.call("Info", pb.InfoRequest()).panels}
    if name not in held or not held[name].ready:
        raise UnknownPanelError(f"{remote.address} has no panel {name!r} ready: it has {sorted(held)}")
    digest = load_panel(file).digest
    if digest != held[name].digest:
        raise PanelMismatchError(f"{file} has the digest {digest}, panel {name!r} there has {held[name].digest}")
    return digest


def close(remote: Remote, handle: str) -> None:
    """
    Raises:
        UnknownIndexError: No such index is open.
    """
    remote.call("CloseIndex", pb.CloseIndexRequest(handle=handle))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
