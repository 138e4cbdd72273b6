"""What becomes of the calls to Leyr."""

from collections.abc import Iterable

from prometheus_client.core import Metric

from gateway.leyr.call_events import ENDPOINTS, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.metrics.series import Counters, Histograms

# Leyr asks an EHR behind it, which takes from some ten milliseconds to many seconds.
_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class UpstreamMetrics:
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

    def attempt(self, emr: str, endpoint: str, outcome: CallResult, seconds: float) -> None:
        """See CallEvents."""
        self._calls.add((emr, endpoint, outcome))
        self._seconds.observe((emr, endpoint), seconds)

    def turned_away(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the protocol's signature
        """See CallEvents."""
        self._turned_away.add((emr, reason))

    def retried(self, emr: str) -> None:
        """See CallEvents."""
        self._retries.add((emr,))

    def breaker(self, emr: str, state: BreakerState) -> None:
        """See CallEvents; between two scrapes a breaker may open and close."""
        if state is BreakerState.OPEN:
            self._openings.add((emr,))

    def gate(self, emr: str, limit: int) -> None:
        """See CallEvents; what matters is the limit at the time of a scrape."""

    def families(self) -> Iterable[Metric]:
        """As the library writes them."""
        for each in (self._calls, self._seconds, self._turned_away, self._retries, self._openings):
            yield each.family()
