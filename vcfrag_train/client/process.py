"""A daemon in a process of its own, for as long as a block runs."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, ProgramError, VcfragError
from vcfrag_train.client.client import IndexClient

# Nothing is ever written to its standard input, which closes when its starter ends, however that came about.
_RUN: Final = """
import os, signal, threading

def end_with_starter():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_starter, daemon=True).start()
from vcfrag_indexd.cli.app import main
main()
"""
_POLL_SECONDS: Final = 0.2
_TAIL_LINES: Final = 8


@contextlib.contextmanager
def running_daemon(
    panels: Mapping[str, Path], *, log: Path, threads: int = 0, wait_seconds: float = 120.0
) -> Iterator[str]:
    """Starts `vcfrag-indexd serve`, waits until its panels are loaded, and stops it at the end.

    It has a session of its own: a signal to this process's group, such as Ctrl-C, does not take it from its clients.

    Args:
        panels: Panel file by the name that clients use.
        log: File for what the daemon writes.
        threads: Its compute threads; 0: one per core.
        wait_seconds: How long loading may take.

    Yields:
        HOST:PORT, on the loopback interface.

    Raises:
        ConfigError: The daemon is not installed.
        ProgramError: It ended, or was not ready in time; quotes the end of its log.
    """
    if importlib.util.find_spec("vcfrag_indexd") is None:
        raise ConfigError("the daemon is not installed; run: pip install 'vcfrag-indexd[cpu]'")
    address = f"127.0.0.1:{_free_port()}"
    words = [sys.executable, "-c", _RUN, "serve", "--listen", address, "--threads", str(threads)]
    words += [word for name, path in panels.items() for word in ("--panel", f"{name}={path.resolve()}")]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            _wait(process, address, set(panels), log, wait_seconds)
            yield address
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], address: str, panels: set[str], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(VcfragError), IndexClient(address, timeout_seconds=2.0) as client:
            loaded = client.info().panels
            if all(loaded.get(name) for name in panels):
                return
        time.sleep(_POLL_SECONDS)
    what = "was not ready in time" if process.poll() is None else f"ended with status {process.returncode}"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
    raise ProgramError(f"vcfrag-indexd {what}; the end of {log}:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
