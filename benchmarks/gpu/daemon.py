"""The daemon with each engine: how it starts, and that it outlives a device that is killed or stuck."""

from __future__ import annotations

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
    """Each engine on a small panel."""
    import multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        file = panels.written(Path(folder), 1000, 2)
        for engine in ("bitscan-gpu",) if brief else ("bitscan-gpu", "faiss-gpu", "auto"):
            ours, theirs = multiprocessing.get_context("spawn").Pipe()
            try:
                note(engine, _outlives(file, engine, ours, theirs))
            except Exception as error:  # noqa: BLE001  a finding, too
                note(engine, f"{type(error).__name__}: {error}"[:800])


def serve(file: Path, engine: str, connection: Any) -> None:
    """A daemon whose worker's process number the other side is told."""
    from vcfrag_indexd.config.config import EngineConfig, ServeConfig
    from vcfrag_indexd.serving.server import running

    config = ServeConfig(
        listen="127.0.0.1:0", engine=EngineConfig(name=engine, threads=4, worker_hang_seconds=HANG_SECONDS)
    )
    with running(config, panels={"bench": panels.read(file)}) as daemon:
        connection.send((daemon.address, daemon.engine.name, daemon.engine.devices, os.getpid()))
        connection.recv()


def _outlives(file: Path, engine: str, ours: Any, theirs: Any) -> dict[str, Any]:
    import multiprocessing

    child = multiprocessing.get_context("spawn").Process(target=serve, args=(file, engine, theirs))
    begun = time.perf_counter()
    child.start()
    theirs.close()
    address, name, devices, pid = ours.recv()
    found: dict[str, Any] = {"engine": name, "devices": devices, "start_seconds": time.perf_counter() - begun}
    from vcfrag_train.client.client import IndexClient

    panel = panels.read(file)
    observed = panels.mask(panel)
    block = panels.block(panel, observed, 0)
    try:
        with IndexClient(address, timeout_seconds=60) as client:
            index = client.open_index(**opening(panel, observed))
            before = client.search(index, block, panels.K)
            for how, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
                workers = _children(pid)
                if not workers:
                    break
                os.kill(workers[0], number)
                begun = time.perf_counter()
                after = client.search(index, block, panels.K)
                found[f"{how}: seconds until the answer"] = time.perf_counter() - begun
                found[f"{how}: same answer"] = bool((after.ids == before.ids).all())
    finally:
        ours.send("done")
        child.join(15)
        child.kill()
    return found


def _children(pid: int) -> list[int]:
    """The daemon's workers: the child processes that Python's multiprocessing spawned, but for its resource tracker."""
    asked = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in asked.stdout.splitlines() if "spawn_main" in line]


if __name__ == "__main__":
    sys.exit("run by benchmarks.gpu")
