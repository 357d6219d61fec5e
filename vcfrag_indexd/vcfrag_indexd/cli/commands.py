"""What the command line asks of a running daemon: health, list, verify, close."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vcfrag_core.errors import PanelMismatchError, UnknownIndexError, UnknownPanelError
from vcfrag_indexd.config.panel_source import panel_source
from vcfrag_proto.channel import TlsConfig, open_channel, read_token, unreachable
from vcfrag_proto.status import decode
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc

SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A daemon to be asked.

    Attributes:
        address: HOST:PORT.
        tls: TLS towards it; plaintext unless given.
        token_file: Holds the bearer token, for `ls` and `close` the administration's.
    """

    address: str
    tls: TlsConfig | None = None
    token_file: Path | None = None

    def channel(self) -> grpc.Channel:
        """A channel to it, to be closed."""
        return open_channel(self.address, self.tls)

    def call(self, method: str, request: Any) -> Any:
        """
        Raises:
            VcfragError: The daemon's refusal.
        """
        token = None if self.token_file is None else read_token(self.token_file)
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        with self.channel() as channel:
            try:
                return getattr(rpc.IndexStub(channel), method)(request, timeout=SECONDS, metadata=metadata)
            except grpc.RpcError as failure:
                refusal = decode(failure)
                raise refusal.error if refusal.answered else unreachable(self.address, refusal.error) from failure


def health_of(remote: Remote, service: str) -> str:
    """`SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN`.

    Raises:
        UnavailableError: Nobody answers.
        ConfigError: The address is not HOST:PORT, or a certificate file cannot be read.
    """
    with remote.channel() as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=SECONDS
            )
        except grpc.RpcError as failure:
            if failure.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise unreachable(remote.address, decode(failure).error) from failure
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def list_lines(remote: Remote) -> list[str]:
    """A line for every open index."""
    found = remote.call("ListIndexes", pb.ListIndexesRequest()).indexes
    lines = [f"{'handle':32}  {'panel':16} {'split':12} {'segments':>8} {'MiB':>9} {'searches':>9}"]
    lines += [
        f"{quoted(i.handle):32}  {quoted(i.panel):16} {quoted(i.split):12} {i.segments:8d} {i.bytes / 2**20:9.1f} "
        f"{i.searches:9d}"
        for i in found
    ]
    return lines


def quoted(name: str) -> str:
    """A name as a terminal may show it: one that could be taken for something else stands in quotes, escaped."""
    plain = name.isascii() and name.isprintable() and name and not set(name) & set(" '\"\\")
    return name if plain else ascii(name)


def verify_panel(remote: Remote, name: str, file: Path) -> str:
    """The digest that a panel file and a daemon's panel share.

    Raises:
        UnknownPanelError: The daemon has no such panel, or has not read it yet.
        PanelMismatchError: It has another.
    """
    from vcfrag_core.files.panel.cache import load_panel

    held = {panel.name: panel for panel in remote.call("Info", pb.InfoRequest()).panels}
    if name not in held:
        raise UnknownPanelError(f"{remote.address} has no panel {name!r}; it has: {', '.join(sorted(held))}")
    if not held[name].ready:
        raise UnknownPanelError(f"{remote.address} is still reading panel {name!r}: ask again later")
    path, region = panel_source(file)
    here, there = load_panel(path, region=region), held[name]
    if here.digest != there.digest:
        raise PanelMismatchError(
            f"{file} is not panel {name!r} of {remote.address}. Here: digest {here.digest}, contig {here.contig},"
            f" {here.n_sites} sites, {here.n_samples} samples; there: digest {there.digest}, contig {there.contig},"
            f" {there.n_sites} sites, {there.n_samples} samples"
        )
    return here.digest


def close(remote: Remote, handle: str) -> None:
    """
    Raises:
        UnknownIndexError: No such index is open.
    """
    try:
        remote.call("CloseIndex", pb.CloseIndexRequest(handle=handle))
    except UnknownIndexError:
        raise UnknownIndexError(
            f"{remote.address} has no index {handle!r} open: `vcfrag-indexd ls` lists those that are"
        ) from None
