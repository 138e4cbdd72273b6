"""Traces as the rest of the gateway knows them: this module can be imported without OpenTelemetry."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import structlog

from gateway.http.request_context import RequestIds, RequestRecord
from gateway.leyr.call_events import CallEvents

# Names a file of the repository and not the package, whose name an index may give to somebody else.
_MISSING = (
    "GATEWAY_TRACES_URL needs the extra `tracing`, which is not installed: "
    "run `python -m pip install --require-hashes -r requirements/tracing.txt`, "
    "or build the image with `--build-arg LOCK=tracing`"
)
_WRONG = "OpenTelemetry does not take one of its own settings in the environment, whose names begin with OTEL_"
_IMPORTS = frozenset({"google", "opentelemetry", "requests"})


class TracesError(Exception):
    """Traces cannot be sent; the message says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Makes spans of requests and of calls to Leyr.

    `started` begins a request's span, in the request's own task, and returns the trace id, 32 hexadecimal digits, if
    the span is recorded and begins a new trace; `finished` ends it. `start` begins to send them, in the process that
    makes them and after any fork; `close` sends what remains, within some seconds.
    """

    started: Callable[[RequestIds], str | None]
    finished: Callable[[RequestRecord], None]
    upstream: CallEvents
    close: Callable[[], None]
    start: Callable[[], None] = lambda: None


def traces_to(
    url: str,
    *,
    emrs: Collection[str],
    ratio: float,
    now_ns: Callable[[], int],
    chance: Callable[[], float],
    log: structlog.typing.FilteringBoundLogger,
) -> Traces:
    """Make traces that are sent to an OTLP/HTTP collector, in batches and by a thread of their own.

    `url` is the collector's root, or the whole URL for traces. `emrs` are the codes of the configured EHRs. `ratio` is
    the share of requests without a `traceparent` that is recorded. `now_ns` gives nanoseconds since 1970, `chance` a
    number from 0 up to 1. Raises TracesError.
    """
    try:
        # Imported here, since a gateway without traces need not have OpenTelemetry installed.
        from gateway.telemetry.spans import Collector, Spans, tracer_of, tracer_provider  # noqa: PLC0415 # see above

        collector, provider = Collector(url, log), tracer_provider()
        spans = Spans(tracer_of(provider), emrs=frozenset(emrs), ratio=ratio, now_ns=now_ns, chance=chance)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _IMPORTS:
            raise
        raise TracesError(_MISSING) from None
    except ValueError:
        raise TracesError(_WRONG) from None
    return Traces(spans.started, spans.finished, spans, collector.close, partial(collector.start, provider))
