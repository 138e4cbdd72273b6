"""How things stand at the moment when they are asked for."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth

_OPEN = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0}


@dataclass(frozen=True, slots=True)
class States:
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
