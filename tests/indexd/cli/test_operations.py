"""What operators see: commands against a running daemon, metrics, the dashboard, what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vcfrag_core.errors import (
    ConfigError,
    PanelMismatchError,
    RangeError,
    UnavailableError,
    UnknownIndexError,
    UnknownPanelError,
    VcfragError,
)
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.cli.app import app, main
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.engines import installed
from vcfrag_indexd.engines.create import create_engine, engine_for_daemon
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient

PATIENCE_SECONDS = 90.0
runner = CliRunner()


@pytest.fixture
def daemon(panel: Panel) -> Iterator[Daemon]:
    with serve({"panel": panel}, ServeConfig(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0")) as running:
        yield running


def scrape(daemon: Daemon) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{daemon.metrics_address}/metrics", timeout=PATIENCE_SECONDS) as reply:
        lines = reply.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}


def test_metrics__count_what_happened(eventually, daemon: Daemon, index) -> None:
    with IndexClient(daemon.address) as client:
        opened = client.open_index(**index.opening())
        client.search(opened, index.own(["S0004", "S0005"]), 3)
        with pytest.raises(RangeError):
            client.search(opened, index.own(["S0004"]), 0)
    answered = 'vcfrag_rpc_handled_total{code="OK",method="Search"}'
    eventually(lambda: scrape(daemon).get(answered) == 1, "the daemon has heard that its reply was taken")
    found = scrape(daemon)
    assert found['vcfrag_rpc_started_total{method="Search"}'] == 2
    assert found['vcfrag_refusals_total{reason="RANGE"}'] == 1
    assert found["vcfrag_queries_total"] == 4
    assert found["vcfrag_search_seconds_count"] == 1
    assert found['vcfrag_index_bytes{device="cpu"}'] == daemon.engine.usage().used_bytes > 0
    assert found["vcfrag_serving"] == 1
    assert found["vcfrag_worker_restarts_total"] == 0


def test_dashboard__asks_only_for_metrics_that_exist(daemon: Daemon, repository: Path, index) -> None:
    with IndexClient(daemon.address) as client:
        client.search(client.open_index(**index.opening()), index.own(["S0004"]), 3)
        with pytest.raises(RangeError):
            client.search(client.open_index(**index.opening()), index.own(["S0004"]), 0)
    exist = {name.split("{")[0] for name in scrape(daemon)}
    dashboard = json.loads((repository / "docker/grafana/vcfrag-indexd.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"vcfrag_\w+", target["expr"])
    }
    assert asked
    assert asked <= exist


def test_health__exit_codes(daemon: Daemon) -> None:
    good = runner.invoke(app, ["health", "--address", daemon.address])
    assert (good.exit_code, good.stdout.strip()) == (0, "SERVING")
    assert runner.invoke(app, ["health", "--address", daemon.address, "--service", "panel/panel"]).exit_code == 0
    unknown = runner.invoke(app, ["health", "--address", daemon.address, "--service", "panel/other"])
    assert (unknown.exit_code, unknown.stdout.strip()) == (1, "SERVICE_UNKNOWN")
    daemon.health.leave()
    assert runner.invoke(app, ["health", "--address", daemon.address]).exit_code == 1


def test_main__a_refusal_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["vcfrag-indexd", "health", "--address", "127.0.0.1:1"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert re.fullmatch(r"error \[UNAVAILABLE\]: 127\.0\.0\.1:1: .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["ls", "--address", "127.0.0.1:1"], UnavailableError, r"127\.0\.0\.1:1: no vcfrag-indexd answered .*refused"),
        (["health", "--address", "127.0.0.1"], ConfigError, "must be HOST:PORT, got '127.0.0.1'"),
        (["ls", "--certificate", "mine.pem"], ConfigError, "a client certificate and its key belong together"),
        (["ls", "--certificate", "mine.pem", "--key", "mine.key"], ConfigError, "cannot read mine.key"),
        (["verify", "panel=", "--address", "127.0.0.1:1"], ConfigError, "give NAME=FILE, got 'panel='"),
    ],
    ids=["nobody there", "no port", "no key", "no such file", "no file"],
)
def test_commands__say_what_to_check(arguments: list[str], error: type[VcfragError], message: str) -> None:
    found = runner.invoke(app, arguments).exception
    assert isinstance(found, error)
    assert re.search(message, str(found))


def test_ls_and_close__of_a_running_daemon(daemon: Daemon, index) -> None:
    with IndexClient(daemon.address) as client:
        opened = client.open_index(**index.opening())
        client.search(opened, index.own(["S0004"]), 3)
    listed = runner.invoke(app, ["ls", "--address", daemon.address]).stdout.splitlines()
    assert len(listed) == 2
    assert listed[1].split()[:3] == [opened.handle, "panel", "train"]
    closed = runner.invoke(app, ["close", opened.handle, "--address", daemon.address])
    assert (closed.exit_code, closed.stdout) == (0, f"closed {opened.handle}\n")
    again = runner.invoke(app, ["close", opened.handle, "--address", daemon.address])
    assert isinstance(again.exception, UnknownIndexError)


def test_verify__compares_files_with_panels(daemon: Daemon, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    other = panel.select_samples(panel.samples[1:])
    files = {Path("same.bcf"): panel, Path("other.bcf"): other}
    monkeypatch.setattr("vcfrag_core.files.panel.cache.load_panel", lambda path, region: files[path])

    def verify(argument: str) -> tuple[str, BaseException | None]:
        found = runner.invoke(app, ["verify", argument, "--address", daemon.address])
        return found.stdout, found.exception

    assert panel.digest in verify("panel=same.bcf")[0]
    assert panel.digest in verify("panel=same.bcf@1")[0]
    for argument, error in (
        ("panel=other.bcf", PanelMismatchError),
        ("unknown=same.bcf", UnknownPanelError),
        ("panel", ConfigError),
    ):
        assert isinstance(verify(argument)[1], error)


def test_version__is_the_distribution() -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"vcfrag-indexd {importlib.metadata.version('vcfrag-indexd')}\n"


def test_config__prints_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_INDEXD_ENGINE__THREADS", "7")
    shown = runner.invoke(app, ["config", "--panel", "a=/b", "--listen", "127.0.0.1:1"]).stdout
    assert 'listen = "127.0.0.1:1"' in shown
    assert "threads = 7" in shown
    assert 'a = "/b"' in shown


@pytest.mark.parametrize(
    ("present", "line"),
    [
        ((), r"FAISS is not installed: run `pip install 'vcfrag-indexd\[cpu\]'`"),
        (("faiss-cpu", "faiss-gpu"), r"both installed .* run `pip uninstall -y faiss-cpu faiss-gpu`"),
    ],
)
def test_faiss__neither_or_both_installed_names_the_pip_line(monkeypatch, present: tuple[str, ...], line: str) -> None:
    monkeypatch.setattr(installed, "_version", lambda name: "1" if name in present else None)
    with pytest.raises(ConfigError, match=line):
        create_engine("faiss-cpu", threads=1, budget_bytes=1)


def test_faiss__one_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "faiss.py").write_text("raise RuntimeError('libcudart.so.12 is not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(installed, "_version", lambda name: "1" if name == "faiss-gpu" else None)
    says = (
        r"FAISS is installed but does not load \(RuntimeError: libcudart\.so\.12 is not here\).*'vcfrag-indexd\[gpu\]'"
    )
    with pytest.raises(ConfigError, match=says):
        engine_for_daemon("faiss-gpu", threads=1, budget_bytes=1, worker=None, hang_seconds=1)
    with pytest.raises(ConfigError, match=says):
        create_engine("faiss-cpu", threads=1, budget_bytes=1)


def test_engines__auto_without_faiss_is_bitscan_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="vcfrag_indexd")
    monkeypatch.setattr(installed, "_version", lambda name: None)
    engine = engine_for_daemon("auto", threads=1, budget_bytes=1, worker=None, hang_seconds=1)
    assert engine.name == "bitscan"
    assert "FAISS is not installed" in caplog.text
    assert "pip install 'vcfrag-indexd[gpu]'" in caplog.text


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy", "https_proxy"])
def test_health__of_this_machine_never_goes_by_a_proxy(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for host in ("127.0.0.1", "localhost"):
        port = daemon.address.rsplit(":", 1)[1]
        assert runner.invoke(app, ["health", "--address", f"{host}:{port}"]).stdout.strip() == "SERVING"


def test_engines__unknown_or_impossible_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match="no engine 'abacus'"):
        create_engine("abacus", threads=1, budget_bytes=1)
    for name in ("faiss-gpu", "bitscan-gpu"):
        with pytest.raises(ConfigError, match="finds no GPU"):
            engine_for_daemon(name, threads=1, budget_bytes=1, worker=None, hang_seconds=1)


def test_tracing__without_the_extra_says_which_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from vcfrag_indexd.telemetry import tracing

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(tracing.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'vcfrag-indexd\[tracing\]'"):
        tracing.Tracer("127.0.0.1:4317")
