"""Everything that is counted and measured for Prometheus, in one registry of its own, and `/metrics`."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import Outcome, error_codes
from gateway.leyr.call_events import ENDPOINTS, CallEvents, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth
from gateway.telemetry.instruments import Counters, Histograms

# Leyr asks an EHR behind it, which takes from some ten milliseconds to many seconds.
_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class UpstreamMetrics(CallEvents):
    """The observer of gateway.leyr.resilience; `emrs` are the codes of the configured EHRs."""

    def __init__(self, emrs: Iterable[str]) -> None:
        emr = {"emr": tuple(emrs)}
        call = {**emr, "endpoint": ENDPOINTS}
        # An attempt that was not made is counted by its reason instead.
        outcomes = [outcome for outcome in CallResult if outcome is not CallResult.TURNED_AWAY]
        self._calls = Counters(
            "gateway_upstream_calls_total",
            "Requests sent to Leyr, each attempt by itself.",
            {**call, "outcome": outcomes},
        )
        self._seconds = Histograms(
            "gateway_upstream_seconds", "Time from sending a request to Leyr to its outcome.", call, _BOUNDS
        )
        self._turned_away = Counters(
            "gateway_upstream_turned_away_total",
            "Requests that were not sent to Leyr, each attempt by itself.",
            {**emr, "reason": Rejection},
        )
        self._retries = Counters("gateway_upstream_retries_total", "Calls to Leyr that were tried again.", emr)
        self._openings = Counters(
            "gateway_breaker_openings_total", "Times that an EHR's circuit breaker opened, or opened again.", emr
        )

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """See CallEvents."""
        self._calls.add((emr, endpoint, result))
        self._seconds.observe((emr, endpoint), seconds)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the base class's signature
        """See CallEvents."""
        self._turned_away.add((emr, reason))

    def retried(self, emr: str) -> None:
        """See CallEvents."""
        self._retries.add((emr,))

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        """See CallEvents; between two scrapes a breaker may open and close."""
        if state is BreakerState.OPEN:
            self._openings.add((emr,))

    def families(self) -> Iterable[Metric]:
        """As the library writes them."""
        for each in (self._calls, self._seconds, self._turned_away, self._retries, self._openings):
            yield each.family()


_OPEN = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where to look; each is asked from the thread that serves the scrape, while the loop goes on."""

    conditions: Callable[[], Mapping[str, UpstreamHealth]]
    """Of the EHRs that were asked so far, by code."""
    cache_bytes: Callable[[], int]
    cache_most_bytes: int
    requests_inside: Callable[[], int]
    is_ready: Callable[[], bool]

    def families(self, emrs: Collection[str]) -> Iterable[Metric]:
        """As the library writes them, with those EHRs only."""
        conditions = {emr: each for emr, each in self.conditions().items() if emr in emrs}
        for name, description, value in _OF_EHRS:
            family = GaugeMetricFamily(name, description, labels=("emr",))
            for emr, condition in conditions.items():
                family.add_metric((emr,), value(condition))
            yield family
        yield GaugeMetricFamily("gateway_cache_bytes", "Bytes that are remembered.", self.cache_bytes())
        yield GaugeMetricFamily("gateway_cache_max_bytes", "Bytes that may be remembered.", self.cache_most_bytes)
        yield GaugeMetricFamily(
            "gateway_requests_inside", "Requests that are being answered now.", self.requests_inside()
        )
        yield GaugeMetricFamily("gateway_ready", "1 until the gateway is told to stop, then 0.", float(self.is_ready()))


_OF_EHRS: tuple[tuple[str, str, Callable[[UpstreamHealth], float]], ...] = (
    (
        "gateway_breaker_open",
        "Whether an EHR's circuit breaker lets no calls through: 1 open, 0.5 half-open, 0 closed.",
        lambda condition: _OPEN[condition.breaker],
    ),
    ("gateway_gate_limit", "Calls to an EHR that may be in flight.", lambda condition: condition.limit),
    ("gateway_gate_in_flight", "Calls to an EHR that are in flight.", lambda condition: condition.in_flight),
    ("gateway_gate_waiting", "Calls to an EHR that wait for their turn.", lambda condition: condition.waiting),
)


UNKNOWN = "unknown"
"""The operation of a request that came to no choice of one, or whose answer was kept whole."""
_OUTCOMES: tuple[str, ...] = get_args(Outcome)
_OPERATIONS = ("query", "mutation", "subscription", UNKNOWN)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics(Collector):
    """Told of requests inside the loop, by one thread; collected from any.

    `emrs` are the codes of the configured EHRs. What a label does not know is counted as `other`. `upstream` is the
    observer of the calls to Leyr, `registry` what a scrape is made from.
    """

    def __init__(self, emrs: Iterable[str]) -> None:
        self._emrs = tuple(emrs)
        self.upstream = UpstreamMetrics(self._emrs)
        self._gauges: Gauges | None = None
        self._operations = Counters(
            "gateway_operations_total",
            "Operations by what became of them.",
            {"outcome": _OUTCOMES, "operation": _OPERATIONS},
        )
        self._refusals = Counters(
            "gateway_refusals_total",
            "Requests that were turned away before they became operations, by error code.",
            {"code": error_codes()},
        )
        self._seconds = Histograms(
            "gateway_operation_seconds",
            "Time from a request's head to the end of its answer.",
            {"outcome": _OUTCOMES},
            _SECONDS,
        )
        self._overhead = Histograms(
            "gateway_overhead_seconds",
            "The part of that time in which nothing upstream was awaited.",
            {},
            _OVERHEAD_SECONDS,
        )
        self._reads = Counters(
            "gateway_reads_total", "Lists that answers needed, by where they came from.", {"origin": CacheStatus}
        )
        self._merged = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def answered(
        self,
        *,
        outcome: Outcome,
        operation: str | None,
        seconds: float,
        waited_seconds: float = 0.0,
        reads: Mapping[CacheStatus, int],
        asked: int = 0,
    ) -> None:
        """An operation was answered.

        `waited_seconds` is how much of its time it waited for upstream, `reads` how many lists came from where, and
        `asked` how many its fields asked for, where that is known.
        """
        self._operations.add((outcome, operation or UNKNOWN))
        self._seconds.observe((outcome,), seconds)
        self._overhead.observe((), max(0.0, seconds - waited_seconds))
        for origin, count in reads.items():
            self._reads.add((origin,), count)
        # What failed was asked for and not read, so only where all went well is the rest known to be merged.
        if asked and outcome == "ok":
            self._merged += max(0, asked - sum(reads.values()))

    def refused(self, code: str) -> None:
        """A request was turned away before it became an operation."""
        self._refusals.add((code,))

    def watch(self, gauges: Gauges) -> None:
        """Tell of these from now on, which are made after those that are given the observer."""
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """All families, as the library writes them."""
        for each in (self._operations, self._refusals, self._seconds, self._overhead, self._reads):
            yield each.family()
        yield self._saved()
        yield from self.upstream.families()
        if self._gauges is not None:
            yield from self._gauges.families(self._emrs)

    def _saved(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "gateway_reads_saved_total", "Lists that were needed and took no call of their own.", labels=("how",)
        )
        family.add_metric(("merged",), self._merged)
        # What is stale is shown at once and fetched all the same.
        for origin in (CacheStatus.JOINED, CacheStatus.CACHED):
            family.add_metric((origin,), self._reads.total((origin,)))
        return family


_OPEN_METRICS = "application/openmetrics-text"
_NOT_KEPT = {"cache-control": "no-store"}


def metrics_app(metrics: Metrics) -> ASGIApp:
    """An ASGI application that answers GET and HEAD of `/metrics`, in OpenMetrics where the client takes it."""

    async def scraped(request: Request) -> Response:
        # The library would repeat the version that a client names, or fail where it is none.
        encode, media_type = choose_encoder(f"{_OPEN_METRICS};version=1.0.0" if _takes_open_metrics(request) else "")
        return Response(encode(metrics.registry), headers={"content-type": media_type, **_NOT_KEPT})

    # A redirect would be built from the Host header, which is the client's to choose.
    return Router([Route("/metrics", scraped)], redirect_slashes=False)


def _takes_open_metrics(request: Request) -> bool:
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(_takes(each) for each in ranges)


def _takes(media_range: str) -> bool:
    """Whether one range of an Accept header is OpenMetrics in a version that is spoken here."""
    kind, *parameters = (part.strip() for part in media_range.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    is_refused = not named.get("q", "1").strip("0.")
    return kind == _OPEN_METRICS and not is_refused and named.get("version", "1.0.0") == "1.0.0"
