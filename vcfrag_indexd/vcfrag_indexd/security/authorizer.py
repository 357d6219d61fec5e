"""Who may call: bearer tokens, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

from vcfrag_core.errors import AuthenticationError, NotPermittedError
from vcfrag_indexd.config.config import SecurityConfig
from vcfrag_indexd.logs import Throttle
from vcfrag_proto.channel import read_token

ADMIN_METHODS = frozenset({"ListIndexes", "CloseIndex"})
SCHEME = "Bearer "


class Authorizer:
    """Lets a call through, or not.

    Without tokens everybody may do everything. With an administration token, listing and closing other people's
    indexes needs it; with a query token, every call needs one of the two.

    Args:
        query_token: For queries; None for no check.
        admin_token: For administration too; None for no check beyond the query token's.
    """

    def __init__(self, query_token: str | None = None, admin_token: str | None = None) -> None:
        self._tokens: tuple[bytes | None, bytes | None] = (None, None)
        self._refused = Throttle()
        self.replace(query_token, admin_token)

    @classmethod
    def of(cls, config: SecurityConfig) -> Authorizer:
        """
        Raises:
            ConfigError: A token file cannot be read, or is empty.
        """
        return cls(*_read(config))

    def replace(self, query_token: str | None, admin_token: str | None) -> None:
        """Other tokens from now on."""
        self._tokens = (
            query_token.encode() if query_token is not None else None,
            admin_token.encode() if admin_token is not None else None,
        )

    def reload(self, config: SecurityConfig) -> None:
        """Reads the token files again; if one cannot be read, the tokens stay as they were.

        Raises:
            ConfigError: A token file cannot be read, or is empty.
        """
        self.replace(*_read(config))

    def check(self, method: str, metadata: Iterable[tuple[str, Any]] | None, peer: str = "") -> None:
        """Refusals are logged with the peer.

        Raises:
            AuthenticationError: A token is needed, and none or an unknown one came.
            NotPermittedError: The method needs the administration token.
        """
        query, admin = self._tokens
        if query is None and admin is None:
            return
        sent = _bearer(metadata)
        # Both are always compared, so that the time tells nothing.
        is_admin = hmac.compare_digest(sent, admin or b"") and admin is not None
        is_query = hmac.compare_digest(sent, query or b"") and query is not None
        if is_admin:
            return
        if query is not None and not is_query:
            self._refused.warn("login refused", peer=peer, method=method, token="unknown" if sent else "none")
            raise AuthenticationError(
                "a bearer token is needed: none, or an unknown one, was sent; clients send the one in the file that"
                " VCFRAG_DAEMON_TOKEN_FILE names"
            )
        if method in ADMIN_METHODS and admin is not None:
            self._refused.warn("administration refused", peer=peer, method=method)
            raise NotPermittedError(f"{method} needs the administration token")


def _read(config: SecurityConfig) -> tuple[str | None, str | None]:
    query, admin = (None if file is None else read_token(file) for file in (config.token_file, config.admin_token_file))
    return query, admin


def _bearer(metadata: Iterable[tuple[str, Any]] | None) -> bytes:
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(SCHEME):
            return value[len(SCHEME) :].encode()
    return b""
