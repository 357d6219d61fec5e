"""What the daemon can be told, with its defaults. `config_sources` reads it from a file, the environment and flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_proto.channel import split_address

MIB = 1024**2
GIB = 1024**3
ENGINES = ("auto", "bitscan", "bitscan-gpu", "faiss-cpu", "faiss-gpu", "reference")
GPU_ENGINES = ("bitscan-gpu", "faiss-gpu")
LOG_FORMATS = ("console", "json")
MAX_NEIGHBOURS = 65_536
MAX_THREADS = 1024
MAX_NAME_BYTES = 256
MAX_SECONDS = 24.0 * 3600
MAX_BYTES = 2**60
# Messages that may be under way into the daemon at once; each may be the largest that is allowed.
RECEIVED_AT_ONCE = 4
# A reply is held as arrays, as a message and as gRPC's copy of it while it is made.
COPIES_OF_A_REPLY = 3
# What every gRPC peer of this contract takes; less than 2 GiB by far, and a margin for the fields beside the arrays.
MAX_REPLY_BYTES = 63 * MIB
# Queries and replies of searches that are computed as one: some dozens of usual ones.
MAX_JOINED_BYTES = 16 * MIB


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one call, one connection and all together may ask for.

    Attributes:
        memory_budget_bytes: All that depends on what clients ask for: segment indexes and the working sets of
            searches, open indexes (at most a quarter), messages under way to here (an eighth), admitted calls and
            their replies until they have been taken (`max_queued_bytes`).
        device_budget_bytes: Of the memory of each CUDA device, for what an engine holds there, libraries' own memory
            included; nine tenths of what is free when the engine starts unless given.
        max_queued_work: Queries x segments x k admitted at once; more is refused as OVERLOADED.
        max_queued_bytes: Bytes of admitted requests and replies; an eighth of the memory budget unless given.
        max_queued_calls: Admitted calls.
        max_connections: Open connections; more are not accepted.
        max_calls_per_connection: Calls that a connection may have begun and not ended.
        max_open_indexes: Open identities; the least recently used goes.
        max_k: Most neighbours per segment.
        max_missing_share: Share of the observed sites at which a query may lack a call.
        transfer_seconds: How long a message may take to arrive; a reply may take so long and a second for every MiB.
    """

    memory_budget_bytes: int = 2 * GIB
    device_budget_bytes: int | None = None
    max_queued_work: int = 64_000_000
    max_queued_bytes: int | None = None
    max_queued_calls: int = 128
    max_connections: int = 256
    max_calls_per_connection: int = 100
    max_open_indexes: int = 64
    max_k: int = 1024
    max_missing_share: float = 0.05
    transfer_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, most in (
            ("memory_budget_bytes", MAX_BYTES),
            ("device_budget_bytes", MAX_BYTES),
            ("max_queued_work", MAX_BYTES),
            ("max_queued_bytes", self.memory_budget_bytes // 2),
            ("max_queued_calls", 2**16),
            ("max_connections", 2**20),
            ("max_calls_per_connection", 2**16),
            ("max_open_indexes", 2**20),
            ("max_k", MAX_NEIGHBOURS),
        ):
            value = getattr(self, name)
            if value is not None:
                check_between(f"limits.{name}", value, 1, most)
        check_between("limits.max_missing_share", self.max_missing_share, 0, 1)
        check_between("limits.transfer_seconds", self.transfer_seconds, 0.1, MAX_SECONDS)

    @property
    def queue_bytes(self) -> int:
        """For admitted requests and replies."""
        return self.max_queued_bytes or max(1, self.memory_budget_bytes // 8)

    @property
    def message_bytes(self) -> int:
        """The largest message that is taken."""
        return min(max(self.memory_budget_bytes // (8 * RECEIVED_AT_ONCE), MIB), 64 * MIB)

    @property
    def reply_bytes(self) -> int:
        """The largest reply, by its arrays."""
        return min(self.queue_bytes // COPIES_OF_A_REPLY, MAX_REPLY_BYTES)

    @property
    def joined_bytes(self) -> int:
        """Queries and replies of searches that are computed as one."""
        return min(self.queue_bytes // (2 * COPIES_OF_A_REPLY), MAX_JOINED_BYTES)

    @property
    def identity_bytes(self) -> int:
        """For open indexes, masks and metrics."""
        return max(1, self.memory_budget_bytes // 4)

    @property
    def max_names(self) -> int:
        """Samples and groups of one split that could ever be held."""
        return max(1024, self.identity_bytes // 256)

    @property
    def engine_bytes(self) -> int:
        """For segment indexes, searches and, of that, open indexes."""
        return max(1, self.memory_budget_bytes - self.queue_bytes - RECEIVED_AT_ONCE * self.message_bytes)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How searches are computed.

    Attributes:
        name: One of `auto`, `bitscan`, `bitscan-gpu`, `faiss-cpu`, `faiss-gpu`, `reference`.
        threads: Compute threads, of all workers together; 0 for one per core.
        devices: Numbers of the CUDA devices that a GPU's engine uses, each by a worker of its own; all unless given.
        worker: Run the engine in a supervised process of its own; None: only those of a GPU.
        worker_hang_seconds: A worker that shows no sign of life, or makes no progress with a request, for so long is
            killed and replaced.
    """

    name: str = "auto"
    threads: int = 0
    devices: tuple[int, ...] = ()
    worker: bool | None = None
    worker_hang_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(f"engine.name must be one of {', '.join(ENGINES)}, got {self.name!r}")
        check_between("engine.threads", self.threads, 0, MAX_THREADS)
        if len(set(self.devices)) != len(self.devices) or min(self.devices, default=0) < 0:
            raise ConfigError(f"engine.devices must be different numbers from 0, got {self.devices}")
        check_between("engine.worker_hang_seconds", self.worker_hang_seconds, 0.1, MAX_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainConfig:
    """How the daemon goes away.

    Attributes:
        settle_seconds: Between NOT_SERVING and refusing new calls, for balancers to notice.
        limit_seconds: How long calls in flight may take before they are cut off.
    """

    settle_seconds: float = 1.0
    limit_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_between("drain.settle_seconds", self.settle_seconds, 0, MAX_SECONDS)
        check_between("drain.limit_seconds", self.limit_seconds, 0, MAX_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """External may connect. Secrets are named by file, never given.

    Attributes:
        certificate_file: PEM chain of the server; with it TLS is on.
        key_file: Its private key.
        client_ca_file: PEM of the authority whose client certificates are required (mutual TLS).
        token_file: Holds the bearer token for queries.
        admin_token_file: Holds the bearer token that may also list and close indexes.
    """

    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    token_file: Path | None = None
    admin_token_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigError("security.certificate_file and security.key_file belong together")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ConfigError("security.client_ca_file asks for mutual TLS, which needs security.certificate_file")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, and how.

    Attributes:
        level: `debug`, `info`, `warning` or `error`.
        format: `console` or `json`.
    """

    level: str = "info"
    format: str = "console"

    def __post_init__(self) -> None:
        if self.level not in ("debug", "info", "warning", "error"):
            raise ConfigError(f"log.level must be debug, info, warning or error, got {self.level!r}")
        if self.format not in LOG_FORMATS:
            raise ConfigError(f"log.format must be console or json, got {self.format!r}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """A daemon.

    Attributes:
        panels: Panel files by the name that clients use, each a file or `FILE@REGION`. No other can be asked for.
        listen: HOST:PORT of the service; port 0 lets the kernel choose.
        health_listen: HOST:PORT of a plaintext port that answers health only; none unless given.
        metrics_listen: HOST:PORT of Prometheus metrics; none unless given.
        cache_dir: Where binary panel caches are kept; the user's cache folder unless given.
        otlp_endpoint: Where OpenTelemetry traces go; none unless given.
    """

    panels: dict[str, Path] = dataclasses.field(default_factory=dict)
    listen: str = "127.0.0.1:50510"
    health_listen: str | None = None
    metrics_listen: str | None = None
    cache_dir: Path | None = None
    otlp_endpoint: str | None = None
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    drain: DrainConfig = dataclasses.field(default_factory=DrainConfig)
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        for name in ("listen", "health_listen", "metrics_listen"):
            value = getattr(self, name)
            if value is not None:
                split_address(value, name)
        for name in self.panels:
            if not name.isprintable() or not 0 < len(name.encode()) <= MAX_NAME_BYTES:
                raise ConfigError(f"panels: {name!r} must be printable and at most {MAX_NAME_BYTES} bytes long")


def check_between(name: str, value: float, least: float, most: float) -> None:
    """
    Raises:
        ConfigError: Outside [least, most], or no number.
    """
    if not least <= value <= most:
        raise ConfigError(f"{name} must be in [{least:g}, {most:g}], got {value}")
