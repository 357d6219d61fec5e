"""How a client reaches its daemons, as the environment says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_proto.channel import TlsConfig, read_token

PREFIX = "VCFRAG_DAEMON_"


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
        ConfigError: The file cannot be read, or is empty.
    """
    file = environment.get(f"{PREFIX}TOKEN_FILE")
    return read_token(Path(file)) if file else None


def seconds_of(environment: Mapping[str, str], name: str, otherwise: float) -> float:
    """The number in VCFRAG_DAEMON_`name`_SECONDS, or another if it is not set.

    Raises:
        ConfigError: It is no positive number.
    """
    variable = f"{PREFIX}{name}_SECONDS"
    text = environment.get(variable) or str(otherwise)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{variable} must be a number of seconds above 0, got {text!r}")
    return seconds
