"""A training run whose daemon is killed again and again ends exactly like one that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vcfrag_core.errors import VcfragError
from vcfrag_train.client.client import IndexClient
from vcfrag_train.training.session import fit

PATIENCE_SECONDS = 240.0


class Mortal:
    """A daemon process that is killed with SIGKILL again and again in a training run, and started at the same port.

    Args:
        panel: The panel file.
        cache: Folder of the panel cache.
        run: Folder of the run.
        steps_per_life: Steps of the run from one kill to the next.
        lives: How often it is killed; the last life is left alone.
    """

    def __init__(self, panel: Path, cache: Path, *, run: Path, steps_per_life: int, lives: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._words = [
            sys.executable,
            "-m",
            "vcfrag_indexd.cli.app",
            "serve",
            "--listen",
            self.address,
            "--threads",
            "1",
        ]
        self._words += ["--panel", f"panel={panel}"]
        self._environment = {**os.environ, "VCFRAG_CACHE_DIR": str(cache), "VCFRAG_INDEXD_LOG__LEVEL": "error"}
        self._steps, self._steps_per_life, self._lives = run / "steps.csv", steps_per_life, lives
        self.kills = 0
        self._over = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._kill_again_and_again, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE_SECONDS)
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def wait_ready(self) -> None:
        with IndexClient(self.address, timeout_seconds=PATIENCE_SECONDS) as client:
            while not self._over.wait(0.05):
                with contextlib.suppress(VcfragError):
                    if client.info().panels.get("panel"):
                        return

    def _made(self) -> int:
        return self._steps.read_bytes().count(b"\n") - 1 if self._steps.exists() else 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._words, env=self._environment)

    def _kill_again_and_again(self) -> None:
        killed_at = 0
        while self.kills < self._lives:
            self.wait_ready()
            while self._made() < killed_at + self._steps_per_life:
                if self._over.wait(0.001):
                    return
            killed_at = self._made()
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_SECONDS)
            self.kills += 1
            self._process = self._start()


@contextlib.contextmanager
def mortal(files: Any, **how: Any) -> Iterator[Mortal]:
    daemon = Mortal(files.panel, files.folder / "daemon-cache", **how)
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.stop()


def test_fit__a_daemon_killed_during_the_run_changes_no_loss(
    trained: Path, fit_files: Any, fit_config: Callable[..., Any], steps_of: Callable[..., Any], tmp_path: Path
) -> None:
    for attempt in range(10):
        folder = tmp_path / f"run-{attempt}"
        with mortal(fit_files, run=folder, steps_per_life=3, lives=2) as daemon:
            config = fit_config(panel={"name": "panel"}, daemon={"addresses": (daemon.address,)})
            run = fit(config, folder)
            kills = daemon.kills
        assert steps_of(run) == steps_of(trained)
        # A short run may be over before whoever kills gets his turn.
        if kills:
            return
    pytest.fail("ten runs ended before their daemon was killed once")


@pytest.mark.soak
def test_fit__a_daemon_killed_in_a_loop_changes_no_loss(
    fit_files: Any, fit_config: Callable[..., Any], steps_of: Callable[..., Any], tmp_path: Path
) -> None:
    undisturbed = fit(fit_config(epochs=12), tmp_path / "undisturbed")
    with mortal(fit_files, run=tmp_path / "run", steps_per_life=12, lives=1000) as daemon:
        config = fit_config(epochs=12, panel={"name": "panel"}, daemon={"addresses": (daemon.address,)})
        run = fit(config, tmp_path / "run")
        assert daemon.kills >= 5
    assert steps_of(run) == steps_of(undisturbed)
