"""The engine in a process of its own: right answers, and what happens when that process dies, hangs or aborts."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.compact_panels import compact
from vcfrag_core.errors import DeadlineError, UnavailableError, UnknownIndexError
from vcfrag_indexd.engines import worker as worker_module
from vcfrag_indexd.engines.create import create_engine
from vcfrag_indexd.engines.sharded import ShardedEngine
from vcfrag_indexd.engines.worker import WorkerEngine
from vcfrag_indexd.service.call import Call
from vcfrag_indexd.testing import serve
from vcfrag_indexd.testing.engines import ABORTING_K, SLOW_K, STUCK_K, misbehaving
from vcfrag_train.client.client import IndexClient

BUDGET = 64 * 1024 * 1024
# Long enough for a starved machine not to look like a hang, short enough to wait for.
HANG_SECONDS = 10.0
PATIENCE_SECONDS = 60.0


def go_on() -> None:
    """A checkpoint that never objects."""


@pytest.fixture
def worker(eventually) -> Iterator[WorkerEngine]:
    engine = WorkerEngine("misbehaving", misbehaving, budget_bytes=BUDGET, hang_seconds=HANG_SECONDS)
    eventually(engine.available, "the worker is up")
    yield engine
    engine.shutdown()


@pytest.fixture
def expected(index):
    engine = create_engine("reference", threads=1, budget_bytes=BUDGET)
    engine.open(index.source())
    yield engine.search("index", index.task(index.own(["S0007"]), 5), go_on).result.ids
    engine.shutdown()


def found(engine, index):
    """The ids; asked for again, as clients do, while a starved worker gives no sign of life."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return found_now(engine, index)
        except UnavailableError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


def found_now(engine, index):
    return engine.search("index", index.task(index.own(["S0007"]), 5), go_on).result.ids


def test_worker__answers_like_the_oracle_and_reports(worker: WorkerEngine, index, expected) -> None:
    worker.open(index.source())
    np.testing.assert_array_equal(found(worker, index), expected)
    assert worker.devices == ("fake:0",)
    assert worker.usage().builds > 0
    worker.close("index")
    with pytest.raises(UnknownIndexError):
        found(worker, index)


def test_worker__is_given_a_panel_in_compact_blocks_as_bits(worker: WorkerEngine, index, expected) -> None:
    worker.open(dataclasses.replace(index.source(), bits=compact(index.panel).bits))
    np.testing.assert_array_equal(found(worker, index), expected)


def test_worker__panels_that_come_and_go_are_never_confused(worker: WorkerEngine, described, make_panel) -> None:
    """Shared memory of a panel that went is used again for another; answers must be of the right one."""
    oracle = create_engine("reference", threads=1, budget_bytes=BUDGET)
    for seed in (1, 2, 3):
        made = described(make_panel(n_samples=20, n_sites=200, seed=seed))
        task = made.task(made.own(["S0007"]), 5)
        for engine in (worker, oracle):
            engine.open(made.source())
        answers = [engine.search("index", task, go_on).result.ids for engine in (worker, oracle)]
        np.testing.assert_array_equal(*answers)
        for engine in (worker, oracle):
            engine.close("index")
    oracle.shutdown()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_worker__recovers_from_a_signal_and_rebuilds_on_demand(
    eventually, worker: WorkerEngine, index, expected, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    worker.open(index.source())
    found(worker, index)
    old, start, may_start = worker.pid, worker_module.WorkerLife, threading.Event()

    def start_when_told(*arguments):
        assert may_start.wait(PATIENCE_SECONDS)
        return start(*arguments)

    monkeypatch.setattr(worker_module, "WorkerLife", start_when_told)
    os.kill(old, number)
    eventually(lambda: not worker.available(), "the worker is seen to be away")
    with pytest.raises(UnavailableError):
        found_now(worker, index)
    may_start.set()
    eventually(lambda: worker.available() and worker.pid != old, "another worker is up")
    np.testing.assert_array_equal(found(worker, index), expected)
    assert worker.restarts >= 1


def test_worker__a_call_in_flight_fails_typed_when_the_device_aborts(
    eventually, worker: WorkerEngine, index, expected
) -> None:
    worker.open(index.source())
    with pytest.raises(UnavailableError, match="died during the call"):
        worker.search("index", index.task(index.own(["S0007"]), ABORTING_K), go_on)
    eventually(worker.available, "another worker is up")
    np.testing.assert_array_equal(found(worker, index), expected)


def test_worker__a_call_that_makes_no_progress_is_killed_though_its_heart_beats(eventually, index, expected) -> None:
    engine = WorkerEngine("misbehaving", misbehaving, budget_bytes=BUDGET, hang_seconds=HANG_SECONDS / 2)
    try:
        eventually(engine.available, "the worker is up")
        engine.open(index.source())
        found(engine, index)
        old = engine.pid
        with pytest.raises(UnavailableError, match="died during the call"):
            engine.search("index", index.task(index.own(["S0007"]), STUCK_K), go_on)
        eventually(lambda: engine.available() and engine.pid != old, "another worker is up")
        np.testing.assert_array_equal(found(engine, index), expected)
        assert engine.restarts >= 1
    finally:
        engine.shutdown()


def test_worker__a_call_that_is_slow_and_goes_on_is_left_alone(worker: WorkerEngine, index, expected) -> None:
    """Longer than a hang, a step at a time."""
    worker.open(index.source())
    found(worker, index)
    call = Call(deadline=time.monotonic() + 1.5 * HANG_SECONDS)
    with pytest.raises(DeadlineError):
        worker.search("index", index.task(index.own(["S0007"]), SLOW_K), call.checkpoint)
    np.testing.assert_array_equal(found(worker, index), expected)
    assert worker.restarts == 0


def test_worker__one_that_cannot_be_started_is_tried_again(
    eventually, worker: WorkerEngine, index, expected, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker.open(index.source())
    start, failed = worker_module.WorkerLife, []

    def fail_twice(*arguments):
        if len(failed) < 2:
            failed.append(OSError(24, "Too many open files") if failed else MemoryError("no room"))
            raise failed[-1]
        return start(*arguments)

    monkeypatch.setattr(worker_module, "WorkerLife", fail_twice)
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: len(failed) == 2 and worker.available(), "another worker is up")
    np.testing.assert_array_equal(found(worker, index), expected)
    assert "Too many open files" in caplog.text
    assert "no room" in caplog.text


def test_worker__a_call_past_its_deadline_stops_costing(worker: WorkerEngine, index, expected) -> None:
    worker.open(index.source())
    call = Call(deadline=time.monotonic() + 0.3)
    with pytest.raises(DeadlineError):
        worker.search("index", index.task(index.own(["S0007"]), SLOW_K), call.checkpoint)
    np.testing.assert_array_equal(found(worker, index), expected)
    assert worker.restarts == 0


def test_daemon__tells_the_truth_while_its_worker_is_away_and_the_retrying_client_does_not_notice(
    worker: WorkerEngine, index, expected
) -> None:
    with serve({"panel": index.panel}, engine=worker) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**index.opening())
        block = index.own(["S0007"])
        client.search(opened, block, 5)
        with grpc.insecure_channel(daemon.address) as channel:
            seen = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
            os.kill(worker.pid, signal.SIGKILL)
            assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
            np.testing.assert_array_equal(client.search(opened, block, 5).ids, expected)
            assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
            seen.cancel()


def test_sharded__deals_segments_to_devices_and_answers_like_one(index) -> None:
    make = functools.partial(create_engine, "bitscan", threads=1, budget_bytes=BUDGET)
    one, three = make(), ShardedEngine([make(), make(), make()])
    task = index.task(index.own(index.panel.samples[:4]), 5)
    for engine in (one, three):
        engine.open(index.source())
    alone, together = (engine.search("index", task, go_on).result for engine in (one, three))
    np.testing.assert_array_equal(alone.starts, together.starts)
    np.testing.assert_array_equal(alone.ids, together.ids)
    assert three.devices == ("cpu",) * 3
    assert three.usage().budget_bytes == 3 * BUDGET
    one.shutdown()
    three.shutdown()


def test_worker__runs_no_script_without_a_guard_again(tmp_path: Path, panel_file: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun', flush=True)\n"
        "from pathlib import Path\n"
        "from vcfrag_indexd.config.config import EngineConfig, ServeConfig\n"
        "from vcfrag_indexd.serving.server import running\n"
        "engine = EngineConfig(name='bitscan', threads=1, worker=True)\n"
        f"config = ServeConfig(listen='127.0.0.1:0', engine=engine, panels={{'panel': Path({str(panel_file)!r})}})\n"
        "with running(config) as daemon:\n"
        "    print(daemon.engine.available(), flush=True)\n"
    )
    command = [sys.executable, str(script)]
    environment = {**os.environ, "VCFRAG_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    assert done.stdout.split() == ["begun", "True"]
