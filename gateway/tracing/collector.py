"""Sending spans to a collector by OTLP over HTTP, beside the loop and without waiting for it."""

from collections.abc import Sequence
from threading import Thread
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

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
