"""What traces are to the rest of the gateway, which runs without OpenTelemetry as well."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from gateway.http.request_context import OperationSpans
from gateway.leyr.call_events import CallEvents

# A file of the repository and not the package's name, which an index may give to somebody else.
_MISSING = (
    "GATEWAY_TRACES_URL needs the extra `tracing`, which is not installed: "
    "run `python -m pip install --require-hashes -r requirements/tracing.txt`, "
    "or build the image with `--build-arg LOCK=tracing`"
)
_WRONG = "OpenTelemetry does not take one of its own settings in the environment, whose names begin with OTEL_"
_IMPORTS = frozenset({"google", "opentelemetry", "requests"})


class TracesError(Exception):
    """Traces were asked for and cannot be sent; the message says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Where operations and the calls to Leyr are told; `close` sends what is left, within some seconds."""

    operations: OperationSpans
    upstream: CallEvents
    close: Callable[[], None]


def traces_to(
    url: str,
    *,
    emrs: Collection[str],
    ratio: float,
    now_ns: Callable[[], int],
    chance: Callable[[], float],
    log: structlog.typing.FilteringBoundLogger,
) -> Traces:
    """Traces that go to an OTLP/HTTP collector, in batches and from a thread of their own.

    `url` is the whole URL of its traces, or of its root; `emrs` are the codes of the configured EHRs, `ratio` the share
    of the traces begun here that is recorded, `now_ns` the time of day in nanoseconds since 1970, `chance` a number
    from 0 up to 1. Raises TracesError.
    """
    try:
        # Only for those who ask for traces, since the rest need not have it.
        from gateway.telemetry.tracing_setup import Collector, recorded  # noqa: PLC0415 # see above

        collector = Collector(url, log)
        return recorded(
            collector.processor, emrs=emrs, ratio=ratio, now_ns=now_ns, chance=chance, close=collector.close
        )
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _IMPORTS:
            raise
        raise TracesError(_MISSING) from None
    except ValueError:
        raise TracesError(_WRONG) from None
