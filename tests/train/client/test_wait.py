"""A daemon that is not there, comes late, still reads its panels, is something else: what the client says."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vcfrag_core.errors import AuthenticationError, ConfigError, UnavailableError
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.config.config import SecurityConfig, ServeConfig
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_train.cli import app as cli
from vcfrag_train.client import calls as client_calls
from vcfrag_train.client import wait as daemon_wait
from vcfrag_train.client.client import IndexClient
from vcfrag_train.client.wait import wait_until_answering, wait_until_ready

PATIENCE_SECONDS = 90.0
ANY_PORT = "127.0.0.1:0"


def anything(name: str, digest: str) -> bool:
    """Every panel is wanted."""
    return True


class Said(logging.Handler):
    """Collects what is said, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in line for line in self.lines), PATIENCE_SECONDS), text


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    """What the client says, at once instead of after seconds."""
    monkeypatch.setattr(daemon_wait, "NOTICE_SECONDS", 0.0)
    handler, logger = Said(), logging.getLogger("vcfrag_train")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def slow_daemon(monkeypatch: pytest.MonkeyPatch, panels: dict[str, Panel]) -> tuple[Daemon, threading.Event]:
    may_go_on, take = threading.Event(), Daemon._take

    def slow(self: Daemon, name: str, held: Panel) -> None:
        if name == "chr20":
            may_go_on.wait(PATIENCE_SECONDS)
        take(self, name, held)

    monkeypatch.setattr(Daemon, "_take", slow)
    return Daemon(ServeConfig(listen=ANY_PORT), panels=panels), may_go_on


@pytest.fixture
def loading(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Daemon, threading.Event]]:
    """A daemon that reads its panel chr20 until the event is set."""
    daemon, may_go_on = slow_daemon(monkeypatch, {"chr20": panel})
    daemon.start()
    yield daemon, may_go_on
    may_go_on.set()
    daemon.stop()


def test_wait__nobody_there_is_said_and_given_up(said: Said, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", "0.5")
    address = f"127.0.0.1:{free_port}"
    with pytest.raises(UnavailableError) as caught:
        wait_until_ready(address, anything)
    assert said.lines == [f"no daemon answers at {address} yet; waiting up to 0.5 s"]
    message = str(caught.value)
    assert message.startswith(f"{address}: no vcfrag-indexd answered (")
    assert message.count("no vcfrag-indexd answered") == message.count("check that it runs") == 1
    assert "refused" in message
    assert message.endswith("; waited 0.5 s (VCFRAG_DAEMON_CONNECT_SECONDS)")


def test_wait__a_mute_peer_is_nobody(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", "0.5")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(UnavailableError, match=r"no vcfrag-indexd answered .*; waited 0\.5 s"):
            wait_until_answering(f"127.0.0.1:{mute.getsockname()[1]}")


def test_wait__another_service_is_refused_at_once(panel: Panel) -> None:
    health_only = ServeConfig(listen=ANY_PORT, health_listen=ANY_PORT)
    with (
        serve({"panel": panel}, health_only) as daemon,
        pytest.raises(UnavailableError, match=r"no vcfrag-indexd answered.*UNIMPLEMENTED"),
    ):
        wait_until_ready(daemon.health_address, anything)


def test_wait__a_daemon_that_comes_late_is_found(panel: Panel, said: Said, free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    with ThreadPoolExecutor(1) as aside:
        found = aside.submit(wait_until_ready, address, anything)
        said.wait_for(f"no daemon answers at {address} yet; waiting up to 30 s")
        with serve({"panel": panel}, ServeConfig(listen=address)):
            assert found.result(PATIENCE_SECONDS).panels == {"panel": panel.digest}


def test_wait__a_daemon_that_reads_its_panels_is_waited_for(
    loading: tuple[Daemon, threading.Event], panel: Panel, said: Said
) -> None:
    daemon, may_go_on = loading
    with ThreadPoolExecutor(1) as aside:
        found = aside.submit(wait_until_ready, daemon.address, anything)
        said.wait_for(f"the daemon at {daemon.address} is still reading chr20; waiting up to 1800 s")
        may_go_on.set()
        assert found.result(PATIENCE_SECONDS).panels == {"chr20": panel.digest}
    assert len(said.lines) == 1


def test_wait__the_wanted_panel_is_enough(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, may_go_on = slow_daemon(monkeypatch, {"mine": panel, "chr20": panel})
    daemon.start()
    try:
        panels = wait_until_ready(daemon.address, lambda name, _: name == "mine").panels
        assert panels == {"mine": panel.digest, "chr20": ""}
    finally:
        may_go_on.set()
        daemon.stop()


def test_wait__reading_may_take_too_long(
    loading: tuple[Daemon, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, _ = loading
    monkeypatch.setenv("VCFRAG_DAEMON_LOAD_SECONDS", "0.1")
    wait_until_answering(daemon.address)
    with pytest.raises(UnavailableError, match=r"still reading chr20 after 0\.1 s .*says SERVING"):
        wait_until_ready(daemon.address, anything)


def test_wait__a_missing_token_is_said_at_once(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    guarded = ServeConfig(listen=ANY_PORT, security=SecurityConfig(token_file=tmp_path / "token"))
    with serve({"panel": panel}, guarded) as daemon, pytest.raises(AuthenticationError):
        wait_until_ready(daemon.address, anything)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_wait__seconds_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", text)
    with pytest.raises(ConfigError, match=f"VCFRAG_DAEMON_CONNECT_SECONDS must be a number .* got '{text}'"):
        wait_until_answering("127.0.0.1:1")


def test_call__a_daemon_that_is_away_is_said_once(said: Said, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_calls, "NOTICE_SECONDS", 0.0)
    address = f"127.0.0.1:{free_port}"
    with (
        IndexClient(address, timeout_seconds=0.6) as client,
        pytest.raises(UnavailableError, match=f"{address}: no vcfrag-indexd answered"),
    ):
        client.info()
    assert len(said.lines) == 1
    assert said.lines[0].startswith(f"the daemon at {address} is away (")


def test_call__ends_when_its_client_is_closed(said: Said, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_calls, "NOTICE_SECONDS", 0.0)
    address = f"127.0.0.1:{free_port}"
    client = IndexClient(address, timeout_seconds=10 * PATIENCE_SECONDS)
    with ThreadPoolExecutor(1) as aside:
        found = aside.submit(client.info)
        said.wait_for(f"the daemon at {address} is away")
        client.close()
        with pytest.raises(UnavailableError, match="Info: the client was closed"):
            found.result(PATIENCE_SECONDS)
    with pytest.raises(UnavailableError, match="Info: the client was closed"):
        client.info()


@pytest.mark.parametrize(
    "words",
    [
        "impute --panel no.bcf --target no.vcf --out out.vcf.gz --copying-only",
        "calibrate --panel no.bcf --out out.toml --density array",
        "fit --config fit.toml",
    ],
    ids=lambda words: words.split()[0],
)
def test_commands__find_out_before_they_read_anything(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", "0.2")
    Path("fit.toml").write_text('[panel]\npath = "no.bcf"\n')
    with pytest.raises(SystemExit) as stop:
        cli.main([*words.split(), "--daemon", "127.0.0.1:1"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error [UNAVAILABLE]: 127.0.0.1:1: no vcfrag-indexd answered (")
