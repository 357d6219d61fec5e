"""All attacks at once, for ten minutes: probes are answered, answers stay right, memory stays within what is stated."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.indexd.attack.conftest import MIB, SERVING, queries
from vcfrag_core.errors import VcfragError
from vcfrag_train.client.client import IndexClient

SECONDS = float(os.environ.get("VCFRAG_ATTACK_SECONDS", "600"))
# What Kubernetes gives a probe unless told otherwise.
PROBE_SECONDS = 1.0
PAUSE_SECONDS = 0.1
# In a hundred probes: on the port of their own, and on that of the service.
MOST_MISSED = (1, 5)


class Prober:
    """Probes again and again, each time on a new connection, as a kubelet does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.seconds: list[float] = []
        self.missed = 0

    def run(self, end: float) -> None:
        while time.monotonic() < end:
            before = time.monotonic()
            try:
                with grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
                    request = health_pb2.HealthCheckRequest(service="live")
                    reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
                assert reply.status == SERVING
            except grpc.RpcError:
                self.missed += 1
            self.seconds.append(time.monotonic() - before)
            time.sleep(PAUSE_SECONDS)


@pytest.mark.soak
def test_attacks__for_ten_minutes(attack, attacked_index, repository: Path) -> None:
    attacked = attack()
    block = attacked_index.own(["S0004", "S0017"], 500, 2500)
    giant = attacked_index.block(queries(attacked_index, 8), None, 0, 2000)
    with IndexClient(attacked.address, timeout_seconds=60) as client:
        opened = client.open_index(**attacked_index.opening())
        expected = client.search(opened, block, 16).ids
        attackers = subprocess.Popen(
            [sys.executable, "-m", "tests.indexd.attack.attackers", attacked.address, attacked.health_address,
             str(SECONDS)],
            cwd=repository, stdin=subprocess.PIPE,
        )  # fmt: skip
        attackers.stdin.write(attacked_index.request(opened.handle, giant, k=64).SerializeToString())
        attackers.stdin.close()
        end = time.monotonic() + SECONDS
        probers = [Prober(attacked.health_address), Prober(attacked.address)]
        threads = [threading.Thread(target=prober.run, args=(end,)) for prober in probers]
        for thread in threads:
            thread.start()
        answered = refused = 0
        while time.monotonic() < end:
            try:
                np.testing.assert_array_equal(client.search(opened, block, 16).ids, expected)
                answered += 1
            except VcfragError:
                refused += 1
        for thread in threads:
            thread.join()
        attackers.wait(120)
    for prober, name in zip(probers, ("probe port", "service port"), strict=True):
        p50, p99 = np.percentile(prober.seconds, [50, 99])
        print(f"{name}: {len(prober.seconds)} probes, {prober.missed} missed, p50 {p50:.3f} s, p99 {p99:.3f} s")
    print(f"a client among them: {answered} answered, {refused} refused; most {attacked.memory.most / MIB:.0f} MiB")
    attacked.check_memory()
    assert answered > 0
    for prober, most in zip(probers, MOST_MISSED, strict=True):
        assert 100 * prober.missed <= most * len(prober.seconds)
    assert attacked.process.stop() == 0
