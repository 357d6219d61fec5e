"""Structured logs: through the standard library's `vcfrag_indexd` logger, so that an embedding program decides.

A daemon's own lines go to stderr from a thread of their own: a stderr that is full, closed or never read holds up that
thread and no call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from typing import Any

import structlog

from vcfrag_indexd.config.config import LogConfig

LOGGER_NAME = "vcfrag_indexd"
MOST_LINES_WAITING = 4096
FLUSH_SECONDS = 1.0
LONGEST_LINE_BYTES = 16 * 1024
STDERR = 2
# Nobody says this.
CAUGHT_UP = b"\x00vcfrag: caught up\x00"


def get_log() -> Any:
    """The daemon's logger; events are keyword arguments."""
    return structlog.wrap_logger(
        logging.getLogger(LOGGER_NAME),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )


def open_standard_streams() -> None:
    """Gives a process that was started without stdin, stdout or stderr those of a program without a terminal.

    Otherwise the next file that is opened, a panel or a connection, would be where others write their complaints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def configure(config: LogConfig) -> None:
    """Sends the daemon's events to stderr, as `console` or `json` lines.

    As `json`, everything else that this process says there, whoever says it, becomes such a line, too.
    """
    renderer: Any = structlog.processors.JSONRenderer()
    if config.format == "console":
        # A plain traceback: the pretty one prints local variables, and those are people's alleles.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    tail = [meta, structlog.processors.format_exc_info, renderer] if config.format == "json" else [meta, renderer]
    handler = _Stderr(is_json=config.format == "json")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=tail,
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso")],
        )
    )
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(config.level.upper())
    logger.propagate = False
    if config.format == "json":
        handler.others = _OtherLines()


def is_json() -> bool:
    """Whether this process's lines are JSON."""
    return any(isinstance(handler, _Stderr) and handler.is_json for handler in logging.getLogger(LOGGER_NAME).handlers)


def configure_once_as_json() -> None:
    """For a refusal that comes before the settings are known."""
    if not is_json():
        configure(LogConfig(format="json"))


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Waits until what was logged has been written, but not for ever."""
    for handler in logging.getLogger(LOGGER_NAME).handlers:
        if isinstance(handler, _Stderr):
            handler.drain(seconds)


class Throttle:
    """A warning that comes often is written a few times a second, and then says how many were left out.

    Args:
        most: Lines in `seconds`.
        seconds: The time that they are counted in.
    """

    def __init__(self, most: int = 5, seconds: float = 1.0) -> None:
        self._most = most
        self._seconds = seconds
        self._since = time.monotonic()
        self._said = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def warn(self, event: str, **values: Any) -> None:
        """Logs a warning, or counts it."""
        with self._lock:
            now = time.monotonic()
            if now - self._since >= self._seconds:
                self._since, self._said = now, 0
            if self._said >= self._most:
                self._left_out += 1
                return
            self._said += 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            values["left_out"] = left_out
        get_log().warning(event, **values)


class _Stderr(logging.Handler):
    """Writes lines to what stderr was when it was made; what does not fit into its queue is counted and left out."""

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self.is_json = is_json
        self.others: _OtherLines | None = None
        self._lines: queue.Queue[bytes] = queue.Queue(MOST_LINES_WAITING)
        self._left_out = 0
        self.descriptor = os.dup(STDERR)
        threading.Thread(target=self._write, name="vcfrag-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._left_out and self._put(_left_out(self._left_out)):
                self._left_out = 0
            self._left_out += not self._put(record)
        except Exception:  # noqa: BLE001  a line that cannot be written is no reason to end what it is about
            self._left_out += 1

    def _put(self, record: logging.LogRecord) -> bool:
        try:
            self._lines.put_nowait(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except queue.Full:
            return False
        return True

    def drain(self, seconds: float) -> None:
        """Waits until every line has been written, or some seconds."""
        limit = time.monotonic() + seconds
        if self.others is not None:
            self.others.drain(seconds)
        while self._lines.unfinished_tasks and time.monotonic() < limit:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            rest = memoryview(self._lines.get())
            with contextlib.suppress(OSError):
                while rest:
                    rest = rest[os.write(self.descriptor, rest) :]
            self._lines.task_done()


def _left_out(n: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": LOGGER_NAME, "levelno": logging.WARNING, "levelname": "WARNING", "msg": f"{n} lines were left out"}
    )


class _OtherLines:
    """Makes descriptor 2 a pipe whose lines are logged: of Python, of libraries, of child processes."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.dup2(writer, STDERR)
        os.close(writer)
        self._caught_up = threading.Event()
        threading.Thread(target=self._forward, name="vcfrag-stderr", daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Waits until all that was said so far has been logged, or some seconds."""
        self._caught_up.clear()
        with contextlib.suppress(OSError):
            os.write(STDERR, b"\n" + CAUGHT_UP + b"\n")
            self._caught_up.wait(seconds)

    def _forward(self) -> None:
        with open(self._reader, "rb", buffering=0) as stream:  # noqa: PTH123
            rest = b""
            while data := stream.read(LONGEST_LINE_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LONGEST_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._log(line)

    def _log(self, line: bytes) -> None:
        if line == CAUGHT_UP:
            self._caught_up.set()
        elif line.strip():
            get_log().warning("said on stderr", line=line.decode(errors="backslashreplace"))
