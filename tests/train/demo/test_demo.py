"""The demo: the published configuration, no strange folder, the whole road, and an end at once with all it started."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vcfrag_core.errors import ConfigError, ProgramError
from vcfrag_train.client.process import running_daemon
from vcfrag_train.demo.demo import TRAINED, DemoConfig, fit_config, run_demo
from vcfrag_train.reporter import SILENT, LineReporter
from vcfrag_train.simulate.files import SimulatedFiles, write_simulation
from vcfrag_train.simulate.simulate import SimulationConfig, simulate
from vcfrag_train.training.config import DaemonConfig, load_config

pytest.importorskip("msprime", reason="msprime comes with the extra `demo`")


def test_fit_config__is_the_published_one(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_DEMO", str(tmp_path))
    published = load_config(repository / "configs" / "demo.toml")
    ours = fit_config(DemoConfig(), SimulatedFiles.of(tmp_path / "data"), "127.0.0.1:1")
    assert dataclasses.replace(ours, daemon=DaemonConfig()) == published


def test_run_demo__refuses_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        run_demo(DemoConfig.quick(), tmp_path, reporter=SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_running_daemon__says_why_it_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "panel.vcf.gz").write_text("not a VCF")
    with (
        pytest.raises(ProgramError, match="NOT_VCF"),
        running_daemon({"p": tmp_path / "panel.vcf.gz"}, log=tmp_path / "log"),
    ):
        pytest.fail("it started")


@pytest.mark.timeout(900)
def test_run_demo__travels_the_whole_road(tmp_path: Path) -> None:
    said: list[str] = []
    result = run_demo(DemoConfig.quick(), tmp_path / "out", reporter=LineReporter(said.append))
    names = [method.name for method in result.evaluation.methods]
    assert {TRAINED, "vcfrag-copying", "whole-window 1-NN"} <= set(names)
    assert "<html" in result.report.read_text()
    assert json.loads(result.json.read_text())["contig"] == "1"
    copying = result.evaluation.method("vcfrag-copying").metrics["aggregate_r2"][-1].value
    nearest = result.evaluation.method("whole-window 1-NN").metrics["aggregate_r2"][-1].value
    assert copying > nearest
    assert said


def about(folder: Path) -> list[int]:
    """Processes with the folder in their command line, whatever session they are in."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(500)
def test_demo__a_signal_to_its_group_in_training_ends_all_of_it(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", "from vcfrag_train.cli.app import main; main()", "demo", "--quick", "--out"]
    said, complained = tmp_path / "said", tmp_path / "complained"
    with (
        said.open("wb") as out,
        complained.open("wb") as err,
        subprocess.Popen([*words, tmp_path / "out"], stdout=out, stderr=err, start_new_session=True) as process,
    ):
        try:
            wait_until(lambda: (tmp_path / "out" / "run").is_dir() or process.poll() is not None)
            assert len(about(tmp_path)) >= 2, complained.read_text()
            os.killpg(process.pid, number)
            assert process.wait(timeout=200) == status
        finally:
            process.kill()
    wait_until(lambda: not about(tmp_path))
    lines = [line for line in complained.read_text().splitlines() if not line.startswith("epoch ")]
    assert lines == ["interrupted: what the demo started is ended, and the same command starts anew"]
    assert said.read_text().splitlines()[-1].startswith("· training against the daemon")


def test_running_daemon__ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    small = SimulationConfig(reference_per_population=10, targets_per_population=2, length_bases=100_000)
    panel = write_simulation(simulate(small), tmp_path / "data").panel
    program = (
        "import pathlib, sys, time\nfrom vcfrag_train.client.process import running_daemon\n"
        "with running_daemon({'p': pathlib.Path(sys.argv[1])}, log=pathlib.Path(sys.argv[2])):\n"
        "    print('ready', flush=True)\n    time.sleep(600)\n"
    )
    words = [sys.executable, "-c", program, panel, tmp_path / "log"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(about(tmp_path)) == 2
        process.kill()
    wait_until(lambda: not about(tmp_path))


def test_run_measured__interrupted_ends_the_program_without_a_traceback(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys\nfrom vcfrag_train.compare.usage import run_measured\n"
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_measured(['sh', '-c', 'echo begun; exec sleep 600', sys.argv[1]], log=pathlib.Path(sys.argv[1]))\n"
    )
    log = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", program, log], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: log.exists() and log.read_text() == "begun\n")
        os.killpg(process.pid, signal.SIGINT)
        complained = process.communicate(timeout=200)[1]
    assert complained.count("Traceback") == 1, "only that of the program above"
    assert complained.rstrip().endswith("KeyboardInterrupt")
    wait_until(lambda: not about(tmp_path))
