"""Counters and histograms that cost a fraction of a microsecond for each event, with labels from closed sets.

Those of prometheus_client take a lock for each number, and add a `_created` series, which only a global switch turns
off. With all their series at hand, a warm identical answer over HTTP took 3 microseconds more, which is 1.03 to 1.07 of
its processor time. Here one thread, the event loop's, writes plain numbers, and a scrape turns them into the library's
families.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from gateway.domain import errors

OTHER = "other"
"""The label of any value that is not in a label's set."""


def error_codes(root: type[errors.GatewayError] = errors.GatewayError) -> list[str]:
    """The codes of an error class and its subclasses: the closed set that labels failures."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted({kind.code for kind in kinds if issubclass(kind, root)})


class _Instrument:
    """A metric, and the known values of its labels.

    A series exists for each combination from the start, so that a scrape sees the first event as an increase.
    """

    def __init__(self, name: str, description: str, labels: Mapping[str, Iterable[str]]) -> None:
        self._name = name
        self._description = description
        self._labels = tuple(labels)
        # Members of a StrEnum are found by their value.
        self._known = [dict.fromkeys(map(str, values)) for values in labels.values()]

    def _closed(self, values: Sequence[str]) -> tuple[str, ...]:
        """The values, with OTHER for each that is not known."""
        return tuple(value if value in known else OTHER for value, known in zip(values, self._known, strict=True))


class Counters(_Instrument):
    """Counts events; `labels` maps names to all the values that each may take."""

    def __init__(self, name: str, description: str, labels: Mapping[str, Iterable[str]]) -> None:
        super().__init__(name, description, labels)
        self._counts = dict.fromkeys(product(*self._known), 0)

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """Count events under these labels."""
        try:
            self._counts[labels] += count
        except KeyError:
            closed = self._closed(labels)
            self._counts[closed] = self._counts.get(closed, 0) + count

    def total(self, labels: tuple[str, ...]) -> int:
        """The number of events under these labels."""
        return self._counts.get(labels, 0)

    def family(self) -> CounterMetricFamily:
        """The library's form of the metric; may be called from any thread."""
        family = CounterMetricFamily(self._name, self._description, labels=self._labels)
        # list() is atomic, so that the loop's thread adds no series meanwhile.
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        return family


class Histograms(_Instrument):
    """Measures seconds; `bounds` are the upper bounds of the buckets, ascending and inclusive."""

    def __init__(
        self, name: str, description: str, labels: Mapping[str, Iterable[str]], bounds: Sequence[float]
    ) -> None:
        super().__init__(name, description, labels)
        self._bounds = tuple(bounds)
        self._upper = (*map(str, bounds), "+Inf")
        self._buckets = {each: _Buckets([0] * len(self._upper)) for each in product(*self._known)}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count an event that took `seconds`."""
        try:
            buckets = self._buckets[labels]
        except KeyError:
            buckets = self._buckets.setdefault(self._closed(labels), _Buckets([0] * len(self._upper)))
        buckets.counts[bisect_left(self._bounds, seconds)] += 1
        buckets.seconds += seconds

    def family(self) -> HistogramMetricFamily:
        """The library's form of the metric; may be called from any thread."""
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        for labels, buckets in list(self._buckets.items()):
            # The count is the last bucket's, so the two agree even if an event comes in between.
            cumulative = accumulate(buckets.counts)
            family.add_metric(labels, list(zip(self._upper, cumulative, strict=True)), buckets.seconds)
        return family


@dataclass(slots=True)
class _Buckets:
    """Counts each event in one bucket only; a scrape makes them cumulative."""

    counts: list[int]
    seconds: float = 0.0
