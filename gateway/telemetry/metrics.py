"""The Prometheus metrics of the gateway, in a registry of their own, and the endpoint `/metrics`."""

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
from gateway.http.request_context import RequestOutcome, RequestRecord
from gateway.leyr.call_events import ENDPOINTS, CallEvents, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth
from gateway.telemetry.instruments import Counters, Histograms, error_codes

# Leyr calls an EHR, which takes from some ten milliseconds to many seconds.
_UPSTREAM_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class UpstreamMetrics(CallEvents):
    """The CallEvents that count calls to Leyr; `emrs` are the codes of the configured EHRs."""

    def __init__(self, emrs: Iterable[str]) -> None:
        emr = {"emr": tuple(emrs)}
        call = {**emr, "endpoint": ENDPOINTS}
        # A rejected attempt is counted by the reason instead.
        results = [result for result in CallResult if result is not CallResult.TURNED_AWAY]
        self._calls = Counters(
            "gateway_upstream_calls_total",
            "Requests sent to Leyr, each attempt by itself.",
            {**call, "outcome": results},
        )
        self._seconds = Histograms(
            "gateway_upstream_seconds", "Time from sending a request to Leyr to its outcome.", call, _UPSTREAM_SECONDS
        )
        self._rejected = Counters(
            "gateway_upstream_turned_away_total",
            "Requests that were not sent to Leyr, each attempt by itself.",
            {**emr, "reason": Rejection},
        )
        self._retries = Counters("gateway_upstream_retries_total", "Calls to Leyr that were tried again.", emr)
        self._openings = Counters(
            "gateway_breaker_openings_total", "Times that an EHR's circuit breaker opened, or opened again.", emr
        )

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """Count and time an attempt."""
        self._calls.add((emr, endpoint, result))
        self._seconds.observe((emr, endpoint), seconds)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the base's signature
        """Count a rejected attempt."""
        self._rejected.add((emr, reason))

    def retried(self, emr: str) -> None:
        """Count a retry."""
        self._retries.add((emr,))

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        """Count the openings of a breaker, which may open and close between two scrapes."""
        if state is BreakerState.OPEN:
            self._openings.add((emr,))

    def families(self) -> Iterable[Metric]:
        """The library's form of the metrics."""
        for each in (self._calls, self._seconds, self._rejected, self._retries, self._openings):
            yield each.family()


_OPEN = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where to read the gauges: by the scrape's thread, while the event loop goes on.

    `health` is that of the EHRs that were called so far, by code.
    """

    health: Callable[[], Mapping[str, UpstreamHealth]]
    cache_bytes: Callable[[], int]
    cache_max_bytes: int
    active_requests: Callable[[], int]
    is_ready: Callable[[], bool]

    def families(self, emrs: Collection[str]) -> Iterable[Metric]:
        """The library's form of the gauges, for these EHRs only."""
        healths = {emr: health for emr, health in self.health().items() if emr in emrs}
        for name, description, value in _EHR_GAUGES:
            family = GaugeMetricFamily(name, description, labels=("emr",))
            for emr, health in healths.items():
                family.add_metric((emr,), value(health))
            yield family
        yield GaugeMetricFamily("gateway_cache_bytes", "Bytes that are remembered.", self.cache_bytes())
        yield GaugeMetricFamily("gateway_cache_max_bytes", "Bytes that may be remembered.", self.cache_max_bytes)
        yield GaugeMetricFamily(
            "gateway_requests_inside", "Requests that are being answered now.", self.active_requests()
        )
        yield GaugeMetricFamily("gateway_ready", "1 until the gateway is told to stop, then 0.", float(self.is_ready()))


_EHR_GAUGES: tuple[tuple[str, str, Callable[[UpstreamHealth], float]], ...] = (
    (
        "gateway_breaker_open",
        "Whether an EHR's circuit breaker lets no calls through: 1 open, 0.5 half-open, 0 closed.",
        lambda health: _OPEN[health.breaker],
    ),
    ("gateway_gate_limit", "Calls to an EHR that may be in flight.", lambda health: health.limit),
    ("gateway_gate_in_flight", "Calls to an EHR that are in flight.", lambda health: health.in_flight),
    ("gateway_gate_waiting", "Calls to an EHR that wait for their turn.", lambda health: health.waiting),
)


UNKNOWN = "unknown"
"""The operation type of a request whose document chose none, or whose response came from the cache."""
_OUTCOMES: tuple[str, ...] = get_args(RequestOutcome)
_OPERATIONS = ("query", "mutation", "subscription", UNKNOWN)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics(Collector):
    """The RequestEvents that counts and times requests; written by the event loop, collected from any thread.

    `emrs` are the codes of the configured EHRs. `upstream` gets the call events; `registry` is what a scrape reads.
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
        self._rejections = Counters(
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

    def finished(self, request: RequestRecord) -> None:
        """Count the request, and time it if it became an operation."""
        if request.rejection is not None:
            self._rejections.add((request.rejection,))
            return
        outcome, seconds, reads = request.outcome, request.seconds, request.reads
        self._operations.add((outcome, request.operation_type or UNKNOWN))
        self._seconds.observe((outcome,), seconds)
        self._overhead.observe((), max(0.0, seconds - request.upstream_seconds))
        for origin, count in reads.items():
            self._reads.add((origin,), count)
        # A list whose read failed was needed and not read, so the rest is known to be merged only if nothing failed.
        if request.lists_needed and outcome == "ok":
            self._merged += max(0, request.lists_needed - sum(reads.values()))

    def watch(self, gauges: Gauges) -> None:
        """Add gauges; what they read is made later than the metrics."""
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """All metrics in the library's form."""
        for each in (self._operations, self._rejections, self._seconds, self._overhead, self._reads):
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
        # Not STALE: stale data are given at once, but they are fetched again.
        for origin in (CacheStatus.JOINED, CacheStatus.CACHED):
            family.add_metric((origin,), self._reads.total((origin,)))
        return family


_OPEN_METRICS = "application/openmetrics-text"
_NO_STORE = {"cache-control": "no-store"}


def metrics_app(metrics: Metrics) -> ASGIApp:
    """Make the ASGI application of `/metrics`, which answers in OpenMetrics if the client accepts it."""

    async def scrape(request: Request) -> Response:
        # The library would repeat the version that a client names, or fail if that is invalid.
        accept = f"{_OPEN_METRICS};version=1.0.0" if _accepts_open_metrics(request) else ""
        encode, media_type = choose_encoder(accept)
        return Response(encode(metrics.registry), headers={"content-type": media_type, **_NO_STORE})

    # A redirect would be built from the Host header, which is the client's to choose.
    return Router([Route("/metrics", scrape)], redirect_slashes=False)


def _accepts_open_metrics(request: Request) -> bool:
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(_is_open_metrics(each) for each in ranges)


def _is_open_metrics(media_range: str) -> bool:
    """Whether one range of an Accept header is OpenMetrics in a version that the gateway writes."""
    kind, *parameters = (part.strip() for part in media_range.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    is_refused = not named.get("q", "1").strip("0.")
    return kind == _OPEN_METRICS and not is_refused and named.get("version", "1.0.0") == "1.0.0"
