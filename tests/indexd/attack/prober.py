"""Probes a daemon again and again, each time on a new connection, as a kubelet does.

    python -m tests.indexd.attack.prober HOST:PORT SECONDS

Prints the seconds that each probe took, and how many were lost, as JSON. A process of its own: what is measured is the
daemon, not how busy the process of the test is.
"""

from __future__ import annotations

import json
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# What Kubernetes gives a probe unless told otherwise.
PROBE_SECONDS = 1.0
PAUSE_SECONDS = 0.1


def probed(address: str) -> bool:
    """Whether one probe was answered in time."""
    with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service="live")
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> None:
    address, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
    seconds, missed = [], 0
    while (before := time.monotonic()) < end:
        missed += not probed(address)
        seconds.append(time.monotonic() - before)
        time.sleep(PAUSE_SECONDS)
    json.dump({"seconds": seconds, "missed": missed}, sys.stdout)


if __name__ == "__main__":
    main()
