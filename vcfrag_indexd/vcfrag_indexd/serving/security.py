"""External may call: bearer tokens compared in constant time, and the server's TLS credentials."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

import grpc

from vcfrag_core.errors import AuthenticationError, NotPermittedError
from vcfrag_indexd.config.config import SecurityConfig
from vcfrag_proto.channel import read_secret, read_token

ADMIN_METHODS = frozenset({"ListIndexes", "CloseIndex"})
SCHEME = "Bearer "


class Gate:
    """Lets a call through, or not.

    Without tokens everybody may do everything. With an administration token, listing and closing other people's
    indexes needs it; with a query token, every call needs one of the two.

    Args:
        query_token: For queries; None for no check.
        admin_token: For administration too; None for no check beyond the query token's.
    """

    def __init__(self, query_token: str | None = None, admin_token: str | None = None) -> None:
        self._query = query_token.encode() if query_token is not None else None
        self._admin = admin_token.encode() if admin_token is not None else None

    @classmethod
    def of(cls, config: SecurityConfig) -> Gate:
        """
        Raises:
            ConfigError: A token file cannot be read, or is empty.
        """
        files = (config.token_file, config.admin_token_file)
        return cls(*(None if file is None else read_token(file) for file in files))

    def check(self, method: str, metadata: Iterable[tuple[str, Any]] | None) -> None:
        """
        Raises:
            AuthenticationError: A token is needed, and none or an unknown one came.
            NotPermittedError: The method needs the administration token.
        """
        if self._query is None and self._admin is None:
            return
        sent = _bearer(metadata)
        # Both are always compared, so that the time tells nothing.
        is_admin = hmac.compare_digest(sent, self._admin or b"") and self._admin is not None
        is_query = hmac.compare_digest(sent, self._query or b"") and self._query is not None
        if is_admin:
            return
        if self._query is not None and not is_query:
            raise AuthenticationError("a bearer token is needed: none, or an unknown one, was sent")
        if method in ADMIN_METHODS and self._admin is not None:
            raise NotPermittedError(f"{method} needs the administration token")


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """TLS, or mutual TLS, as configured; None for plaintext.

    Raises:
        ConfigError: A file cannot be read.
    """
    if config.certificate_file is None or config.key_file is None:
        return None
    authority = read_secret(config.client_ca_file) if config.client_ca_file is not None else None
    return grpc.ssl_server_credentials(
        [(read_secret(config.key_file), read_secret(config.certificate_file))],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )


def _bearer(metadata: Iterable[tuple[str, Any]] | None) -> bytes:
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(SCHEME):
            return value[len(SCHEME) :].encode()
    return b""
