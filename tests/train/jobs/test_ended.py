"""Jobs that are ended by signals: what they say, what they leave, and who takes it up."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.jobs.conftest import Genome

# A run whose workers stop before the end of a chunk once two are done.
_HELD = """
import time
from vcfrag_train.jobs.chunks import chunk

end = chunk.ChunkWriter.end

def held(self, *words):
    file = chunk.Path(self._archive.filename)
    while len([other for other in file.parent.glob("*.zip") if other.name[0] != "."]) >= 2:
        time.sleep(0.1)
    end(self, *words)

chunk.ChunkWriter.end = held
if __name__ == "__main__":
    from vcfrag_train.cli.app import main
    main()
"""
_HOW = {"jobs": ["--jobs", 2], "one": ["--jobs", 1], "cluster": ["--cluster", "local", "--jobs", 2]}


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGTERM, "jobs"),
        pytest.param(signal.SIGKILL, "jobs", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "jobs", marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, "one", marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, "cluster", marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, "cluster", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "cluster", marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(600)
def test_impute__ended_says_what_is_done_and_leaves_nobody_behind(
    genome: Genome,
    run: Callable[..., tuple[int, str]],
    number: signal.Signals,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["impute", "--panel", genome.panels[0], "--map", genome.maps[0], "--target", genome.target]
    words += ["--copying-only", "--out", genome.folder / "o.vcf.gz", "--samples-per-chunk", 4]
    program = genome.folder / "held.py"
    program.write_text(_HELD)
    chunks = genome.folder / "o.manifest.job" / "chunks"
    complained = genome.folder / "complained"
    with (
        complained.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, program, *map(str, [*words, *_HOW[how]])],
            start_new_session=True,
            stderr=errors,
            stdout=errors,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or (len(done(chunks)) >= 2 and left_behind(chunks)))
            # Ctrl-C goes to everybody.
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            assert process.wait(timeout=300) == (-number if number == signal.SIGKILL else 128 + number)
            wait_until(lambda: not of_session(process.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    n_done = len(done(chunks))
    said = complained.read_text()
    assert "resource_tracker" not in said
    if number == signal.SIGKILL:
        assert left_behind(chunks)
    else:
        assert f"interrupted: {n_done} of 6 chunks are done, in {chunks.parent}; the same command" in said
        assert "Traceback" not in said
        assert not left_behind(chunks)
    monkeypatch.setattr("sys.argv", ["vcfrag", *map(str, words)])
    code, said = run(*words, "--resume")
    assert (code, f"{n_done} of 6 chunks are there" in said) == (0, True), said
    assert not [file.name for file in genome.folder.iterdir() if re.match(r"\.partial-|.*\.job$", file.name)]


def done(chunks: Path) -> list[Path]:
    return [file for file in chunks.glob("*.zip") if file.name[0] != "."]


def left_behind(chunks: Path) -> list[Path]:
    return list(chunks.glob(".partial-*"))


def of_session(number: int) -> list[int]:
    """Processes of a session that are not yet waited for."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == number and state != "Z":
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 250
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
