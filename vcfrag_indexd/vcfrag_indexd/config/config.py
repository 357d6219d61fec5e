"""What the daemon can be told, with its defaults. `config_sources` reads it from a file, the environment and flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vcfrag_core.errors import ConfigError
from vcfrag_proto.channel import split_address

GIB = 1024**3
ENGINES = ("auto", "bitscan", "bitscan-gpu", "faiss-cpu", "faiss-gpu", "reference")
GPU_ENGINES = ("bitscan-gpu", "faiss-gpu")
LOG_FORMATS = ("console", "json")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one call, and all calls together, may ask for.

    Attributes:
        memory_budget_bytes: Segment indexes and the working sets of searches.
        max_queued_work: Queries x segments x k admitted at once; more is refused as OVERLOADED.
        max_queued_bytes: Bytes of admitted requests and replies.
        max_queued_calls: Admitted calls.
        max_open_indexes: Open identities; the least recently used goes.
        max_k: Most neighbours per segment.
        max_missing_share: Share of the observed sites at which a query may lack a call.
    """

    memory_budget_bytes: int = 2 * GIB
    max_queued_work: int = 64_000_000
    max_queued_bytes: int = GIB
    max_queued_calls: int = 128
    max_open_indexes: int = 64
    max_k: int = 1024
    max_missing_share: float = 0.05

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[:-1]:
            if getattr(self, field.name) < 1:
                raise ConfigError(f"limits.{field.name} must be >= 1, got {getattr(self, field.name)}")
        if not 0 <= self.max_missing_share <= 1:
            raise ConfigError(f"limits.max_missing_share must be in [0, 1], got {self.max_missing_share}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How searches are computed.

    Attributes:
        name: One of `auto`, `bitscan`, `bitscan-gpu`, `faiss-cpu`, `faiss-gpu`, `reference`.
        threads: Compute threads; 0 for one per core.
        worker: Run the engine in a supervised process of its own; None: only those of a GPU.
        worker_hang_seconds: A worker that shows no sign of life for so long is killed and replaced.
    """

    name: str = "auto"
    threads: int = 0
    worker: bool | None = None
    worker_hang_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(f"engine.name must be one of {', '.join(ENGINES)}, got {self.name!r}")
        if self.threads < 0:
            raise ConfigError(f"engine.threads must be >= 0, got {self.threads}")
        if not self.worker_hang_seconds > 0:
            raise ConfigError(f"engine.worker_hang_seconds must be > 0, got {self.worker_hang_seconds}")


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
        if self.settle_seconds < 0 or self.limit_seconds < 0:
            raise ConfigError("drain.settle_seconds and drain.limit_seconds must not be negative")


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
    """Attributes:
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
        panels: Panel files by the name that clients use. No other file can be asked for.
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
