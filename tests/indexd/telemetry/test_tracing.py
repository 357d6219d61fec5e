"""Spans of calls, where the OpenTelemetry extra is installed."""

from __future__ import annotations

import pytest

from vcfrag_core.errors import UnknownIndexError
from vcfrag_core.panel.panel import Panel
from vcfrag_indexd.serving import server
from vcfrag_indexd.telemetry.tracing import Tracer
from vcfrag_indexd.testing import serve
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_train.client.client import IndexClient


def test_tracing__off_costs_nothing() -> None:
    tracer = Tracer(None)
    assert tracer.start("Search", None, "1") is None
    tracer.close()


def test_tracing__a_span_for_every_call(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="the extra `tracing` is not installed"
    )
    exporter = memory.InMemorySpanExporter()
    monkeypatch.setattr(server, "Tracer", lambda endpoint: Tracer(None, exporter=exporter))
    with serve({"panel": panel}) as daemon, IndexClient(daemon.address) as client:
        client.info()
        with pytest.raises(UnknownIndexError):
            client._call("CloseIndex", pb.CloseIndexRequest(handle="nothing"))
    spans = {span.name.rsplit("/", 1)[1]: span.attributes for span in exporter.get_finished_spans()}
    assert spans["Info"]["rpc.grpc.status_code"] == "OK"
    assert spans["CloseIndex"]["vcfrag.reason"] == "UNKNOWN_INDEX"
    assert len(spans["Info"]["vcfrag.request_id"]) == 32
