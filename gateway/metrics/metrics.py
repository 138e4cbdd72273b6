"""Everything that is counted and measured, in one registry of its own."""

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.trail import Outcome, error_codes
from gateway.metrics.series import Counters, Histograms
from gateway.metrics.states import States
from gateway.metrics.upstream import UpstreamMetrics

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
        self._states: States | None = None
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
            "gateway_reads_total", "UnitLists that answers needed, by where they came from.", {"origin": CacheStatus}
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

    def watch(self, states: States) -> None:
        """Tell of these from now on, which are made after those that are given the observer."""
        self._states = states

    def collect(self) -> Iterable[Metric]:
        """All families, as the library writes them."""
        for each in (self._operations, self._refusals, self._seconds, self._overhead, self._reads):
            yield each.family()
        yield self._saved()
        yield from self.upstream.families()
        if self._states is not None:
            yield from self._states.families(self._emrs)

    def _saved(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "gateway_reads_saved_total", "UnitLists that were needed and took no call of their own.", labels=("how",)
        )
        family.add_metric(("merged",), self._merged)
        # What is stale is shown at once and fetched all the same.
        for origin in (CacheStatus.JOINED, CacheStatus.CACHED):
            family.add_metric((origin,), self._reads.total((origin,)))
        return family
