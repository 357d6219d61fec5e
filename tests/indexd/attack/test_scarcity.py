"""No descriptors, no memory: what fails is begun again, and the daemon that was alive is ready again."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket

import psutil
import pytest

from vcfrag_core.errors import InputError
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.serving.server import Daemon

FEW_DESCRIPTORS = 200
# None that is not open already, whatever numbers those have.
NO_DESCRIPTORS = 3
MEMORY_TOO_SMALL = 64 * 2**20


def test_descriptors__more_connections_than_there_are_leave_probes_answered(attack) -> None:
    few = attack(descriptors=FEW_DESCRIPTORS)
    assert psutil.Process(few.process.process.pid).rlimit(resource.RLIMIT_NOFILE) == (FEW_DESCRIPTORS,) * 2
    with contextlib.ExitStack() as stack:
        host, port = few.address.split(":")
        for _ in range(2 * FEW_DESCRIPTORS):
            stack.enter_context(socket.create_connection((host, int(port))))
        assert few.probe() == few.probe(service="live") == 1
        assert psutil.Process(few.process.process.pid).num_fds() < FEW_DESCRIPTORS
    few.check()


@pytest.mark.parametrize("scarce", ["descriptors", "memory"])
def test_worker__that_cannot_be_started_is_started_when_it_can(attack, attacked_index, scarce: str) -> None:
    attacked = attack("--worker")
    process = psutil.Process(attacked.process.process.pid)
    kind = resource.RLIMIT_NOFILE if scarce == "descriptors" else resource.RLIMIT_AS
    before = process.rlimit(kind)
    (worker,) = process.children()
    process.rlimit(kind, (NO_DESCRIPTORS if scarce == "descriptors" else MEMORY_TOO_SMALL, before[1]))
    os.kill(worker.pid, signal.SIGKILL)
    begun = 0
    for _ in range(3):
        attacked.process.wait_for(r'"event": "(a thread failed and begins again|.*died and is started again)"', begun)
        begun = len(attacked.process.lines)
    process.rlimit(kind, before)
    attacked.process.wait_for(r'"event": "serving"', after=begun)
    attacked.check()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError("no room")])
def test_loading__that_failed_for_lack_of_something_is_begun_again(
    panel_file, tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    from vcfrag_core.files.panel import cache

    load, failures = cache.load_panels, [error, error]

    def scarce(*arguments, **options):
        if failures:
            raise failures.pop()
        return load(*arguments, **options)

    monkeypatch.setattr(cache, "load_panels", scarce)
    daemon = Daemon(ServeConfig(listen="127.0.0.1:0", panels={"panel": panel_file}, cache_dir=tmp_path / "cache"))
    daemon.start()
    try:
        daemon.wait_ready(120)
        assert daemon.health.serving()
    finally:
        daemon.stop()
    assert caplog.text.count("a thread failed and begins again") == 2
    assert str(error.args[-1]) in caplog.text


def test_loading__that_can_never_succeed_ends_the_wait(panel_file, tmp_path) -> None:
    panel_file.write_text("no panel\n", encoding="ascii")
    daemon = Daemon(ServeConfig(listen="127.0.0.1:0", panels={"panel": panel_file}, cache_dir=tmp_path / "cache"))
    daemon.start()
    try:
        with pytest.raises(InputError):
            daemon.wait_ready(120)
    finally:
        daemon.stop()
