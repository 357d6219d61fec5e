"""OpenTelemetry traces of calls, where the extra is installed and an endpoint is configured."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from vcfrag_core.errors import ConfigError

TRACING_LINE = "pip install 'vcfrag-indexd[tracing]'"
TRACEPARENT = "traceparent"


class Span(Protocol):
    """What a call needs of a span."""

    def set_attribute(self, key: str, value: Any) -> None: ...

    def end(self) -> None: ...


class Tracer:
    """Starts a span for every call, within the caller's trace where it sent one.

    Args:
        endpoint: HOST:PORT of an OTLP collector; None for no tracing.

    Raises:
        ConfigError: Tracing is asked for and the extra is not installed.
    """

    def __init__(self, endpoint: str | None, *, exporter: Any = None) -> None:
        self._tracer: Any = None
        self._provider: Any = None
        if endpoint is None and exporter is None:
            return
        trace, export = _module("opentelemetry.sdk.trace"), _module("opentelemetry.sdk.trace.export")
        resource = _module("opentelemetry.sdk.resources").Resource.create({"service.name": "vcfrag-indexd"})
        self._provider = trace.TracerProvider(resource=resource)
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter or _otlp(str(endpoint))))
        self._tracer = self._provider.get_tracer("vcfrag_indexd")

    def start(self, method: str, traceparent: str | None, request_id: str) -> Span | None:
        """A span for one call; None where tracing is off."""
        if self._tracer is None:
            return None
        propagator = _module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()
        parent = propagator.extract({TRACEPARENT: traceparent} if traceparent else {})
        span: Span = self._tracer.start_span(
            f"vcfrag_proto.v1.Index/{method}", context=parent, attributes={"vcfrag.request_id": request_id}
        )
        return span

    def close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()


def _otlp(endpoint: str) -> Any:
    return _module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter").OTLPSpanExporter(
        endpoint=endpoint, insecure=True
    )


def _module(name: str) -> Any:
    # By name, because the extra may be absent and type checkers then know nothing of it.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"tracing is asked for but {error.name} is missing: run `{TRACING_LINE}`") from error
