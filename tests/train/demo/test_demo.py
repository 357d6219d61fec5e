"""The demo: its configuration is the published one, it refuses a strange folder, and the whole road is travelled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from vcfrag_core.errors import ConfigError, ProgramError
from vcfrag_train.client.process import running_daemon
from vcfrag_train.demo.demo import TRAINED, DemoConfig, fit_config, run_demo
from vcfrag_train.reporter import SILENT, LineReporter
from vcfrag_train.simulate.files import SimulatedFiles
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
