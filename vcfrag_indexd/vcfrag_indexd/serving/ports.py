"""The ports that speak gRPC: the service's and the probes', each a transport of its own."""

from __future__ import annotations

import grpc

from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.serving.health import HEALTH_METHODS, HEALTH_SERVICE, MAX_REQUEST_BYTES, Health
from vcfrag_indexd.serving.reflection import REFLECTION_SERVICE, Reflection
from vcfrag_indexd.serving.rpc import SERVICE_NAME, IndexRpc
from vcfrag_indexd.transport.inbox import Inbox
from vcfrag_indexd.transport.sockets import check_free, connections_within
from vcfrag_indexd.transport.transport import Option, ServerCall, Transport
from vcfrag_proto.channel import split_address
from vcfrag_proto.status import MAX_MESSAGE_BYTES

IDENTITY_ONLY = 1
WINDOW_BYTES = 65_535
# A request for health is a few bytes in the packet that begins its call.
SMALL_AT_ONCE, SMALL_GRACE_SECONDS, SMALL_LIMIT_SECONDS = 4, 0.05, 5.0
# Parking a call is cheaper than refusing it.
SMALL_WAITING = 2048
PROBE_CONNECTIONS, PROBE_CALLS_PER_CONNECTION = 256, 16
PROBE_SHARE = 0.25
OPTIONS: tuple[Option, ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # A message is not unpacked before anybody knows how large it is.
    ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
    # What a connection may send of a message that nobody has asked for.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
)


class ServicePort:
    """The port of the service; answers health and reflection, too."""

    def __init__(self, config: ServeConfig, rpc: IndexRpc, health: Health, reflection: Reflection) -> None:
        self._rpc, self._health, self._reflection = rpc, health, reflection
        self._small = small_inbox()
        limits = config.limits
        self.transport = Transport(
            "rpc",
            (
                *OPTIONS,
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", limits.max_calls_per_connection),
                ("grpc.max_allowed_incoming_connections", connections_within(limits.max_connections, 1 - PROBE_SHARE)),
                ("grpc.max_connection_idle_ms", 600_000),
            ),
            self._take,
            apart=HEALTH_METHODS,
        )

    def tick(self) -> None:
        self._small.tick()

    def _take(self, call: ServerCall) -> None:
        service, _, method = call.method.removeprefix("/").rpartition("/")
        if service == SERVICE_NAME:
            self._rpc.take(call, method)
        elif service == HEALTH_SERVICE:
            self._health.take(call, method, self._small)
        elif service == REFLECTION_SERVICE:
            self._reflection.take(call, method, self._small)
        else:
            call.finish(grpc.StatusCode.UNIMPLEMENTED, f"there is no service {service!r} here")


class ProbePort:
    """A plaintext port that answers health only, whatever the service is busy with."""

    def __init__(self, health: Health) -> None:
        self._health = health
        # Its messages are small by the transport's own limit, so all may come at once.
        self._small = small_inbox(at_once=PROBE_CONNECTIONS * PROBE_CALLS_PER_CONNECTION)
        self.transport = Transport(
            "health",
            (
                *OPTIONS,
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_concurrent_streams", PROBE_CALLS_PER_CONNECTION),
                ("grpc.max_allowed_incoming_connections", connections_within(PROBE_CONNECTIONS, PROBE_SHARE)),
                ("grpc.max_connection_idle_ms", 30_000),
            ),
            self._take,
        )

    def tick(self) -> None:
        self._small.tick()

    def _take(self, call: ServerCall) -> None:
        service, _, method = call.method.removeprefix("/").rpartition("/")
        if service == HEALTH_SERVICE:
            self._health.take(call, method, self._small)
        else:
            call.finish(grpc.StatusCode.UNIMPLEMENTED, f"this port answers {HEALTH_SERVICE} only")


def small_inbox(at_once: int = SMALL_AT_ONCE) -> Inbox:
    """For calls whose message is a few bytes."""
    return Inbox(
        at_once=at_once,
        max_waiting=SMALL_WAITING,
        grace_seconds=SMALL_GRACE_SECONDS,
        limit_seconds=SMALL_LIMIT_SECONDS,
    )


def bind(transport: Transport, address: str, credentials: grpc.ServerCredentials | None = None) -> str:
    """Listens; HOST:PORT with the port that was got.

    Raises:
        ConfigError: Nobody can listen there.
    """
    host, wanted = split_address(address)
    check_free(host, wanted)
    return f"{host}:{transport.listen(address, credentials)}"
