"""Kernels where nothing that was installed can be written, as in containers."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vcfrag_core import kernel_cache
from vcfrag_core.kernel_files import Kept
from vcfrag_train.kernels.compile import compile_kernels
from vcfrag_train.kernels.notice import STEP
from vcfrag_train.reporter import COMPILING

CODE = """
import os, pathlib, sys
if len(sys.argv) > 1:
    os.access = lambda path, mode: str(path).startswith(sys.argv[1])
from vcfrag_core import kernel_cache
from vcfrag_core.search import scan
folder = os.environ.get("NUMBA_CACHE_DIR")
print(kernel_cache.note())
print(folder)
print(scan.scan._cache.cache_path if folder else None)
"""
PUBLISH = """
import pathlib, sys
from vcfrag_core import kernel_cache
kernel_cache.publish(pathlib.Path(sys.argv[1]))
"""
LOOK = """
import json, os, pathlib
from vcfrag_core import kernel_cache
kernel_cache.provide()
import vcfrag_core.search.select
folder = pathlib.Path(os.environ.get("NUMBA_CACHE_DIR", "/nowhere"))
shown = {}
try:
    shown = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("*/*")}
except FileNotFoundError:
    # What it leads to was cleared away, by two publications at once: numba compiles anew then, as where nothing is.
    shown = {}
print(json.dumps([str(kernel_cache.published()), kernel_cache.note(), shown]))
"""


def run(*arguments: str, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != kernel_cache.NAME} | variables
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kernels__load_where_neither_package_nor_home_can_be_written(read_only_package: Path) -> None:
    writable = str(read_only_package / "vcfrag-kernels-")
    note, folder, kept = finish(start(CODE, read_only_package, writable)).splitlines()
    assert "kernels are compiled anew in every run" in note
    assert Path(folder).parent == read_only_package
    assert Path(kept).is_relative_to(folder)
    assert not Path(folder).exists(), "the folder goes with the process"


def test_kernels__are_provided_for_who_imports_numba() -> None:
    code = (
        "import os, vcfrag_core; before = os.environ.get('NUMBA_CACHE_DIR'); import numba;"
        "print(before, os.environ['NUMBA_CACHE_DIR'] == numba.config.CACHE_DIR != '')"
    )
    environment = {name: value for name, value in os.environ.items() if name != kernel_cache.NAME}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "None True\n"


def test_kernels__are_kept_where_the_environment_says(tmp_path: Path) -> None:
    assert run(NUMBA_CACHE_DIR=str(tmp_path))[:2] == ["None", str(tmp_path)]


@pytest.mark.parametrize("changed", kernel_cache.KERNEL_MODULES)
def test_kernels__of_changed_sources_are_kept_apart(changed: str, repository: Path, tmp_path: Path) -> None:
    """Numba itself would go on with a kernel whose own file is as it was, and that calls one of the changed file."""
    package = tmp_path / "vcfrag_core"
    package.mkdir()
    for name in ("kernel_cache.py", "locks.py", *kernel_cache.KERNEL_MODULES):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / "vcfrag_core" / name, package / name)
    (package / "__init__.py").touch()
    code = (
        "import os; from vcfrag_core import kernel_cache; kernel_cache.provide(); print(os.environ['NUMBA_CACHE_DIR'])"
    )
    first, again = (finish(start(code, tmp_path)).strip() for _ in range(2))
    with (package / changed).open("a") as file:
        file.write("\n")
    after = finish(start(code, tmp_path)).strip()
    assert first == again != after
    assert Path(first).parent == Path(after).parent == package / "__pycache__"


def test_kernels__of_older_sources_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "_PACKAGE", tmp_path)
    monkeypatch.setattr(kernel_cache, "KERNEL_MODULES", ("kernels.py",))
    monkeypatch.setattr(kernel_cache, "published", lambda: None)
    kept = []
    for version in range(8):
        (tmp_path / "kernels.py").write_text(f"version = {version}")
        monkeypatch.setenv(kernel_cache.NAME, "")
        monkeypatch.delenv(kernel_cache.NAME)
        kernel_cache.provide()
        folder = Path(os.environ[kernel_cache.NAME])
        folder.mkdir(parents=True)
        os.utime(folder, (version, version))
        kept.append(folder)
        assert kernel_cache.chosen() is None
    assert sorted((tmp_path / "__pycache__").iterdir()) == sorted(kept[-5:])


def test_user_cache__someone_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernel_cache.user_cache() == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert kernel_cache.user_cache() == Path("/somewhere/.cache")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OSError, match="directory"):
        (kernel_cache.user_cache() / "numba").mkdir(parents=True)


@pytest.fixture
def read_only_package(repository: Path, tmp_path: Path) -> Path:
    """A copy of the library in a folder of its own, in whose __pycache__ nothing can be made, whoever asks."""
    package = tmp_path / "library"
    shutil.copytree(
        repository / "vcfrag_core", package / "vcfrag_core", ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
    )
    (package / "vcfrag_core" / "__pycache__").mkdir()
    (package / "vcfrag_core" / "__pycache__" / "kernels").touch()
    return package


def start(code: str, package: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != kernel_cache.NAME}
    environment |= {"PYTHONPATH": str(package), "XDG_CACHE_HOME": str(package / "cache"), "TMPDIR": str(package)}
    return subprocess.Popen(
        [sys.executable, "-B", "-c", code, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=package,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def write_kernels(folder: Path, text: str) -> Path:
    (folder / "search_1").mkdir(parents=True)
    for number in range(40):
        (folder / "search_1" / f"select.{number}.nbc").write_text(text)
    return folder


def test_prepared_kernels__each_of_many_processes_sees_all_of_one_publication(
    read_only_package: Path, tmp_path: Path
) -> None:
    folders = [write_kernels(tmp_path / name, name) for name in ("a", "b", "c", "d")]
    finish(start(PUBLISH, read_only_package, str(folders[0])))
    processes = [start(PUBLISH, read_only_package, str(folder)) for folder in folders]
    looking = [start(LOOK, read_only_package) for _ in range(6)]
    for process in processes:
        finish(process)
    for process in looking:
        found, note, shown = json.loads(finish(process))
        assert Path(found).is_relative_to(read_only_package / "cache")
        assert note is None
        # A publication that was cleared away meanwhile is compiled anew; none is seen beside another.
        assert len(shown) in (0, 40)
        assert len(set(shown.values())) <= 1
    found, _, shown = json.loads(finish(start(LOOK, read_only_package)))
    assert len(shown) == 40
    places = list((read_only_package / "cache" / "vcfrag" / "kernels").iterdir())
    assert len(places) == 2, "what was published before the last one is gone, and nothing is left half made"
    assert not list(read_only_package.glob("vcfrag-kernels-*")), "the folders of links go with their processes"


def test_prepared_kernels__processes_of_a_process_see_all_of_them(read_only_package: Path, tmp_path: Path) -> None:
    """Also those of modules that it imports itself later, or never."""
    kernels = write_kernels(tmp_path / "kernels", "a")
    (kernels / "phasing_2").mkdir()
    (kernels / "phasing_2" / "chains.1.nbc").write_text("a")
    finish(start(PUBLISH, read_only_package, str(kernels)))
    first = (
        "import subprocess, sys\nfrom vcfrag_core import kernel_cache\nkernel_cache.provide()\n"
        "print(subprocess.run([sys.executable, '-c', sys.argv[1]], capture_output=True, text=True).stdout)\n"
        "import vcfrag_core.search.select\n"
    )
    _, _, shown = json.loads(finish(start(first, read_only_package, LOOK)))
    assert len(shown) == 41


def test_prepared_kernels__who_is_killed_leaves_a_folder_that_the_next_one_removes(
    read_only_package: Path, tmp_path: Path
) -> None:
    """Not that of who lives, nor one that is just being made."""
    finish(start(PUBLISH, read_only_package, str(write_kernels(tmp_path / "kernels", "a"))))
    held = f"{LOOK}import sys\nsys.stdout.flush()\nsys.stdin.read()\n"
    killed, alive = (start(held, read_only_package) for _ in range(2))
    for process in (killed, alive):
        assert process.stdout is not None
        process.stdout.readline()
    killed.kill()
    killed.communicate()
    (read_only_package / "vcfrag-kernels-made").mkdir()
    folders = set(read_only_package.glob("vcfrag-kernels-*"))
    assert len(folders) == 3
    finish(start(LOOK, read_only_package))
    left = set(read_only_package.glob("vcfrag-kernels-*"))
    assert len(left) == 2
    assert read_only_package / "vcfrag-kernels-made" in left
    finish(alive)
    assert set(read_only_package.glob("vcfrag-kernels-*")) == {read_only_package / "vcfrag-kernels-made"}


def test_prepared_kernels__what_a_process_compiles_stays_out_of_them(tmp_path: Path) -> None:
    prepared = write_kernels(tmp_path / "prepared", "published")
    own = tmp_path / "own"
    own.mkdir()
    kernel_cache.link_all(prepared, own)
    (own / "new").write_text("compiled here")
    (own / "new").replace(own / "search_1" / "select.0.nbc")
    assert (prepared / "search_1" / "select.0.nbc").read_text() == "published"
    assert (own / "search_1" / "select.1.nbc").read_text() == "published"


def test_kernel_modules__are_those_that_compile_kernels(repository: Path) -> None:
    core = repository / "vcfrag_core"
    compiling = [
        str(path.relative_to(core))
        for path in sorted(core.rglob("*.py"))
        if re.search(r"^(import numba|from numba|from vcfrag_core\.kernel import)\b", path.read_text(), re.MULTILINE)
    ]
    assert compiling == list(kernel_cache.KERNEL_MODULES)


def test_kernel__is_loaded_without_what_compiling_needs_and_compiled_into_others_all_the_same(tmp_path: Path) -> None:
    code = (
        "import sys, numba, numpy as np\n"
        "from vcfrag_core.search.distinct import sort_by\n"
        "group, starts, order = np.array([1, 0, 1], np.int32), np.empty(3, np.int32), np.empty(3, np.int32)\n"
        "sort_by(group, starts, order)\n"
        "print(order.tolist(), 'compiled' if 'numba.np.arraymath' in sys.modules else 'loaded')\n"
        "@numba.njit\n"
        "def last(group, starts, order):\n"
        "    order[:] = 0\n"
        "    sort_by(group, starts, order)\n"
        "    return order.sum() * 10 + order[-1]\n"
        "print(last(group, starts, order))\n"
    )
    environment = {**os.environ, kernel_cache.NAME: str(tmp_path)}
    printed = [
        subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).splitlines() for _ in range(2)
    ]
    assert printed == [["[1, 0, 2] compiled", "32"], ["[1, 0, 2] loaded", "32"]]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["cut short", "a folder"])
def test_kernel__whose_files_are_damaged_is_compiled_again_with_a_warning(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    code = (
        "import logging, numpy as np\n"
        "logging.basicConfig(format='warned: %(message)s')\n"
        "from vcfrag_core.search.select import splitmix64\n"
        "print(splitmix64(np.uint64(1)) > 1, sum(splitmix64.stats.cache_hits.values()))\n"
    )

    def printed() -> tuple[str, str]:
        environment = {**os.environ, kernel_cache.NAME: str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr

    assert printed() == ("True 0\n", "")
    assert printed() == ("True 1\n", "")
    (file,) = tmp_path.glob(f"*/*splitmix64*{suffix}")
    if damage == "cut short":
        os.truncate(file, 12)
    else:
        file.unlink()
        file.mkdir()
    found, said = printed()
    assert found == "True 0\n"
    assert said.count("warned: ") == 1
    assert str(file.parent) in said
    if damage == "cut short":
        assert printed() == ("True 1\n", "")


def test_kernel__of_a_version_that_was_not_tried_is_kept_and_loaded_by_numba(tmp_path: Path) -> None:
    code = (
        "import sys, numba, numpy as np\n"
        "numba.version_info = numba.version_info._replace(short=(0, 999))\n"
        "from vcfrag_core.search.distinct import sort_by\n"
        "group, starts, order = np.array([1, 0, 1], np.int32), np.empty(3, np.int32), np.empty(3, np.int32)\n"
        "sort_by(group, starts, order)\n"
        "hits = sum(sort_by.stats.cache_hits.values())\n"
        "print(order.tolist(), hits, 'vcfrag_core.kernel_files' in sys.modules)\n"
    )
    environment = {**os.environ, kernel_cache.NAME: str(tmp_path)}
    printed = [subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) for _ in range(2)]
    assert printed == ["[1, 0, 2] 0 False\n", "[1, 0, 2] 1 False\n"]


def test_notice__is_given_once_where_a_kernel_is_compiled_and_never_where_it_is_kept(tmp_path: Path) -> None:
    code = (
        "import numba, numpy as np\n"
        "from vcfrag_core.search.select import splitmix64\n"
        "from vcfrag_train.kernels.notice import telling\n"
        "with telling(lambda line: print('said:', line)):\n"
        "    numba.njit(lambda x: x)(1)\n"
        "    print('another library is compiled')\n"
        "    splitmix64(np.uint64(1)), splitmix64(np.int32(1))\n"
        "splitmix64(np.int64(1))\n"
    )

    def printed() -> list[str]:
        environment = {**os.environ, kernel_cache.NAME: str(tmp_path)}
        return subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).splitlines()

    assert printed() == ["another library is compiled", f"said: {COMPILING}"]
    assert printed() == ["another library is compiled"]


def test_compile__says_once_that_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{STEP}some", COMPILING, f"{STEP}others", COMPILING, "anything else"]
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + " >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv(kernel_cache.NAME, str(tmp_path / "kernels"))
    said: list[str] = []
    compile_kernels(said.append)
    assert said == lines[:3]


def kept_kernels() -> set[str]:
    """`module.function` of every kernel that is kept for itself, and not as part of those that call it."""
    found = set()
    for name in kernel_cache.KERNEL_MODULES:
        module = importlib.import_module(f"vcfrag_core.{name.removesuffix('.py').replace('/', '.')}")
        for one in vars(module).values():
            if isinstance(getattr(one, "_cache", None), Kept) and one.py_func.__module__ == module.__name__:
                found.add(f"{Path(name).stem}.{one.py_func.__qualname__}")
    return found


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_compile__leaves_nothing_to_compile(read_only_package: Path) -> None:
    code = (
        "from vcfrag_train.kernels.compile import compile_kernels\n"
        "found = compile_kernels(print)\n"
        "print(*{path.name.rpartition('-')[0] for path in found.folder.glob('*/*.nbc')})\n"
        "print(found.n_compiled, found.n_kernels)\n"
    )
    *said, names, numbers = finish(start(code, read_only_package)).splitlines()
    compiled, there = map(int, numbers.split())
    assert said.count(COMPILING) == 1
    assert all(line.startswith(STEP) for line in said if line != COMPILING)
    assert compiled == there > 50
    # Training and the engine for comparison compile their own.
    assert kept_kernels() - set(names.split()) == {
        "gradient.copy_gradient",
        "gradient.fill_direction",
        "scan.rank_fetched",
    }
    *said, _, numbers = finish(start(code, read_only_package)).splitlines()
    assert COMPILING not in said
    assert numbers.split() == ["0", str(there)]
