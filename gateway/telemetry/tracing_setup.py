"""The OpenTelemetry SDK: a tracer, and an exporter that sends spans by OTLP over HTTP beside the event loop."""

from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from importlib.metadata import version
from threading import Thread
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gateway.telemetry.span_attributes import CallAttributes
from gateway.telemetry.spans import Current, TracedCalls, TracedOperations
from gateway.telemetry.traces import Traces

_PATH = "/v1/traces"
_MOST_QUEUED = 4_096
_BATCH = 512
_BATCH_MILLISECONDS = 2_000
_SEND_SECONDS = 5
# What a stop may wait for the last spans.
_LAST_SECONDS = 3.0


class Collector:
    """A collector of traces, at the whole URL or at that of its root.

    Credentials for it, a certificate and compression are the library's own settings, OTEL_EXPORTER_OTLP_HEADERS,
    _CERTIFICATE and _COMPRESSION. When as many spans wait as may, the oldest are dropped.
    """

    def __init__(self, url: str, log: structlog.typing.FilteringBoundLogger) -> None:
        whole = url if urlsplit(url).path else url + _PATH
        self._exporter = _Reported(OTLPSpanExporter(whole, timeout=_SEND_SECONDS), log)
        self.processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=_MOST_QUEUED,
            schedule_delay_millis=_BATCH_MILLISECONDS,
            max_export_batch_size=_BATCH,
        )

    def close(self) -> None:
        """Send what is left, for three seconds at most."""
        # The library would wait half a minute for a collector that does not answer.
        last = Thread(target=self.processor.shutdown, daemon=True)
        last.start()
        last.join(_LAST_SECONDS)
        if last.is_alive():
            self._exporter.shutdown()


class _Reported(SpanExporter):
    """Logs when a collector begins to take no spans, and when it takes them again; used by one thread."""

    def __init__(self, exporter: SpanExporter, log: structlog.typing.FilteringBoundLogger) -> None:
        self._exporter = exporter
        self._log = log
        self._delivers = True
        self._is_shut = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        result = self._exporter.export(spans)
        delivers = result is SpanExportResult.SUCCESS
        if delivers != self._delivers:
            self._delivers = delivers
            if delivers:
                self._log.info("traces.delivered_again")
            else:
                self._log.warning("traces.not_delivered", action="see whether GATEWAY_TRACES_URL names a collector")
        return result

    def shutdown(self) -> None:
        """See SpanExporter; may be called again."""
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()


_DISTRIBUTION = "leyr-graphql-gateway"


def recorded(
    processor: SpanProcessor,
    *,
    emrs: Collection[str],
    ratio: float,
    now_ns: Callable[[], int],
    chance: Callable[[], float],
    close: Callable[[], None],
) -> Traces:
    """Traces that go to a processor; see gateway.telemetry.traces.traces_to."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("gateway", version(_DISTRIBUTION))
    current: Current = ContextVar("gateway.tracing.operation", default=None)
    calls = TracedCalls(tracer, current, CallAttributes(emrs), now_ns)
    operations = TracedOperations(tracer, current, ratio=ratio, now_ns=now_ns, chance=chance)
    return Traces(operations, calls, close)


def _resource() -> Resource:
    """Who sends: what the operator says by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES goes first."""
    ours = Resource({"service.name": _DISTRIBUTION, "service.version": version(_DISTRIBUTION)})
    return ours.merge(OTELResourceDetector().detect())
