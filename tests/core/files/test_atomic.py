"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vcfrag_core.errors import OutputError
from vcfrag_core.files.atomic import atomic_path


def test_atomic_path__a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.vcf.gz"
    path.write_text("before")
    with (
        pytest.raises(OSError, match="No space left") as raised,
        atomic_path(path),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x")
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path__leaves_a_pipe_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="pipe is no regular file"), atomic_path(pipe):
        pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)
