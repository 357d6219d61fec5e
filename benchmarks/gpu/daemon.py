"""The daemon with each engine: how it starts, and that it outlives a device that is killed or stuck."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu import panels
from benchmarks.gpu.through_daemon import opening

HANG_SECONDS = 5


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Each engine on a small panel; fails in the end where one of them did."""
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        file = panels.written(Path(folder), 1000, 2)
        for engine in ("bitscan-gpu",) if brief else ("bitscan-gpu", "faiss-gpu", "auto"):
            try:
                note(engine, outlives(file, engine))
            except Exception as error:  # noqa: BLE001  a finding, too
                note(engine, {"failed": f"{type(error).__name__}: {error}"[:800]})
                failed.append(engine)
    if failed:
        sys.exit(f"did not outlive its worker: {', '.join(failed)}")


def serve(file: Path, engine: str, hang_seconds: float, connection: Any) -> None:
    """A daemon whose worker's process number the other side is told."""
    from vcfrag_indexd.config.config import EngineConfig, ServeConfig
    from vcfrag_indexd.serving.server import running

    # `auto` may take an engine of the host, which has a worker only on request.
    chosen = EngineConfig(name=engine, threads=4, worker=True, worker_hang_seconds=hang_seconds)
    config = ServeConfig(listen="127.0.0.1:0", engine=chosen)
    with running(config, panels={"bench": panels.read(file)}) as daemon:
        connection.send((daemon.address, daemon.engine.name, daemon.engine.devices, os.getpid()))
        connection.recv()


def outlives(file: Path, engine: str, hang_seconds: float = HANG_SECONDS) -> dict[str, Any]:
    """How long a search takes, and what it answers, after the engine's worker was killed and after it was stopped.

    Raises:
        RuntimeError: The daemon has no worker.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=serve, args=(file, engine, hang_seconds, theirs))
    begun = time.perf_counter()
    child.start()
    theirs.close()
    try:
        address, name, devices, pid = ours.recv()
        found: dict[str, Any] = {"engine": name, "devices": devices, "start_seconds": time.perf_counter() - begun}
        return found | _disturbed(file, address, pid)
    finally:
        with contextlib.suppress(OSError):
            ours.send("done")
        child.join(15)
        child.kill()


def _disturbed(file: Path, address: str, pid: int) -> dict[str, Any]:
    from vcfrag_train.client.client import IndexClient

    panel = panels.read(file)
    observed = panels.mask(panel)
    block = panels.block(panel, observed, 0)
    found: dict[str, Any] = {}
    with IndexClient(address, timeout_seconds=60) as client:
        index = client.open_index(**opening(panel, observed))
        before = client.search(index, block, panels.K)
        for how, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
            workers = _workers(pid)
            if not workers:
                raise RuntimeError("the daemon has no worker to disturb")
            os.kill(workers[0], number)
            begun = time.perf_counter()
            after = client.search(index, block, panels.K)
            found[f"{how}: seconds until the answer"] = time.perf_counter() - begun
            found[f"{how}: same answer"] = bool((after.ids == before.ids).all())
            found[f"{how}: another worker"] = _workers(pid) != workers
    return found


def _workers(pid: int) -> list[int]:
    """Process numbers of the daemon's workers."""
    asked = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in asked.stdout.splitlines() if "vcfrag_indexd.engines.child" in line]


if __name__ == "__main__":
    sys.exit("run by benchmarks.gpu")
