"""What the kernel knows of this process's connections and descriptors."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

from vcfrag_core.errors import ConfigError

# For panels, caches, logs, metrics, workers, and what libraries open.
RESERVED_DESCRIPTORS = 96
LEAST_CONNECTIONS = 4


def raise_descriptor_limit() -> None:
    """Lets this process open as many descriptors as it ever may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_within(wanted: int, share: float = 1.0) -> int:
    """So many of the wanted connections as there will be descriptors for.

    Args:
        wanted: Connections.
        share: Of the descriptors that are left for connections.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(LEAST_CONNECTIONS, min(wanted, int(share * (soft - RESERVED_DESCRIPTORS))))


def unsent_bytes(port: int) -> int:
    """What peers of a local TCP port have not acknowledged; 0 where the system does not say."""
    total = 0
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), Path(f"/proc/self/net/{table}").open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                _, local, _, _, queues, *_ = line.split()
                if int(local.rpartition(":")[2], 16) == port:
                    total += int(queues.partition(":")[0], 16)
    return total


def check_free(host: str, port: int) -> None:
    """Asks the system itself whether one can listen somewhere: its answer is clearer than gRPC's.

    Raises:
        ConfigError: Nobody can listen there.
    """
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): is the port taken, is the host one of this machine?"
        ) from error
