"""A gateway whose spans stay in memory, where a test reads them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import random
from time import time_ns
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from gateway.telemetry.spans import Spans, tracer_to
from gateway.telemetry.traces import Traces
from tests.harness import Clock, Gateway, Simulator


@dataclass(frozen=True)
class Told:
    """A span as a collector gets it."""

    span: ReadableSpan

    @property
    def said(self) -> dict[str, Any]:
        return dict(self.span.attributes or {})

    @property
    def outcome(self) -> str:
        return str(self.said["gateway.outcome"])

    @property
    def is_error(self) -> bool:
        return self.span.status.status_code is StatusCode.ERROR

    @property
    def context(self) -> SpanContext:
        found = self.span.get_span_context()
        assert found is not None
        return found

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.context.trace_id)

    @property
    def span_id(self) -> str:
        return format_span_id(self.context.span_id)

    @property
    def parent_id(self) -> str | None:
        return None if self.span.parent is None else format_span_id(self.span.parent.span_id)

    @property
    def links(self) -> list[str]:
        return [format_span_id(link.context.span_id) for link in self.span.links]


@dataclass(frozen=True)
class Traced(Gateway):
    """A running gateway, and what a collector was told of it."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def spans(self, kind: SpanKind) -> list[Told]:
        # A span ends after its answer, but before anything else is answered.
        self.http.get("/livez")
        return [Told(span) for span in self.exporter.get_finished_spans() if span.kind is kind]

    def operations(self) -> list[Told]:
        return self.spans(SpanKind.SERVER)

    def calls(self, least: int = 0) -> list[Told]:
        """The spans of calls to Leyr, as soon as there are so many: no response waits for a refresh."""
        for _ in range(10_000):
            found = self.spans(SpanKind.CLIENT)
            if len(found) >= least:
                return found
        raise AssertionError(found)


@pytest.fixture
def serve_traced(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> Callable[..., Traced]:
    """Start gateways on the simulator, each with settings of its own."""

    def start(*, clock: Clock | None = None, ratio: float = 1, **settings: Any) -> Traced:
        exporter = InMemorySpanExporter()
        made = Spans(
            tracer_to(SimpleSpanProcessor(exporter)), emrs=simulator.emrs, ratio=ratio, now_ns=time_ns, chance=random
        )
        traces = Traces(made.started, made.finished, made, exporter.shutdown)
        served = serve_gateway(clock=clock, traces=traces, **settings)
        return Traced(served.url, served.http, served.log, served.metrics, exporter=exporter)

    return start


@pytest.fixture
def gateway(serve_traced: Callable[..., Traced]) -> Traced:
    return serve_traced()
