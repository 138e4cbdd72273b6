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

from gateway.telemetry.spans import CallSpans, CurrentSpan, RequestSpans
from gateway.telemetry.traces import Traces

_DISTRIBUTION = "leyr-graphql-gateway"
_PATH = "/v1/traces"
_MAX_QUEUED = 4_096
_BATCH = 512
_BATCH_MILLISECONDS = 2_000
_SEND_SECONDS = 5
_SHUTDOWN_SECONDS = 3.0


class Collector:
    """A collector of traces, by its root's URL or the whole URL for traces; `processor` sends spans to it in batches.

    Credentials for it, a certificate and compression are the library's own settings, OTEL_EXPORTER_OTLP_HEADERS,
    _CERTIFICATE and _COMPRESSION. When the queue is full, the oldest spans are dropped.
    """

    def __init__(self, url: str, log: structlog.typing.FilteringBoundLogger) -> None:
        endpoint = url if urlsplit(url).path else url + _PATH
        self._exporter = _LoggedExporter(OTLPSpanExporter(endpoint, timeout=_SEND_SECONDS), log)
        self.processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=_MAX_QUEUED,
            schedule_delay_millis=_BATCH_MILLISECONDS,
            max_export_batch_size=_BATCH,
        )

    def close(self) -> None:
        """Send the remaining spans, within three seconds."""
        # The library would wait half a minute for a collector that does not answer.
        shutdown = Thread(target=self.processor.shutdown, daemon=True)
        shutdown.start()
        shutdown.join(_SHUTDOWN_SECONDS)
        if shutdown.is_alive():
            self._exporter.shutdown()


class _LoggedExporter(SpanExporter):
    """Logs when exporting begins to fail, and when it succeeds again; used by one thread."""

    def __init__(self, exporter: SpanExporter, log: structlog.typing.FilteringBoundLogger) -> None:
        self._exporter = exporter
        self._log = log
        self._succeeds = True
        self._is_shut = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans, and log if the result is another kind than the last."""
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


def build_traces(
    processor: SpanProcessor,
    *,
    emrs: Collection[str],
    ratio: float,
    now_ns: Callable[[], int],
    chance: Callable[[], float],
    close: Callable[[], None],
) -> Traces:
    """Make traces whose spans a processor gets; parameters as of gateway.telemetry.traces.traces_to."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("gateway", version(_DISTRIBUTION))
    current: CurrentSpan = ContextVar("gateway.tracing.operation", default=None)
    requests = RequestSpans(tracer, current, ratio, now_ns, chance)
    return Traces(requests, CallSpans(tracer, current, emrs=emrs, now_ns=now_ns), close)


def _resource() -> Resource:
    """The service's name and version; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = Resource({"service.name": _DISTRIBUTION, "service.version": version(_DISTRIBUTION)})
    return ours.merge(OTELResourceDetector().detect())
