"""The Prometheus metrics of the gateway, in a registry of their own, and the endpoint `/metrics`."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from gateway.auth.rate_limit import Limit
from gateway.fetch.fetch_scope import CacheStatus, IncompleteReason
from gateway.http.health import readyz
from gateway.http.request_context import RequestOutcome, RequestRecord
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import CallEvents, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.client import ENDPOINTS
from gateway.leyr.resilience import UpstreamHealth
from gateway.telemetry.booking_metrics import BookingMetrics
from gateway.telemetry.instruments import Counters, Histograms, error_codes
from gateway.telemetry.shared_store_metrics import SharedStoreMetrics

_OPEN = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}
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


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where to read the gauges: by the scrape's thread, while the event loop goes on.

    `health` is that of the EHRs that were called so far, by code.
    """

    health: Callable[[], Mapping[str, UpstreamHealth]]
    cache_bytes: Callable[[], int]
    cache_max_bytes: int
    active_requests: Callable[[], int]
    limits_reached: Callable[[], Mapping[Limit, int]]
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
        reached = CounterMetricFamily(
            "gateway_limits_reached_total", "Requests and fields that a limit on load rejected.", labels=("limit",)
        )
        counts = self.limits_reached()
        for limit in Limit:
            reached.add_metric((limit,), counts[limit])
        yield reached
        yield GaugeMetricFamily("gateway_ready", "1 until the gateway is told to stop, then 0.", float(self.is_ready()))


UNKNOWN = "unknown"
"""The operation type of a request whose document chose none, or whose response came from the cache."""
_OUTCOMES: tuple[str, ...] = get_args(RequestOutcome)
_OPERATIONS = ("query", "mutation", "subscription", UNKNOWN)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# Leyr calls an EHR, which takes from some ten milliseconds to many seconds.
_UPSTREAM_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A rejected attempt is counted by the reason instead.
_RESULTS = [result for result in CallResult if result is not CallResult.TURNED_AWAY]


_DESCRIPTIONS = {
    "gateway_operations_total": "Operations by what became of them.",
    "gateway_refusals_total": "Requests that were turned away before they became operations, by error code.",
    "gateway_operation_seconds": "Time from a request's head to the end of its answer.",
    "gateway_overhead_seconds": "The part of that time in which nothing upstream was awaited.",
    "gateway_reads_total": "Lists that answers needed, by where they came from.",
    "gateway_incomplete_answers_total": "Answers with lists that lack something without an error, by why.",
    "gateway_upstream_calls_total": "Requests sent to Leyr, each attempt by itself.",
    "gateway_upstream_seconds": "Time from sending a request to Leyr to its outcome.",
    "gateway_upstream_unreachable_total": "Requests that did not reach Leyr, or whose connection broke, by why.",
    "gateway_upstream_turned_away_total": "Requests that were not sent to Leyr, each attempt by itself.",
    "gateway_upstream_retries_total": "Calls to Leyr that were tried again.",
    "gateway_breaker_openings_total": "Times that an EHR's circuit breaker opened, or opened again.",
}


def _counters(name: str, labels: Mapping[str, Iterable[str]]) -> Counters:
    return Counters(name, _DESCRIPTIONS[name], labels)


def _histograms(name: str, labels: Mapping[str, Iterable[str]], bounds: Sequence[float]) -> Histograms:
    return Histograms(name, _DESCRIPTIONS[name], labels, bounds)


class Metrics(CallEvents, Collector):
    """Counts and times requests and calls to Leyr; written by the event loop, collected from any thread.

    `emrs` are the codes of the configured EHRs; `registry` is what a scrape reads.
    """

    def __init__(self, emrs: Iterable[str], log_lines_lost: Callable[[], int] = int) -> None:
        self._log_lines_lost = log_lines_lost
        self.emrs: Sequence[str] = tuple(emrs)
        self._gauges: Gauges | None = None
        self._merged = 0
        emr = {"emr": self.emrs}
        call = {**emr, "endpoint": ENDPOINTS}
        self._operations = _counters("gateway_operations_total", {"outcome": _OUTCOMES, "operation": _OPERATIONS})
        self._refusals = _counters("gateway_refusals_total", {"code": error_codes()})
        self._seconds = _histograms("gateway_operation_seconds", {"outcome": _OUTCOMES}, _SECONDS)
        self._overhead = _histograms("gateway_overhead_seconds", {}, _OVERHEAD_SECONDS)
        self._reads = _counters("gateway_reads_total", {"origin": CacheStatus})
        self._incomplete = _counters("gateway_incomplete_answers_total", {**call, "reason": IncompleteReason})
        self._calls = _counters("gateway_upstream_calls_total", {**call, "outcome": _RESULTS})
        self._call_seconds = _histograms("gateway_upstream_seconds", call, _UPSTREAM_SECONDS)
        self._unreachable = _counters("gateway_upstream_unreachable_total", {**emr, "kind": FailureKind})
        self._turned_away = _counters("gateway_upstream_turned_away_total", {**emr, "reason": Rejection})
        self._retries = _counters("gateway_upstream_retries_total", emr)
        self._openings = _counters("gateway_breaker_openings_total", emr)
        self.bookings = BookingMetrics(self.emrs)
        self.shared = SharedStoreMetrics()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def finished(self, request: RequestRecord) -> None:
        """Count the request, and time it if it became an operation."""
        if request.rejection is not None:
            self._refusals.add((request.rejection,))
            return
        outcome, seconds, reads = request.outcome, request.seconds, request.reads
        self._operations.add((outcome, request.operation_type or UNKNOWN))
        self._seconds.observe((outcome,), seconds)
        self._overhead.observe((), max(0.0, seconds - request.upstream_seconds))
        for origin, count in reads.items():
            self._reads.add((origin,), count)
        for each in request.incomplete:
            # Metrics know endpoints by the names of the client's methods.
            self._incomplete.add((each.emr, each.endpoint.replace("-", "_"), each.reason))
        # A list whose read failed was needed and not read, so the rest is known to be merged only if nothing failed.
        if request.lists_needed and outcome == "ok":
            self._merged += max(0, request.lists_needed - sum(reads.values()))

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """Count and time an attempt."""
        self._calls.add((emr, endpoint, result))
        self._call_seconds.observe((emr, endpoint), seconds)

    def unreachable(self, emr: str, endpoint: str, failure: FailureKind) -> None:  # noqa: ARG002 # the base's signature
        """Count an attempt that did not reach Leyr."""
        self._unreachable.add((emr, failure))

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the base's signature
        """Count a rejected attempt."""
        self._turned_away.add((emr, reason))

    def retried(self, emr: str) -> None:
        """Count a retry."""
        self._retries.add((emr,))

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        """Count the openings of a breaker, which may open and close between two scrapes."""
        if state is BreakerState.OPEN:
            self._openings.add((emr,))

    def watch(self, gauges: Gauges) -> None:
        """Add gauges; what they read is made later than the metrics."""
        self._gauges = gauges

    def is_stopping(self) -> bool:
        """Whether the gateway is told to stop."""
        return self._gauges is not None and not self._gauges.is_ready()

    def health(self) -> Mapping[str, UpstreamHealth]:
        """The health of the EHRs that were called so far, by code."""
        return {} if self._gauges is None else self._gauges.health()

    def collect(self) -> Iterable[Metric]:
        """All metrics in the library's form."""
        for each in (
            self._operations,
            self._refusals,
            self._seconds,
            self._overhead,
            self._reads,
            self._incomplete,
        ):
            yield each.family()
        saved = CounterMetricFamily(
            "gateway_reads_saved_total", "Lists that were needed and took no call of their own.", labels=("how",)
        )
        saved.add_metric(("merged",), self._merged)
        # Not STALE: stale data are given at once, but they are fetched again.
        for origin in (CacheStatus.JOINED, CacheStatus.SHARED, CacheStatus.CACHED):
            saved.add_metric((origin,), self._reads.total((origin,)))
        yield saved
        for each in (
            self._calls,
            self._call_seconds,
            self._unreachable,
            self._turned_away,
            self._retries,
            self._openings,
        ):
            yield each.family()
        yield from self.bookings.families()
        yield from self.shared.families()
        yield CounterMetricFamily(
            "gateway_log_lines_lost_total", "Lines of the log that nobody read in time.", self._log_lines_lost()
        )
        if self._gauges is not None:
            yield from self._gauges.families(self.emrs)


_OPEN_METRICS = "application/openmetrics-text"


class Scraped(Protocol):
    """What a scrape reads: the metrics of this process, or of all workers."""

    registry: CollectorRegistry
    emrs: Sequence[str]

    def is_stopping(self) -> bool:
        """Whether the gateway is told to stop."""
        ...

    def health(self) -> Mapping[str, UpstreamHealth]:
        """The health of the EHRs that were called so far, by code."""
        ...


def metrics_app(metrics: Scraped, refresh: Callable[[], Awaitable[None]] | None = None) -> ASGIApp:
    """Make the ASGI application of the metrics' port: `/metrics`, and `/readyz` with the health of each EHR.

    `/metrics` answers in OpenMetrics if the client accepts it. `refresh` is awaited before each answer.
    """

    async def scrape(request: Request) -> Response:
        if refresh is not None:
            await refresh()
        # The library would repeat the version that a client names, or fail if that is invalid.
        ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
        accept = f"{_OPEN_METRICS};version=1.0.0" if any(map(_is_open_metrics, ranges)) else ""
        encode, media_type = choose_encoder(accept)
        return Response(encode(metrics.registry), headers={"content-type": media_type, "cache-control": "no-store"})

    # A redirect would be built from the Host header, which is the client's to choose.
    ready = readyz(metrics.is_stopping, metrics.emrs, metrics.health, refresh)
    return Router([Route("/metrics", scrape), Route("/readyz", ready)], redirect_slashes=False)


def _is_open_metrics(media_range: str) -> bool:
    """Whether one range of an Accept header is OpenMetrics in a version that the gateway writes."""
    kind, *parameters = (part.strip() for part in media_range.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    is_refused = not named.get("q", "1").strip("0.")
    return kind == _OPEN_METRICS and not is_refused and named.get("version", "1.0.0") == "1.0.0"
