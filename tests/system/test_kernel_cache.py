"""Kernels where nothing that was installed can be written, as in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vcfrag_core import kernel_cache

CODE = """
import os, pathlib, sys
if len(sys.argv) > 1:
    os.access = lambda path, mode: str(path).startswith(sys.argv[1])
from vcfrag_core import kernel_cache
from vcfrag_core.search import select
folder = os.environ.get("NUMBA_CACHE_DIR")
print(kernel_cache.note())
print(folder)
print(select.keep._cache.cache_path if folder else None)
"""


def run(*arguments: str, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != kernel_cache.NAME} | variables
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kernels__load_where_neither_package_nor_home_can_be_written(tmp_path: Path) -> None:
    note, folder, kept = run(str(tmp_path), TMPDIR=str(tmp_path))
    assert "kernels are compiled anew in every run" in note
    assert Path(folder).parent == tmp_path
    assert Path(kept).is_relative_to(folder)
    assert not Path(folder).exists(), "the folder goes with the process"


def test_kernels__nothing_is_changed_where_they_can_be_kept(tmp_path: Path) -> None:
    assert run() == ["None", "None", "None"]
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[:2] == ["None", str(tmp_path)]


def test_user_cache__someone_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernel_cache.user_cache() == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert kernel_cache.user_cache() == Path("/somewhere/.cache")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OSError, match="directory"):
        (kernel_cache.user_cache() / "numba").mkdir(parents=True)
