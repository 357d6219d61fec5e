"""What is said at the start: which file of TLS cannot be used and why, what is exposed, and in which words."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.indexd.attack.conftest import Attacked
from tests.indexd.conftest import COMMAND, Process
from vcfrag_core.errors import ConfigError
from vcfrag_indexd.config.config import SecurityConfig, ServeConfig
from vcfrag_indexd.security.certificates import Certificates
from vcfrag_indexd.security.exposure import warnings_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys, an encrypted key, and files that are neither."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key",
             "-out", f"{name}.pem"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        (folder / f"{name}.key").chmod(0o600)
    subprocess.run(
        ["openssl", "ec", "-in", "one.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "garbage").write_bytes(b"\x00\xff" * 500)
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "authority", "says"),
    [
        ("garbage", "one.key", None, r"security\.certificate_file .*garbage is no PEM certificate"),
        ("empty", "one.key", None, r"security\.certificate_file .*empty is no PEM certificate"),
        ("one.key", "one.pem", None, r"security\.certificate_file .*one\.key is no PEM certificate"),
        ("one.pem", "garbage", None, r"security\.key_file .*garbage is no unencrypted PEM private key"),
        ("one.pem", "one.pem", None, r"security\.key_file .*one\.pem is no unencrypted PEM private key"),
        ("one.pem", "locked.key", None, r"security\.key_file .*locked\.key is no unencrypted PEM private key"),
        ("one.pem", "other.key", None, r"other\.key is not the key of .*one\.pem"),
        ("one.pem", "gone", None, r"cannot read .*gone"),
        ("folder", "one.key", None, r"cannot read .*folder"),
        ("one.pem", "one.key", "garbage", r"security\.client_ca_file .*garbage is no PEM certificate"),
        ("one.pem", "one.key", "one.key", r"security\.client_ca_file .*one\.key is no PEM certificate"),
    ],
)
def test_tls__a_file_that_cannot_be_used_is_named_with_the_reason(
    made: Path, certificate: str, key: str, authority: str | None, says: str
) -> None:
    config = SecurityConfig(
        certificate_file=made / certificate,
        key_file=made / key,
        client_ca_file=None if authority is None else made / authority,
    )
    with pytest.raises(ConfigError, match=says):
        Certificates(config)


def certificate_of(attacked: Attacked) -> tuple[bytes, str]:
    """What the daemon shows, and the protocol that it chose."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = attacked.address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=90) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True), secure.version()


def test_tls__is_of_version_1_3_and_read_again_on_request(
    attack: Callable[..., Attacked], made: Path, tmp_path
) -> None:
    for kind in ("pem", "key"):
        (tmp_path / f"server.{kind}").write_bytes((made / f"one.{kind}").read_bytes())
        (tmp_path / f"server.{kind}").chmod(0o600)
    attacked = attack(
        env={
            "VCFRAG_INDEXD_SECURITY__CERTIFICATE_FILE": str(tmp_path / "server.pem"),
            "VCFRAG_INDEXD_SECURITY__KEY_FILE": str(tmp_path / "server.key"),
        }
    )
    der = {
        name: ssl.PEM_cert_to_DER_cert((made / f"{name}.pem").read_text(encoding="ascii")) for name in ("one", "other")
    }
    assert certificate_of(attacked) == (der["one"], "TLSv1.3")
    (tmp_path / "server.pem").write_bytes((made / "other.pem").read_bytes())
    attacked.process.process.send_signal(signal.SIGHUP)
    attacked.process.wait_for("the certificates stay as they were")
    assert certificate_of(attacked)[0] == der["one"]
    (tmp_path / "server.key").write_bytes((made / "other.key").read_bytes())
    attacked.process.process.send_signal(signal.SIGHUP)
    attacked.process.wait_for('"event": "certificates read again"')
    assert certificate_of(attacked)[0] == der["other"]


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, text in (("query", "a"), ("same", "a"), ("admin", "b"), ("open", "c")):
        found[name] = tmp_path / name
        found[name].write_text(text, encoding="ascii")
        found[name].chmod(0o666 if name == "open" else 0o600)
    return found


def test_exposure__a_warning_for_each(secrets: dict[str, Path], made: Path) -> None:
    def warned(listen: str = "0.0.0.0:1", **security: Path) -> str:
        return "\n".join(warnings_of(ServeConfig(listen=listen, security=SecurityConfig(**security))))

    tls = {"certificate_file": made / "one.pem", "key_file": made / "one.key"}
    assert "anybody who reaches 0.0.0.0:1 may search" in warned()
    assert "plaintext" in warned()
    assert "the token can be read on the way" in warned(token_file=secrets["query"])
    assert "queries need no token" in warned(admin_token_file=secrets["admin"])
    assert "are the same" in warned(token_file=secrets["query"], admin_token_file=secrets["same"])
    assert f"{secrets['open']} has mode 0666" in warned(token_file=secrets["open"])
    assert warned("127.0.0.1:1") == warned("[::1]:1") == warned("localhost:1") == ""
    assert warned(token_file=secrets["query"], admin_token_file=secrets["admin"], **tls) == ""
    assert warned(client_ca_file=made / "one.pem", **tls) == ""


def test_log__says_listening_serving_draining_and_every_line_is_json(attack: Callable[..., Attacked]) -> None:
    attacked = attack("--listen", "0.0.0.0:0", "--log-format", "json")
    assert attacked.process.stop() == 0
    events = [json.loads(line)["event"] for line in attacked.process.lines]
    places = [events.index(event) for event in ("listening", "panel ready", "serving", "draining", "drained")]
    assert places == sorted(places)
    assert any("may search" in event for event in events)


@pytest.mark.parametrize("broken", [["--listen", "nowhere"], ["--engine", "abacus"], ["--panel", "x"]])
def test_log__a_refusal_is_json_too(attacked_file: Path, broken: list[str]) -> None:
    process = Process("--panel", f"p={attacked_file}", "--listen", "127.0.0.1:0", *broken)
    assert process.code() == 2
    assert [json.loads(line)["reason"] for line in process.lines][-1] == "CONFIG"


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", "| sleep 600"])
def test_stderr__that_is_closed_full_or_never_read_ends_no_daemon(attacked_file: Path, how: str) -> None:
    """Health is asked on a port that is known before, since nothing can be read of the log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    shell = f'"$@" {"2>&1 >/dev/null " + how if how.startswith("|") else how}'
    command = [sys.executable, "-m", "vcfrag_indexd.cli.app", "serve", "--panel", f"panel={attacked_file}"]
    daemon = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command, "--listen", address],
        env={
            **os.environ,
            "VCFRAG_INDEXD_LOG__LEVEL": "debug",
            "VCFRAG_CACHE_DIR": str(attacked_file.parent / "cache"),
        },
        start_new_session=True,
    )
    try:
        asked = [*COMMAND, "health", "--address", address]
        for _ in range(60):
            done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=90)
            if done.stdout.strip() == "SERVING":
                break
        assert done.stdout.strip() == "SERVING"
        assert subprocess.run([*COMMAND, "ls", "--address", address], check=False, timeout=90).returncode == 0
    finally:
        os.killpg(daemon.pid, 9)
        daemon.wait(60)
