"""All attacks at once, for ten minutes: probes are answered, answers stay right, memory stays within what is stated."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.indexd.attack.conftest import MIB, queries
from vcfrag_core.errors import VcfragError
from vcfrag_train.client.client import IndexClient

SECONDS = float(os.environ.get("VCFRAG_ATTACK_SECONDS", "600"))
# In a hundred probes.
MOST_MISSED = 1


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
def test_attacks__for_ten_minutes(attack, attacked_index, repository: Path) -> None:
    attacked = attack()
    block = attacked_index.own(["S0004", "S0017"], 500, 2500)
    giant = attacked_index.block(queries(attacked_index, 8), None, 0, 2000)
    with IndexClient(attacked.address, timeout_seconds=60) as client, contextlib.ExitStack() as started:
        opened = client.open_index(**attacked_index.opening())
        expected = client.search(opened, block, 16).ids
        here = (sys.executable, "-m")
        attackers = subprocess.Popen(
            [*here, "tests.indexd.attack.attackers", attacked.address, attacked.health_address, str(SECONDS)],
            cwd=repository,
            stdin=subprocess.PIPE,
        )
        attackers.stdin.write(attacked_index.request(opened.handle, giant, k=64).SerializeToString())
        attackers.stdin.close()
        end = time.monotonic() + SECONDS
        probers = {
            name: subprocess.Popen(
                [*here, "tests.indexd.attack.prober", address, str(SECONDS)], cwd=repository, stdout=subprocess.PIPE
            )
            for name, address in (("probe port", attacked.health_address), ("service port", attacked.address))
        }
        for child in (attackers, *probers.values()):
            started.callback(child.kill)
        answered = refused = 0
        while time.monotonic() < end:
            try:
                np.testing.assert_array_equal(client.search(opened, block, 16).ids, expected)
                answered += 1
            except VcfragError:
                refused += 1
        probes = {name: json.loads(prober.communicate(timeout=120)[0]) for name, prober in probers.items()}
        attackers.wait(120)
    for name, of_port in probes.items():
        p50, p99 = np.percentile(of_port["seconds"], [50, 99])
        print(f"{name}: {len(of_port['seconds'])} probes, {of_port['missed']} lost, p50 {p50:.3f} s, p99 {p99:.3f} s")
    print(f"a client among them: {answered} answered, {refused} refused; most {attacked.memory.most / MIB:.0f} MiB")
    attacked.check_memory()
    assert answered > 0
    for of_port in probes.values():
        assert 100 * of_port["missed"] <= MOST_MISSED * len(of_port["seconds"])
    assert attacked.process.stop() == 0
