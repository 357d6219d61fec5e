"""What `vcfrag-indexd bench` finds and keeps, and what `--engine auto` makes of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vcfrag_core.errors import ConfigError, OutOfBudgetError
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.cli.app import app
from vcfrag_indexd.engines import bench, create, measured
from vcfrag_indexd.engines.create import engine_for_daemon
from vcfrag_indexd.engines.measured import Measurement

BUDGET = 64 * 1024 * 1024


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path))
    return tmp_path


def kept(**seconds: float) -> Measurement:
    """A measurement of this machine."""
    names = {name.replace("_", "-"): value for name, value in seconds.items()}
    return Measurement(machine=measured.this_machine(), panel={}, seconds=names)


def auto() -> str:
    """The engine that `auto` is."""
    engine = engine_for_daemon("auto", threads=1, budget_bytes=BUDGET, worker=None, hang_seconds=1)
    engine.shutdown()
    return engine.name


def test_bench__measures_the_engines_of_this_machine_and_keeps_them(cache: Path, panel_file: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--panel", f"p={panel_file}", "--threads", "1", "--seconds", "1"])
    assert done.exit_code == 0, done.output
    found = json.loads((cache / "engines.json").read_text())
    assert {"bitscan", "faiss-cpu"} <= set(found["seconds"])
    assert found["failed"] == {}
    assert found["panel"]["haplotypes"] == 40
    assert f"--engine auto takes {min(found['seconds'], key=found['seconds'].get)}" in done.output


def test_bench__without_a_panel_says_which_flag_to_give() -> None:
    with pytest.raises(ConfigError, match="--panel NAME=FILE"):
        CliRunner().invoke(app, ["bench"], catch_exceptions=False)


def test_measure__an_engine_that_fails_is_told_and_not_taken(
    monkeypatch: pytest.MonkeyPatch, make_panel: Callable[..., Panel]
) -> None:
    make = bench.engine_for_daemon

    def refusing(name: str, **settings: object) -> object:
        if name == "faiss-cpu":
            raise OutOfBudgetError("there is no room")
        return make(name, **settings)

    monkeypatch.setattr(bench, "engine_for_daemon", refusing)
    said: list[str] = []
    panel = make_panel(n_samples=10, n_sites=60, seed=1)
    found = bench.measure(panel, threads=1, budget_bytes=BUDGET, seconds=0.1, say=said.append)
    assert found.failed == {"faiss-cpu": "there is no room"}
    assert list(found.seconds) == [found.fastest] == ["bitscan"]
    assert any("there is no room" in line for line in said)


def test_auto__is_bitscan_where_nothing_was_measured() -> None:
    assert auto() == "bitscan"


def test_auto__is_the_fastest_that_was_measured_here() -> None:
    kept(bitscan=2.0, faiss_cpu=1.0).store()
    assert auto() == "faiss-cpu"
    kept(bitscan=1.0, faiss_cpu=2.0).store()
    assert auto() == "bitscan"


def test_auto__is_the_fastest_that_is_still_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(bitscan=3.0, faiss_cpu=2.0, faiss_gpu=1.0).store()
    assert auto() == "faiss-cpu"
    monkeypatch.setattr(create, "installed_faiss", lambda: None)
    assert auto() == "bitscan"
    kept(faiss_gpu=1.0).store()
    assert auto() == "bitscan"


@pytest.mark.parametrize("change", [{"cores": 10_000}, {"devices": ["another"]}, {"processor": "another"}])
def test_auto__does_not_go_by_another_machine(change: dict[str, object]) -> None:
    there = kept(bitscan=2.0, faiss_cpu=1.0)
    dataclasses.replace(there, machine=there.machine | change).store()
    assert auto() == "bitscan"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"machine": 1}'])
def test_auto__does_not_go_by_a_spoiled_file(cache: Path, text: str) -> None:
    (cache / "engines.json").write_text(text)
    assert auto() == "bitscan"
