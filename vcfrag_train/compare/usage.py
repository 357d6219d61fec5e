"""Runs a program and measures it: wall time and peak memory of the child, not of this process."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from vcfrag_core.errors import ProgramError

_TAIL_LINES = 12

# Linux carries the high-water mark of the forking process into the child's ru_maxrss across exec. A bare
# interpreter in between keeps this process's own (possibly large) memory out of the figure.
_LAUNCHER = """
import json, os, signal, sys, time
result, log, command = sys.argv[1], sys.argv[2], sys.argv[3:]
begin = time.monotonic()
pid = os.fork()
if pid == 0:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\\n".encode())
        os._exit(127)
# The terminal tells the program itself; who asked for the run tells it by way of this one.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
_, status, usage = os.wait4(pid, 0)
with open(result, "w") as file:
    json.dump({
        "code": os.waitstatus_to_exitcode(status),
        "wall_seconds": time.monotonic() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }, file)
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one program run cost.

    Attributes:
        command: The command line, quoted for a shell.
        wall_seconds: From start to end.
        cpu_seconds: User and system time of the program and of the children that it waited for.
        peak_bytes: Largest resident set of any single process among them (wait4's ru_maxrss).
    """

    command: str
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int

    def then(self, other: Usage) -> Usage:
        """Both, one after the other."""
        return Usage(
            command=f"{self.command} && {other.command}",
            wall_seconds=self.wall_seconds + other.wall_seconds,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


def run_measured(command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Runs `command` to its end, or to that of the wait for it; what it prints is appended to `log`.

    Args:
        command: Program and arguments.
        log: File for standard output and error.
        environment: Variables set beside those of this process.

    Raises:
        ProgramError: The program cannot be started or ends with another code than 0.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "usage.json"
        _run_to_its_end(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(result), str(log), *words],
            {**os.environ, **(environment or {})},
        )
        figures = json.loads(result.read_text())
    if figures["code"] != 0:
        raise ProgramError(f"{shlex.join(words)} ended with code {figures['code']}: {tail(log)}")
    return Usage(
        command=shlex.join(words),
        wall_seconds=figures["wall_seconds"],
        cpu_seconds=figures["cpu_seconds"],
        peak_bytes=figures["peak_bytes"],
    )


def _run_to_its_end(words: Sequence[str], environment: Mapping[str, str]) -> None:
    with subprocess.Popen(words, env=environment) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise subprocess.CalledProcessError(code, words)


def tail(log: Path) -> str:
    """The last lines of a log, for a message."""
    if not log.exists():
        return "(no output)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]) or "(no output)"
