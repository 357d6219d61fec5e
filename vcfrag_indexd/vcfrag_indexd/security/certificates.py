"""TLS: the server's certificate, checked before gRPC sees it, and read again when it changes."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.config.config import SecurityConfig
from vcfrag_proto.channel import read_secret


class Certificates:
    """The server's TLS, or mutual TLS, as configured. TLS 1.3 is taken where the peer has it, TLS 1.2 otherwise.

    Args:
        config: Names the files.

    Raises:
        ConfigError: A file cannot be read, is no certificate or key, or they do not belong together; says which.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._current = None if config.certificate_file is None else _read(config)
        self._changed = False

    def credentials(self) -> grpc.ServerCredentials | None:
        """What a server is given; None for plaintext."""
        if self._current is None:
            return None
        mutual = self._config.client_ca_file is not None
        return grpc.dynamic_ssl_server_credentials(self._current, self._fetch, require_client_authentication=mutual)

    def reload(self) -> None:
        """Reads the files again, for connections from now on; if they cannot be used, nothing changes.

        Raises:
            ConfigError: As when they were first read.
        """
        if self._config.certificate_file is not None:
            self._current, self._changed = _read(self._config), True

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # gRPC asks at every handshake; None leaves what it has.
        if not self._changed:
            return None
        self._changed = False
        return self._current


def _read(config: SecurityConfig) -> grpc.ServerCertificateConfiguration:
    certificate, key = config.certificate_file, config.key_file
    if certificate is None or key is None:
        raise ConfigError("security.certificate_file and security.key_file belong together")
    chain, secret = read_secret(certificate), read_secret(key)
    _check_pair(certificate, key)
    authority = None
    if config.client_ca_file is not None:
        authority = read_secret(config.client_ca_file)
        _check_authority(config.client_ca_file)
    return grpc.ssl_server_certificate_configuration([(secret, chain)], root_certificates=authority)


def _check_pair(certificate: Path, key: Path) -> None:
    _check_certificate("security.certificate_file", certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _explained(f"security.key_file {key} is no unencrypted PEM private key"):
        try:
            # The password is asked for only where the key is encrypted, and then none will do.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except ssl.SSLError as error:
            if "KEY_VALUES_MISMATCH" in str(error):
                raise ConfigError(
                    f"security.key_file {key} is not the key of security.certificate_file {certificate}: are they "
                    "swapped, or of different certificates?"
                ) from error
            raise


def _check_authority(path: Path) -> None:
    _check_certificate("security.client_ca_file", path)


def _check_certificate(setting: str, path: Path) -> None:
    with _explained(f"{setting} {path} is no PEM certificate"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError, OSError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise ConfigError(f"{what} ({why})") from error
