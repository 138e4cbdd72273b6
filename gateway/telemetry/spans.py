"""OpenTelemetry spans and their export: one for each request to `/graphql`, one for each call to Leyr that it makes.

All that a span may say is in `ALLOWED`: values from closed sets, counts, and a part of the document's hash.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field
from importlib.metadata import version
from threading import Thread
from typing import TypeAlias, get_args
from urllib.parse import urlsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_trace_id,
    set_span_in_context,
)

from gateway.domain.errors import CallerError
from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import RequestIds, RequestOutcome, RequestRecord
from gateway.leyr.call_events import CallEvents, CallResult, Rejection
from gateway.leyr.client import ENDPOINTS
from gateway.telemetry.instruments import OTHER, error_codes

OPERATION_TYPE = "graphql.operation.type"
DOCUMENT_HASH = "graphql.document.hash"
STATUS = "http.response.status_code"
OUTCOME = "gateway.outcome"
CODES = "gateway.codes"
READS: Mapping[CacheStatus, str] = {origin: f"gateway.reads.{origin}" for origin in CacheStatus}
EMR = "gateway.emr"
ENDPOINT = "gateway.endpoint"
RESEND_COUNT = "http.request.resend_count"
ALLOWED = frozenset(
    {OPERATION_TYPE, DOCUMENT_HASH, STATUS, OUTCOME, CODES, *READS.values(), EMR, ENDPOINT, RESEND_COUNT}
)

Attributes: TypeAlias = dict[str, str | int | tuple[str, ...]]

_OUTCOMES = frozenset(get_args(RequestOutcome))
_OPERATIONS = frozenset({"query", "mutation", "subscription"})
_CODES = frozenset(error_codes())
_FAILURES = _CODES.difference(error_codes(CallerError))
_HASH_CHARACTERS = 16
_SERVER_ERROR = 500
_NANOSECONDS = 1_000_000_000
_SUCCESSES = frozenset({CallResult.ANSWERED, CallResult.ABANDONED})
_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch


def request_attributes(request: RequestRecord) -> Attributes:
    """The attributes of a request's span; of the document's hash it gets as many digits as the log."""
    attributes: Attributes = {STATUS: request.status, OUTCOME: _known(request.outcome, _OUTCOMES)}
    if request.operation_type is not None:
        attributes[OPERATION_TYPE] = _known(request.operation_type, _OPERATIONS)
    if _is_hash(request.document_hash):
        attributes[DOCUMENT_HASH] = request.document_hash[:_HASH_CHARACTERS]
    for origin, name in READS.items():
        if origin in request.reads:
            attributes[name] = request.reads[origin]
    if request.codes:
        attributes[CODES] = tuple(sorted({_known(code, _CODES) for code in request.codes}))
    return attributes


def is_server_failure(status: int, codes: Collection[str]) -> bool:
    """Whether the gateway or its upstream failed; a client's mistake is no failure of the server."""
    return status >= _SERVER_ERROR or not _FAILURES.isdisjoint(codes)


def call_attributes(
    emr: str, endpoint: str, result: CallResult, resends: int, *, emrs: Collection[str]
) -> tuple[str, Attributes]:
    """The name and the attributes of a call's span; `resends` is how often the call was sent before."""
    endpoint = _known(endpoint, ENDPOINTS)
    attributes: Attributes = {EMR: _known(emr, emrs), ENDPOINT: endpoint, OUTCOME: result.value}
    if resends:
        attributes[RESEND_COUNT] = resends
    return f"leyr {endpoint}", attributes


def _known(value: str, known: Collection[str]) -> str:
    return value if value in known else OTHER


@dataclass(slots=True)
class _RequestSpan:
    """The span of a request; `started_ns` is in nanoseconds since 1970, `context` that of the spans of its calls."""

    span: Span
    started_ns: int
    context: Context
    is_ended: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Spans(CallEvents):
    """Makes the spans of requests and of calls to Leyr; parameters as of `traces.traces_to`.

    The parent of a call's span is the request that began the call, however many wait for it. A call that goes on after
    that request, such as a refresh of stale data, gets a trace of its own with a link to the request: a child must not
    outlive its parent.
    """

    tracer: Tracer
    _: KW_ONLY
    emrs: Collection[str]
    ratio: float
    now_ns: Callable[[], int]
    chance: Callable[[], float]
    # The request that a task works for, if it is recorded. Tasks inherit it from the task that starts them.
    _current: ContextVar[_RequestSpan | None] = field(
        default_factory=lambda: ContextVar("gateway.tracing.operation", default=None)
    )
    # The resends before the last attempt, and before the next if there is one. Each call is made by one task, which
    # has a context of its own.
    _resends: ContextVar[tuple[int, int]] = field(
        default_factory=lambda: ContextVar("gateway.tracing.resends", default=(0, 0))
    )

    def started(self, ids: RequestIds) -> str | None:
        """Begin the span of a request, if it is sampled; return the id of its trace if that is new."""
        traceparent = ids.traceparent
        # Decided before the library is asked, whose samplers take ten times as long.
        sampled = self.chance() < self.ratio if traceparent is None else int(traceparent[-2:], 16) & TraceFlags.SAMPLED
        span = self._begin(traceparent) if sampled else None
        # None as well: the task may have inherited another request's span.
        self._current.set(span)
        if span is None or traceparent is not None:
            return None
        return format_trace_id(span.span.get_span_context().trace_id)

    def finished(self, request: RequestRecord) -> None:
        """End the span of the request; called in the request's task."""
        current = self._current.get()
        if current is None:
            return
        span, operation = current.span, request.operation_type
        if operation in _OPERATIONS:
            span.update_name(f"graphql {operation}")
        span.set_attributes(request_attributes(request))
        if is_server_failure(request.status, request.codes):
            span.set_status(Status(StatusCode.ERROR))
        # By the clock that the log measures with: the time of day may be set back meanwhile.
        span.end(current.started_ns + round(request.seconds * _NANOSECONDS))
        current.is_ended = True

    def _begin(self, traceparent: str | None) -> _RequestSpan | None:
        started_ns = self.now_ns()
        parent = Context()
        if traceparent is not None:
            # The client's `tracestate` is free text, which stays outside.
            trace_id, span_id = (int(part, 16) for part in traceparent.split("-")[1:3])
            remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            parent = set_span_in_context(NonRecordingSpan(remote), parent)
        span = self.tracer.start_span("graphql", parent, SpanKind.SERVER, start_time=started_ns)
        # OTEL_SDK_DISABLED makes spans that record nothing.
        return _RequestSpan(span, started_ns, set_span_in_context(span, Context())) if span.is_recording() else None

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """Make the span of an attempt, which ends now."""
        request = self._current.get()
        if request is None:
            return
        _, resends = self._resends.get()
        self._resends.set((resends, 0))
        ended = self.now_ns()
        # An abandoned call ends because its request did, if a moment later.
        outlives_request = request.is_ended and result is not CallResult.ABANDONED
        name, attributes = call_attributes(emr, endpoint, result, resends, emrs=self.emrs)
        span = self.tracer.start_span(
            name,
            Context() if outlives_request else request.context,
            SpanKind.CLIENT,
            attributes,
            [Link(request.span.get_span_context())] if outlives_request else None,
            ended - round(seconds * _NANOSECONDS),
        )
        if result not in _SUCCESSES:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the base's signature
        """Leave the count of resends to the next attempt, since nothing was sent."""
        before, _ = self._resends.get()
        self._resends.set((before, 0))

    def retried(self, emr: str) -> None:  # noqa: ARG002 # the base's signature
        """Count a resend."""
        before, _ = self._resends.get()
        self._resends.set((before, before + 1))


_DISTRIBUTION = "leyr-graphql-gateway"
_PATH = "/v1/traces"
_SEND_SECONDS = 5
_SHUTDOWN_SECONDS = 3.0


class Collector(SpanExporter):
    """A collector of traces, by its root's URL or the whole URL for traces; spans are sent to it in batches.

    Credentials for it, a certificate and compression are the library's own settings, OTEL_EXPORTER_OTLP_HEADERS,
    _CERTIFICATE and _COMPRESSION. When the queue is full, the oldest spans are dropped.
    """

    def __init__(self, url: str, log: structlog.typing.FilteringBoundLogger) -> None:
        endpoint = url if urlsplit(url).path else url + _PATH
        self._exporter: SpanExporter = OTLPSpanExporter(endpoint, timeout=_SEND_SECONDS)
        self._log = log
        self._succeeds = True
        self._is_shut = False
        self._processor: SpanProcessor | None = None

    def start(self, provider: TracerProvider) -> None:
        """Begin to send a provider's spans, by a thread of this process, which no fork of it would have."""
        self._processor = BatchSpanProcessor(
            self, max_queue_size=4_096, schedule_delay_millis=2_000, max_export_batch_size=512
        )
        provider.add_span_processor(self._processor)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans in the processor's thread; log when that begins to fail, and when it succeeds again."""
        result = self._exporter.export(spans)
        succeeds = result is SpanExportResult.SUCCESS
        if succeeds != self._succeeds:
            self._succeeds = succeeds
            if succeeds:
                self._log.info("traces.delivered_again")
            else:
                self._log.warning("traces.not_delivered", action="see whether GATEWAY_TRACES_URL names a collector")
        return result

    def shutdown(self) -> None:
        """Shut the exporter down, once."""
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()

    def close(self) -> None:
        """Send the remaining spans, within three seconds."""
        if self._processor is None:
            return
        # The library would wait half a minute for a collector that does not answer.
        shutdown = Thread(target=self._processor.shutdown, daemon=True)
        shutdown.start()
        shutdown.join(_SHUTDOWN_SECONDS)
        if shutdown.is_alive():
            self.shutdown()


def tracer_to(processor: SpanProcessor) -> Tracer:
    """A tracer whose spans a processor gets."""
    provider = tracer_provider()
    provider.add_span_processor(processor)
    return tracer_of(provider)


def tracer_provider() -> TracerProvider:
    """What spans come from; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    resource = Resource({"service.name": _DISTRIBUTION, "service.version": version(_DISTRIBUTION)})
    resource = resource.merge(OTELResourceDetector().detect())
    return TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)


def tracer_of(provider: TracerProvider) -> Tracer:
    """The gateway's tracer; it heeds what is added to its provider later."""
    return provider.get_tracer("gateway", version(_DISTRIBUTION))
