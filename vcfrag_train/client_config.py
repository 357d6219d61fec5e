"""How a client reaches its daemons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import grpc

from vcfrag_core.errors import ConfigError
from vcfrag_proto.status import MAX_MESSAGE_BYTES

PREFIX = "VCFRAG_DAEMON_"
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


def tls_of(environment: Mapping[str, str]) -> TlsConfig | None:
    """TLS as VCFRAG_DAEMON_CA_FILE, _CERTIFICATE_FILE, _KEY_FILE and _SERVER_NAME ask for it; None if none is set.

    Raises:
        ConfigError: A certificate without its key.
    """
    ca, certificate, key = (environment.get(f"{PREFIX}{name}_FILE") for name in ("CA", "CERTIFICATE", "KEY"))
    name = environment.get(f"{PREFIX}SERVER_NAME")
    if not (ca or certificate or key or name):
        return None
    return TlsConfig(
        ca_file=Path(ca) if ca else None,
        certificate_file=Path(certificate) if certificate else None,
        key_file=Path(key) if key else None,
        server_name=name or None,
    )


def token_of(environment: Mapping[str, str]) -> str | None:
    """The bearer token in the file that VCFRAG_DAEMON_TOKEN_FILE names; None if it is not set.

    Raises:
        ConfigError: The file cannot be read.
    """
    file = environment.get(f"{PREFIX}TOKEN_FILE")
    data = _read(Path(file)) if file else None
    return None if data is None else data.decode(errors="replace").strip()


def open_channel(address: str, tls: TlsConfig | None) -> grpc.Channel:
    """A channel to HOST:PORT; it connects at the first call.

    Raises:
        ConfigError: A certificate file cannot be read.
    """
    if tls is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca_file),
        private_key=_read(tls.key_file),
        certificate_chain=_read(tls.certificate_file),
    )
    named = () if tls.server_name is None else (("grpc.ssl_target_name_override", tls.server_name),)
    return grpc.secure_channel(address, credentials, options=(*CHANNEL_OPTIONS, *named))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
