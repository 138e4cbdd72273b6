"""Counters and histograms that cost a fraction of a microsecond each time.

The library's own take a lock at every step and tell when each series was made, which only a global switch turns off.
Here one thread, the loop's, writes plain numbers, and whoever is asked for them makes the library's form of it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

OTHER = "other"
"""Stands for any value that is not in a label's set."""


class _Labels:
    """A series for each combination of labels, there from the start so that the first event is seen as a rise."""

    def __init__(self, labels: Mapping[str, Iterable[str]]) -> None:
        self.names = tuple(labels)
        # Enumerations are strings here: their members are looked up by value all the same.
        self._known = [dict.fromkeys(map(str, values)) for values in labels.values()]

    def all(self) -> Iterable[tuple[str, ...]]:
        """Every combination of known values, in the order in which they were given."""
        return product(*self._known)

    def closed(self, values: Sequence[str]) -> tuple[str, ...]:
        """The values, each that is not known replaced."""
        return tuple(value if value in known else OTHER for value, known in zip(values, self._known, strict=True))


class Counters:
    """Counts events; `labels` are names with all the values that each may take."""

    def __init__(self, name: str, description: str, labels: Mapping[str, Iterable[str]]) -> None:
        self._name = name
        self._description = description
        self._labels = _Labels(labels)
        self._counts = dict.fromkeys(self._labels.all(), 0)

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """So many more events under these labels."""
        try:
            self._counts[labels] += count
        except KeyError:
            closed = self._labels.closed(labels)
            self._counts[closed] = self._counts.get(closed, 0) + count

    def total(self, labels: tuple[str, ...]) -> int:
        """How many there were under these labels."""
        return self._counts.get(labels, 0)

    def family(self) -> CounterMetricFamily:
        """As the library writes it; may be called from any thread."""
        family = CounterMetricFamily(self._name, self._description, labels=self._labels.names)
        # A list is made in one step, during which the loop's thread adds no series.
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        return family


class Histograms:
    """Measures seconds; `bounds` are the upper ends of the buckets, ascending and inclusive."""

    def __init__(
        self, name: str, description: str, labels: Mapping[str, Iterable[str]], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._description = description
        self._bounds = tuple(bounds)
        self._upper = (*map(str, bounds), "+Inf")
        self._labels = _Labels(labels)
        self._buckets = {each: _Buckets(len(self._upper)) for each in self._labels.all()}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """One more event that took so long."""
        try:
            buckets = self._buckets[labels]
        except KeyError:
            buckets = self._buckets.setdefault(self._labels.closed(labels), _Buckets(len(self._upper)))
        buckets.counts[bisect_left(self._bounds, seconds)] += 1
        buckets.seconds += seconds

    def family(self) -> HistogramMetricFamily:
        """As the library writes it; may be called from any thread."""
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels.names)
        for labels, buckets in list(self._buckets.items()):
            # The count is the last bucket's, so the two agree even where an event comes in between.
            rising = accumulate(buckets.counts)
            family.add_metric(labels, list(zip(self._upper, rising, strict=True)), buckets.seconds)
        return family


class _Buckets:
    """Each event is in one bucket only; they are added up when they are told."""

    __slots__ = ("counts", "seconds")

    def __init__(self, number: int) -> None:
        self.counts = [0] * number
        self.seconds = 0.0
