"""What an operator should know before strangers find it out."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from vcfrag_indexd.config.config import SecurityConfig, ServeConfig
from vcfrag_proto.channel import is_loopback, read_token, split_address

OTHERS = stat.S_IRWXG & ~stat.S_IRGRP | stat.S_IRWXO


def warnings_of(config: ServeConfig) -> list[str]:
    """A sentence for everything that opens the daemon further than one may think."""
    security = config.security
    exposed = not is_loopback(split_address(config.listen)[0])
    plaintext = security.certificate_file is None
    has_token = security.token_file is not None or security.admin_token_file is not None
    found = []
    if exposed and security.token_file is None and security.client_ca_file is None:
        found.append(f"anybody who reaches {config.listen} may search: set security.token_file or client_ca_file")
    if exposed and plaintext:
        found.append(f"{config.listen} is plaintext, queries can be read on the way: set security.certificate_file")
    if has_token and plaintext and exposed:
        found.append("the token can be read on the way: set security.certificate_file and security.key_file")
    if security.admin_token_file is not None and security.token_file is None:
        found.append("queries need no token, only listing and closing does: set security.token_file")
    return [*found, *_of_files(security)]


def _of_files(security: SecurityConfig) -> Iterator[str]:
    query, admin = security.token_file, security.admin_token_file
    if query is not None and admin is not None and read_token(query) == read_token(admin):
        yield "the query token and the administration token are the same: whoever may search may close indexes"
    for setting in ("token_file", "admin_token_file", "key_file"):
        path: Path | None = getattr(security, setting)
        if path is not None and path.stat().st_mode & OTHERS:
            mode = stat.S_IMODE(path.stat().st_mode)
            yield f"security.{setting} {path} has mode {mode:04o}: others can read or change it, `chmod 0600 {path}`"
