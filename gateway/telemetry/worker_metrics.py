"""The metrics of several workers as one: each tells its own, and the parent adds them up.

A counter of a worker that has ended stays in the sum, so that no counter ever falls. What a worker counted after it was
last asked, and before it died, is lost.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, Sample
from prometheus_client.registry import Collector

from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth
from gateway.telemetry.metrics import Metrics

_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a sample, and its labels."""
_Numbers: TypeAlias = dict[_Series, float]
_Rule: TypeAlias = Callable[[Iterable[float]], float]

_COUNTS = frozenset({"counter", "histogram"})
# Of gauges; others are summed. The same journal is open in all, and of files the process that has fewest left counts.
_RULES: Mapping[str, _Rule] = {
    "gateway_breaker_open": max,
    "gateway_journal_bytes": max,
    "process_max_fds": min,
    "process_open_fds": max,
    "process_start_time_seconds": min,
}
# The parent serves nobody, and has no cache to fill.
_OF_WORKERS = frozenset({"gateway_cache_bytes", "gateway_cache_max_bytes"})
_WORSE = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


class _Report(msgspec.Struct, array_like=True, frozen=True):
    """What a worker tells of itself; of counters only the series that have counted, since the parent knows them all."""

    is_stopping: bool
    health: dict[str, UpstreamHealth]
    samples: dict[str, list[tuple[str, dict[str, str], float]]]

    def numbers(self, family: str) -> _Numbers:
        return {_series(name, labels): value for name, labels, value in self.samples.get(family, ())}


def report_of(metrics: Metrics) -> bytes:
    """What a worker tells of its metrics."""
    samples = {}
    for family in metrics.registry.collect():
        told = _counted(family.samples) if family.type in _COUNTS else family.samples
        samples[family.name] = [(each.name, each.labels, each.value) for each in told]
    return msgspec.msgpack.encode(_Report(metrics.is_stopping(), dict(metrics.health()), samples))


def _counted(samples: Sequence[Sample]) -> list[Sample]:
    """The series that have counted; of a histogram all buckets or none, so that they stay in order."""
    counted = {_owner(each) for each in samples if each.value}
    return [each for each in samples if _owner(each) in counted]


def _owner(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(label for label in sample.labels.items() if label[0] != "le")


def _series(name: str, labels: Mapping[str, str]) -> _Series:
    return name, tuple(labels.items())


class WorkerMetrics(Collector):
    """The sum of what the workers told last; `registry` is what a scrape reads.

    `own` are the parent's, who knows every series; `alive` says how many workers there are, `deaths` how many died.
    """

    def __init__(self, own: Metrics, alive: Callable[[], int], deaths: Callable[[], int]) -> None:
        self._own = own
        self._alive, self._deaths = alive, deaths
        self._reports: dict[int, _Report] = {}
        self._ended: dict[str, _Numbers] = {}
        self.emrs = own.emrs
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def learn(self, process: int, told: bytes) -> None:
        """Take what a process told instead of what it told before."""
        self._reports[process] = msgspec.msgpack.decode(told, type=_Report)

    def end(self, process: int) -> None:
        """Keep what a process that ended has counted."""
        report = self._reports.pop(process, None)
        if report is not None:
            for family in self._own.registry.collect():
                if family.type in _COUNTS:
                    self._ended[family.name] = _sums((self._ended.get(family.name, {}), report.numbers(family.name)))

    def is_stopping(self) -> bool:
        """Whether requests should go elsewhere: one is told to stop, or there is no worker."""
        told = any(each.is_stopping for each in self._reports.values())
        return told or self._own.is_stopping() or not self._alive()

    def health(self) -> Mapping[str, UpstreamHealth]:
        """The health of each EHR as the worker has it to which it is the worst."""
        found: dict[str, UpstreamHealth] = {}
        for report in self._reports.values():
            for emr, health in report.health.items():
                found[emr] = max(found.get(emr, health), health, key=_badness)
        return found

    def collect(self) -> Iterator[Metric]:
        """All metrics in the library's form."""
        for family in self._own.registry.collect():
            numbers = self._summed(family) if family.type in _COUNTS else self._gauges(family)
            merged = Metric(family.name, family.documentation, family.type)
            merged.samples = [Sample(name, dict(labels), value) for (name, labels), value in numbers.items()]
            yield merged
        yield GaugeMetricFamily("gateway_workers", "Workers that there are.", self._alive())
        yield CounterMetricFamily(
            "gateway_worker_deaths_total", "Workers that ended without being told to.", self._deaths()
        )

    def _summed(self, family: Metric) -> _Numbers:
        told = (each.numbers(family.name) for each in self._reports.values())
        return _sums((_numbers(family), self._ended.get(family.name, {}), *told))

    def _gauges(self, family: Metric) -> _Numbers:
        if family.name == "gateway_ready":
            return dict.fromkeys(_numbers(family), float(not self.is_stopping()))
        told = [each.numbers(family.name) for each in self._reports.values()]
        values: dict[_Series, list[float]] = {}
        for numbers in told if family.name in _OF_WORKERS else (_numbers(family), *told):
            for series, value in numbers.items():
                values.setdefault(series, []).append(value)
        rule = _RULES.get(family.name, sum)
        return {series: rule(each) for series, each in values.items()}


def _numbers(family: Metric) -> _Numbers:
    return {_series(each.name, each.labels): each.value for each in family.samples}


def _sums(numbers: Iterable[_Numbers]) -> _Numbers:
    sums: _Numbers = {}
    for each in numbers:
        for series, value in each.items():
            sums[series] = sums.get(series, 0) + value
    return sums


def _badness(health: UpstreamHealth) -> tuple[int, float, bool]:
    return _WORSE.index(health.breaker), health.retry_after or 0, health.failure is not None
