"""How one connects to a daemon: its address, TLS, and the channel. For the client and for the daemon's own commands."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import grpc

from vcfrag_core.errors import ConfigError, UnavailableError, VcfragError
from vcfrag_proto.status import MAX_MESSAGE_BYTES

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A pool of one's own: otherwise clients of one process share a connection, and its failures.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """TLS, and mutual TLS where a certificate of the client's own is given.

    Attributes:
        ca_file: PEM of the authority that signed the daemon's certificate; the system's unless given.
        certificate_file: PEM chain of the client.
        key_file: Its private key.
        server_name: The name that the daemon's certificate must bear, where it is not the address's host.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigError("a client certificate and its key belong together")


def split_address(address: str, setting: str = "address") -> tuple[str, int]:
    """Host and port of HOST:PORT.

    Raises:
        ConfigError: Not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{setting} must be HOST:PORT, got {address!r}")
    return host, int(port)


def open_channel(address: str, tls: TlsConfig | None) -> grpc.Channel:
    """A channel to HOST:PORT; it connects at the first call.

    Raises:
        ConfigError: The address is not of that form, or a certificate file cannot be read.
    """
    host, _ = split_address(address, "a daemon's address")
    options = (*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", int(not is_loopback(host))))
    if tls is None:
        return grpc.insecure_channel(address, options=options)
    files = (tls.ca_file, tls.key_file, tls.certificate_file)
    credentials = grpc.ssl_channel_credentials(*(None if file is None else read_secret(file) for file in files))
    named = () if tls.server_name is None else (("grpc.ssl_target_name_override", tls.server_name),)
    return grpc.secure_channel(address, credentials, options=(*options, *named))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine; what is said to it never goes by a proxy."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def unreachable(address: str, error: VcfragError) -> UnavailableError:
    """The error of a call that reached no daemon, with what to check.

    Args:
        address: HOST:PORT.
        error: What gRPC said.
    """
    why = str(error).rpartition("last error: ")[2]
    return UnavailableError(
        f"{address}: no vcfrag-indexd answered ({why}); check that it runs, that HOST:PORT is where it"
        " listens, and that both sides use TLS or neither does"
    )


def read_secret(path: Path) -> bytes:
    """A certificate, key or token file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        ConfigError: It cannot be read, or is empty.
    """
    token = read_secret(path).decode(errors="replace").strip()
    if not token:
        raise ConfigError(f"the token file {path} is empty")
    return token
