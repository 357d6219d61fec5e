"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vcfrag_core.errors import OutputError
from vcfrag_core.files.atomic import atomic_path, temporary_folder


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


# Writes a file, or makes a folder, says so, and waits.
_MAKER = """
import pathlib, sys
from vcfrag_core.files.atomic import atomic_path, temporary_folder
kind, path = sys.argv[1], pathlib.Path(sys.argv[2])
with (temporary_folder if kind == "folder" else atomic_path)(path) as made:
    (made / "some" if kind == "folder" else made).write_text("half")
    print("made", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_atomic_path__what_a_killed_one_left_is_removed_and_what_is_being_made_stays(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "out", tmp_path / "out.tbi"
    make = temporary_folder if kind == "folder" else atomic_path
    command = [sys.executable, "-c", _MAKER, kind]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([*command, path], **pipes) as killed,
        subprocess.Popen([*command, path], **pipes) as alive,
        subprocess.Popen([*command, other], **pipes) as another,
    ):
        for maker in (killed, alive, another):
            assert maker.stdout is not None
            assert maker.stdout.readline() == b"made\n"
        with make(path):
            assert len(unfinished(tmp_path)) == 4, "all are being made"
        for maker in (killed, another):
            maker.kill()
            maker.wait()
        left = unfinished(tmp_path)
        assert len(left) == 3
        with make(path):
            kept = unfinished(tmp_path) & left
        assert len(kept) == 2, "the one that is being made, and what another file was to be"
        alive.communicate()
    assert [name.partition("-out")[2] for name in unfinished(tmp_path)] == [".tbi"]
    assert path.exists() == (kind == "file")


def unfinished(folder: Path) -> set[str]:
    return {entry.name for entry in folder.glob(".partial-*")}
