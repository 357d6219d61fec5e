"""Damaged files of every kind get an answer or a typed refusal, and no answer but the right one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.files import fuzzing


def read_damaged(seed: int, count: int, folder: Path, repository: Path) -> None:
    """Reads `count` files in a process that may die."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.files.fuzzing", str(seed), str(count), str(folder)],
        cwd=repository,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    last = (folder / "last").read_text()
    assert done.returncode == 0, f"{last}: {done.stdout[-2000:]} {done.stderr[-2000:]}"


def test_damaged_files__are_read_or_refused(tmp_path: Path, repository: Path) -> None:
    read_damaged(1, 500, tmp_path, repository)


@pytest.mark.soak
def test_damaged_files__twenty_thousand_are_read_or_refused(tmp_path: Path, repository: Path) -> None:
    read_damaged(2, 20_000, tmp_path, repository)


def test_fuzzing__tells_of_an_answer_that_is_not_the_slow_readers(tmp_path: Path) -> None:
    (name, content, read), *_ = fuzzing.seeds(tmp_path)
    (tmp_path / name).write_bytes(content)
    answer = read(tmp_path / name)
    assert isinstance(answer, list)
    assert fuzzing.differences(answer, content) == []
    assert len(fuzzing.differences(answer, content.replace(b"\t0|1", b"\t1|0", 1))) == 1
    assert fuzzing.differences(answer, content.rpartition(b"20\t")[0]) == ["12 records, not 11"]
