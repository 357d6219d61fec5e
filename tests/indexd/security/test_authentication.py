"""TLS, mutual TLS and tokens: who gets in, who does not, and that health answers all the same."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vcfrag_core.errors import AuthenticationError, ConfigError, NotPermittedError, UnavailableError
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.config.config import SecurityConfig, ServeConfig
from vcfrag_indexd.security.authorizer import Authorizer
from vcfrag_indexd.security.certificates import Certificates
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient, TlsConfig

QUERY, ADMIN = "query-secret", "admin-secret"


def openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and server, client and stranger certificates; the stranger's is signed by itself."""
    folder = tmp_path_factory.mktemp("certificates")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        openssl(
            "req", "-x509", *curve, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", cwd=folder,
        )  # fmt: skip
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="ascii")
    for name in ("server", "client"):
        openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "san", "-out", f"{name}.pem", cwd=folder,
        )  # fmt: skip
    return folder


@pytest.fixture
def tokens(tmp_path: Path) -> SecurityConfig:
    for name, token in (("query", QUERY), ("admin", ADMIN)):
        (tmp_path / name).write_text(f"{token}\n", encoding="ascii")
    return SecurityConfig(token_file=tmp_path / "query", admin_token_file=tmp_path / "admin")


@pytest.fixture
def guarded(panel: Panel, tokens: SecurityConfig) -> Iterator[Daemon]:
    with serve({"panel": panel}, ServeConfig(listen="127.0.0.1:0", security=tokens)) as daemon:
        yield daemon


@pytest.fixture
def mutual(panel: Panel, certificates: Path) -> Iterator[Daemon]:
    security = SecurityConfig(
        certificate_file=certificates / "server.pem",
        key_file=certificates / "server.key",
        client_ca_file=certificates / "ca.pem",
    )
    config = ServeConfig(listen="127.0.0.1:0", health_listen="127.0.0.1:0", security=security)
    with serve({"panel": panel}, config) as daemon:
        yield daemon


def healthy(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=90)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("token", [None, "", "wrong", QUERY + "x", QUERY[:-1], "Bearer"])
def test_tokens__none_or_a_wrong_one_is_refused_and_health_answers(guarded: Daemon, token: str | None) -> None:
    with IndexClient(guarded.address, token=token, timeout_seconds=90) as client, pytest.raises(AuthenticationError):
        client.info()
    assert healthy(guarded.address)


def test_tokens__queries_and_administration_have_their_own(guarded: Daemon, index) -> None:
    with IndexClient(guarded.address, token=QUERY) as client:
        opened = client.open_index(**index.opening())
        assert client.search(opened, index.own(["S0004"]), 3).ids.size
        with pytest.raises(NotPermittedError):
            client.list_indexes()
        client.close_index(opened)
    with IndexClient(guarded.address, token=ADMIN) as admin:
        assert [found.handle for found in admin.list_indexes()] == [opened.handle]
        admin.close_index(opened)
        assert admin.list_indexes() == []


def test_tokens__only_an_administration_token_leaves_queries_open(panel: Panel, tokens: SecurityConfig) -> None:
    authorizer = Authorizer(None, ADMIN)
    authorizer.check("Search", ())
    with pytest.raises(NotPermittedError):
        authorizer.check("CloseIndex", (("authorization", f"Bearer {QUERY}"),))
    authorizer.check("CloseIndex", (("authorization", f"Bearer {ADMIN}"),))


def test_tokens__are_never_logged(guarded: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="vcfrag_indexd")
    with IndexClient(guarded.address, token=QUERY) as client:
        client.info()
    with IndexClient(guarded.address, token="guess-me") as client, pytest.raises(AuthenticationError):
        client.info()
    assert "Info" in caplog.text
    assert QUERY not in caplog.text
    assert "guess-me" not in caplog.text


def test_tls__a_verified_client_gets_in(mutual: Daemon, certificates: Path) -> None:
    tls = TlsConfig(
        ca_file=certificates / "ca.pem",
        certificate_file=certificates / "client.pem",
        key_file=certificates / "client.key",
    )
    with IndexClient(mutual.address, tls=tls) as client:
        assert list(client.info().panels) == ["panel"]


def test_client__takes_certificates_and_token_from_the_environment(
    panel: Panel, certificates: Path, tokens: SecurityConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = dataclasses.replace(
        tokens,
        certificate_file=certificates / "server.pem",
        key_file=certificates / "server.key",
        client_ca_file=certificates / "ca.pem",
    )
    monkeypatch.setenv("VCFRAG_DAEMON_CA_FILE", str(certificates / "ca.pem"))
    monkeypatch.setenv("VCFRAG_DAEMON_CERTIFICATE_FILE", str(certificates / "client.pem"))
    monkeypatch.setenv("VCFRAG_DAEMON_KEY_FILE", str(certificates / "client.key"))
    monkeypatch.setenv("VCFRAG_DAEMON_TOKEN_FILE", str(tokens.token_file))
    with serve({"panel": panel}, ServeConfig(listen="127.0.0.1:0", security=security)) as daemon:
        with IndexClient(daemon.address) as client:
            assert list(client.info().panels) == ["panel"]
        monkeypatch.delenv("VCFRAG_DAEMON_TOKEN_FILE")
        with IndexClient(daemon.address) as client, pytest.raises(AuthenticationError):
            client.info()


def test_tls__plaintext_no_certificate_or_a_strangers_is_refused_and_health_answers(
    mutual: Daemon, certificates: Path
) -> None:
    ca = certificates / "ca.pem"
    stranger = {"certificate_file": certificates / "stranger.pem", "key_file": certificates / "stranger.key"}
    for tls in (
        None,
        TlsConfig(ca_file=ca),
        TlsConfig(ca_file=ca, **stranger),
        TlsConfig(ca_file=certificates / "stranger.pem"),
    ):
        with IndexClient(mutual.address, tls=tls, timeout_seconds=1) as client, pytest.raises(UnavailableError):
            client.info()
    assert healthy(mutual.health_address)


def test_security__files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(ConfigError, match="cannot read"):
        Authorizer.of(SecurityConfig(token_file=gone))
    with pytest.raises(ConfigError, match="cannot read"):
        Certificates(SecurityConfig(certificate_file=gone, key_file=gone))
    gone.write_text("\n", encoding="ascii")
    with pytest.raises(ConfigError, match="is empty"):
        Authorizer.of(SecurityConfig(token_file=gone))
    with pytest.raises(ConfigError, match="which needs security"):
        SecurityConfig(client_ca_file=gone)
    with pytest.raises(ConfigError, match="belong together"):
        TlsConfig(certificate_file=gone)


def test_errors__leak_no_internals(panel: Panel, index, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    from vcfrag_core.errors import InternalError
    from vcfrag_core.search.bitscan import BitscanEngine

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("secret detail")

    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**index.opening())
        monkeypatch.setattr(BitscanEngine, "_search_segments", broken)
        with pytest.raises(InternalError) as caught:
            client.search(opened, index.own(["S0004"]), 3)
        monkeypatch.undo()
        assert client.search(opened, index.own(["S0004"]), 3).ids.size
    assert "secret" not in str(caught.value)
    request_id = str(caught.value).rsplit(" ", 1)[1]
    assert request_id in caplog.text
    assert "secret detail" in caplog.text
