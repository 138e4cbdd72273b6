"""Labels from closed sets, and prometheus_client's metrics with all their series at hand.

The library takes a microsecond to find a series by its labels, and a third of one to count. So each series is made at
the start and found in a dictionary, which also lets a scrape see its first event as an increase.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import TypeVar

from prometheus_client.metrics import MetricWrapperBase

from gateway.domain import errors

OTHER = "other"
"""The label of any value that is not in a label's set."""
Instrument = TypeVar("Instrument", bound=MetricWrapperBase)


def error_codes(root: type[errors.GatewayError] = errors.GatewayError) -> list[str]:
    """The codes of an error class and its subclasses: the closed set that labels failures."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted({kind.code for kind in kinds if issubclass(kind, root)})


class Series(dict[tuple[str, ...], Instrument]):
    """The series of a metric by the values of its labels; `labels` maps names to all the values that each may take."""

    def __init__(self, metric: Instrument, labels: Mapping[str, Iterable[str]]) -> None:
        # Members of a StrEnum are found by their value.
        self._known = [dict.fromkeys(map(str, values)) for values in labels.values()]
        self._metric = metric
        # The library knows a metric without labels by itself.
        super().__init__({each: metric.labels(*each) if each else metric for each in product(*self._known)})

    def __missing__(self, values: tuple[str, ...]) -> Instrument:
        """The series with OTHER for each value that is not known."""
        closed = (value if value in known else OTHER for value, known in zip(values, self._known, strict=True))
        return self._metric.labels(*closed)
