"""A real daemon process from its first port to its exit code: readiness, faults of its files, signals."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.vcf_text import record, vcf_text
from vcfrag_core.errors import ConfigError, UnavailableError
from vcfrag_core.files.panel.prepared import write_prepared
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.config.config import DrainConfig, ServeConfig
from vcfrag_indexd.config.panel_source import panel_source
from vcfrag_indexd.serving.rpc import SERVICE_NAME
from vcfrag_indexd.serving.server import Daemon
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient

PATIENCE_SECONDS = 90.0


def health(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_SECONDS).status


def test_serve__reads_a_file_answers_and_leaves_with_code_0(start, eventually, panel_file: Path, index) -> None:
    process = start("--panel", f"panel={panel_file}", "--listen", "127.0.0.1:0")
    address = process.address
    eventually(lambda: health(address) == health_pb2.HealthCheckResponse.SERVING, "serving")
    with IndexClient(address) as client:
        assert client.info().panels == {"panel": index.identity.panel}
        found = client.search(client.open_index(**index.opening()), index.own(["S0004"]), 3)
    assert found.ids.shape[1:] == (2, 3)
    assert process.stop() == 0
    assert any('"finished": true' in line for line in process.lines)


def test_serve__never_imports_torch() -> None:
    modules = (
        "vcfrag_indexd.cli.main, vcfrag_indexd.cli.app, vcfrag_core.search.bitscan, vcfrag_indexd.engines.faiss_cpu"
    )
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_serve__a_taken_port_is_a_clear_error(start, panel_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start("--panel", f"panel={panel_file}", "--listen", address)
        assert process.wait_for(
            rf"error \[CONFIG\]: cannot listen on {address} \(Address already in use\): is the port taken"
        )
        assert process.code() == 2
        assert sum("error" in line for line in process.lines) == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"this is no VCF\n" * 50), "NOT_VCF|TRUNCATED_FILE|INPUT"),
        (lambda path: path.write_text(path.read_text().replace("0|1", "0/1", 1)), "UNPHASED"),
        (lambda path: path.unlink(), "CONFIG"),
    ],
    ids=["swapped", "unphased", "gone"],
)
def test_serve__a_panel_file_that_cannot_be_used_is_refused_at_start(start, panel_file, spoil, reason: str) -> None:
    spoil(panel_file)
    process = start("--panel", f"panel={panel_file}", "--listen", "127.0.0.1:0")
    assert process.wait_for(rf"error \[({reason})\]: .*panel\.vcf")
    assert process.code() == 2


def test_serve__a_panel_whose_samples_change_their_ploidy_is_refused_with_its_parts(start, tmp_path: Path) -> None:
    calls = [(100, ["0|1", "1|0"]), (200, ["1|1", "0|1"]), (300, ["0|1", "1"]), (400, ["1|0", "0"])]
    path = tmp_path / "x.vcf"
    path.write_text(vcf_text(["w", "m"], [record(at, cells, contig="X") for at, cells in calls], contigs={"X": 1000}))
    process = start("--panel", f"x={path}", "--listen", "127.0.0.1:0")
    assert process.wait_for(r"error \[PLOIDY\]: .*x\.vcf: .*NAME=.*x\.vcf@REGION, with X:100-200, X:300-400")
    assert process.code() == 2
    parts = [f"{name}={path}@X:{region}" for name, region in (("low", "100-200"), ("high", "300-400"))]
    process = start("--panel", parts[0], "--panel", parts[1], "--listen", "127.0.0.1:0")
    for name in ("low", "high"):
        assert process.wait_for(rf'"panel": "{name}", "sites": 2, .*"panel ready"')


def test_serve__a_contig_of_a_prepared_panel(start, tmp_path: Path) -> None:
    texts = [record(at, ["0|1", "1|0"], contig=contig) for contig, at in (("20", 100), ("20", 200), ("21", 300))]
    (tmp_path / "both.vcf").write_text(vcf_text(["w", "m"], texts, contigs={"20": 1000, "21": 1000}))
    prepared = tmp_path / "both.panel"
    write_prepared(prepared, [read_panel(tmp_path / "both.vcf", region=contig) for contig in ("20", "21")], {})
    process = start("--panel", f"p={prepared}", "--listen", "127.0.0.1:0")
    assert process.wait_for(r"error \[UNKNOWN_CONTIG\]: .*several contigs.*20, 21.*--panel p=.*both\.panel@CONTIG")
    assert process.code() == 2
    process = start("--panel", f"p={prepared}@21", "--listen", "127.0.0.1:0")
    assert process.wait_for('"contig": "21", "event": "panel ready"')
    process = start("--panel", f"p={tmp_path / 'both.vcf'}@chr20", "--listen", "127.0.0.1:0")
    assert process.wait_for('"contig": "20", "event": "panel ready"')


def test_panel_source__a_file_of_the_whole_name_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "a@20"
    assert panel_source(file) == (tmp_path / "a", "20")
    file.write_text("")
    assert panel_source(file) == (file, None)
    assert panel_source(f"{file}@20:1-5") == (file, "20:1-5")
    assert panel_source("user@host/p.bcf") == (Path("user@host/p.bcf"), None)


def test_serve__a_damaged_cache_is_rebuilt_and_never_trusted(
    start, eventually, panel_file: Path, tmp_path: Path, index
) -> None:
    for damage in (None, 0x10, 0x80):
        for entry in (tmp_path / "cache").rglob("*") if damage else ():
            if entry.is_file():
                data = bytearray(entry.read_bytes())
                data[len(data) // 2] ^= damage
                entry.write_bytes(data)
        process = start("--panel", f"panel={panel_file}", "--listen", "127.0.0.1:0")
        with IndexClient(process.address, timeout_seconds=PATIENCE_SECONDS) as client:
            eventually(lambda client=client: client.info().panels["panel"] != "", "the panel is read")
            assert client.info().panels == {"panel": index.identity.panel}
        assert process.stop() == 0


def test_daemon__is_not_serving_until_its_panels_are_read(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, may_go_on = threading.Event(), threading.Event()
    take = Daemon._take

    def slow(self: Daemon, name: str, held: Panel) -> None:
        reading.set()
        may_go_on.wait(PATIENCE_SECONDS)
        take(self, name, held)

    monkeypatch.setattr(Daemon, "_take", slow)
    daemon = Daemon(ServeConfig(listen="127.0.0.1:0"), panels={"panel": panel})
    daemon.start()
    try:
        assert reading.wait(PATIENCE_SECONDS)
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        assert [health(daemon.address, name) for name in ("", SERVICE_NAME, "panel/panel")] == [not_serving] * 3
        with pytest.raises(UnavailableError):
            daemon.wait_ready(0.01)
        may_go_on.set()
        daemon.wait_ready(PATIENCE_SECONDS)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert [health(daemon.address, name) for name in ("", SERVICE_NAME, "panel/panel")] == [serving] * 3
    finally:
        daemon.stop()


def test_daemon__watch_sees_it_leave(panel: Panel) -> None:
    with serve({"panel": panel}) as daemon, grpc.insecure_channel(daemon.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        daemon.health.leave()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_daemon__an_engine_that_answers_wrongly_never_serves(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    from vcfrag_core.search.bitscan import BitscanEngine

    search = BitscanEngine.search

    def wrong(self, handle, task, checkpoint):
        answer = search(self, handle, task, checkpoint)
        answer.result.ids[:] = answer.result.ids[:, :, ::-1]
        return answer

    monkeypatch.setattr(BitscanEngine, "search", wrong)
    daemon = Daemon(ServeConfig(listen="127.0.0.1:0"), panels={"panel": panel})
    daemon.start()
    try:
        with pytest.raises(UnavailableError):
            daemon.wait_ready(1.0)
        assert health(daemon.address) == health_pb2.HealthCheckResponse.NOT_SERVING
    finally:
        daemon.stop()


def test_daemon__health_has_a_port_of_its_own_on_request(panel: Panel) -> None:
    config = ServeConfig(listen="127.0.0.1:0", health_listen="127.0.0.1:0")
    with serve({"panel": panel}, config) as daemon:
        assert daemon.health_address != daemon.address
        assert health(daemon.health_address) == health_pb2.HealthCheckResponse.SERVING
        with grpc.insecure_channel(daemon.health_address) as channel:
            unknown = channel.unary_unary(f"/{SERVICE_NAME}/Info")
            with pytest.raises(grpc.RpcError) as caught:
                unknown(b"", timeout=PATIENCE_SECONDS)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_daemon__reflection_names_its_services(panel: Panel) -> None:
    with serve({"panel": panel}) as daemon, grpc.insecure_channel(daemon.address) as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        reply = next(stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_SECONDS))
        names = {service.name for service in reply.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names


def test_drain__finishes_work_in_flight_under_16_clients(panel: Panel, index) -> None:
    """A rolling restart: one daemon leaves, another stands by; no call of the retrying clients fails."""
    quick = ServeConfig(listen="127.0.0.1:0", drain=DrainConfig(settle_seconds=0.1))
    with serve({"panel": panel}, quick) as leaving, serve({"panel": panel}, quick) as standing:
        block, failed, answers = index.own(["S0004"]), [], []
        leave = threading.Event()

        def work(n: int) -> None:
            with IndexClient([leaving.address, standing.address], timeout_seconds=PATIENCE_SECONDS) as client:
                opened = client.open_index(**index.opening())
                for i in range(30):
                    if n == 0 and i == 8:
                        leave.set()
                    try:
                        answers.append(client.search(opened, block, 3).ids)
                    except Exception as error:  # noqa: BLE001  whatever fails is what is counted
                        failed.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        assert leave.wait(PATIENCE_SECONDS)
        assert leaving.drain()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert failed == []
    assert len(answers) == 16 * 30
    assert all(np.array_equal(ids, answers[0]) for ids in answers)


def test_daemon__without_a_panel_or_with_one_twice_is_refused(panel: Panel, panel_file: Path) -> None:
    with pytest.raises(ConfigError, match="no panel"):
        Daemon(ServeConfig())
    with pytest.raises(ConfigError, match="given twice"):
        Daemon(ServeConfig(panels={"panel": panel_file}), panels={"panel": panel})
