"""The command line: quick help, honest exit codes, one line per refusal."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vcfrag_core.errors import GeneticMapError
from vcfrag_train.cli import app as cli

HEAVY = ("torch", "lightning", "matplotlib", "numba", "faiss", "msprime", "cyvcf2", "tensorboard")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def exit_code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code


@pytest.fixture
def fake_command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in the place of `vcfrag_train.cli.commands.inspect`, whose `command` a test replaces."""
    module = types.ModuleType("vcfrag_train.cli.commands.inspect")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_help__names_every_command_and_loads_nothing_heavy() -> None:
    done = run_python(
        "import sys\n"
        "from vcfrag_train.cli.app import main\n"
        "try:\n    main(['--help'])\n"
        f"finally:\n    print('HEAVY', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    for name in cli.COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command_help__answers_without_torch(name: str) -> None:
    done = run_python(
        "import sys\n"
        "from vcfrag_train.cli.app import main\n"
        f"try:\n    main([{name!r}, '--help'])\n"
        "finally:\n    print('HEAVY', [m for m in ('torch', 'lightning', 'matplotlib') if m in sys.modules])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert f"vcfrag {name}" in done.stdout


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("3", "3")])
def test_process__one_blas_thread_unless_told_otherwise(given: str | None, found: str) -> None:
    code = (
        "import os\nfrom vcfrag_train.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print(os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env=environment | ({} if given is None else {"OPENBLAS_NUM_THREADS": given}),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split()[-1] == found


def test_process__a_warning_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text("import warnings\nwarnings.warn('two and two', UserWarning)\n")
    code = (
        "import importlib, sys; sys.argv = ['vcfrag', '--version']; from vcfrag_train.cli import app\n"
        "run = app._run\n"
        "app._run = lambda *words: (importlib.import_module('noisy'), run(*words))\n"
        "app.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == "warning: two and two\n"


def test_version__is_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out.strip() == f"vcfrag {importlib.metadata.version('vcfrag')}"


def test_unknown_command__is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("imptue") == 2
    assert "imptue" in capsys.readouterr().err


def test_refusal__is_one_line_with_its_reason(
    fake_command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise GeneticMapError("positions must ascend", path="a.map", record="line 7")

    fake_command.command = command  # type: ignore[attr-defined]
    assert exit_code("inspect") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error [GENETIC_MAP]: a.map, record line 7: positions must ascend\n"


def test_missing_extra__is_one_line_with_the_pip_line(
    fake_command: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    def command() -> None:
        import torch  # noqa: F401

    fake_command.command = command  # type: ignore[attr-defined]
    assert exit_code("inspect") == 2
    assert capsys.readouterr().err == "error [CONFIG]: torch is not installed; run: pip install 'vcfrag[train]'\n"


def test_fault_of_ours__is_one_line_and_keeps_its_traceback_for_debug(
    fake_command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise ZeroDivisionError("of two\nlines")

    fake_command.command = command  # type: ignore[attr-defined]
    assert exit_code("inspect") == 70
    said = capsys.readouterr().err
    assert said.startswith("error [INTERNAL]: ZeroDivisionError: of two lines.")
    assert said.count("\n") == 1
    assert exit_code("inspect", "--debug") == 70
    assert "Traceback (most recent call last):" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out.bcf"),
            "error [SYSTEM]: out.bcf: No space left on device; make",
        ),
        (OSError(errno.EROFS, "Read-only file system", "x"), "error [SYSTEM]: x: Read-only file system; name outputs"),
        (PermissionError(errno.EACCES, "Permission denied", "p"), "error [SYSTEM]: p: Permission denied; look at who"),
        (type("MisconfigurationException", (Exception,), {})("no GPU"), "error [CONFIG]: trainer: no GPU"),
        (RuntimeError("Symlink loop from 'a.vcf'"), "error [SYSTEM]: a.vcf: a link that leads to itself"),
        (MemoryError("of 3 GiB"), "error [MEMORY]: there is not enough memory for this (of 3 GiB)"),
    ],
)
def test_system__what_it_refuses_is_one_line(
    fake_command: types.ModuleType, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    def command() -> None:
        raise error

    fake_command.command = command  # type: ignore[attr-defined]
    assert exit_code("inspect") == 2
    assert capsys.readouterr().err.startswith(line)


def test_interrupt__while_modules_are_imported_leaves_no_traceback() -> None:
    program = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from vcfrag_train.cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


def test_interrupt__exits_130(fake_command: types.ModuleType) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    fake_command.command = command  # type: ignore[attr-defined]
    assert exit_code("inspect") == 130
