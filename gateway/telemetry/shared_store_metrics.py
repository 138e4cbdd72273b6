"""What Prometheus is told of the shared store: whether it answers, how fast, what it refuses, and what it saves."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.shared_store.errors import REFUSALS, AwayReason
from gateway.shared_store.reads import ReadOutcome, SharedRead
from gateway.telemetry.instruments import Counters, Histograms

_SECONDS: Sequence[float] = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
# What this process says of a call that it did not send, and of a server whose clock was set.
_OWN_REFUSALS = ("FULL", "CLOCK")


class SharedStoreMetrics:
    """Counts and times what is done with the shared store; there are none until `begin`."""

    def __init__(self) -> None:
        self._is_shared = False
        self._is_up = False
        self._away = Counters(
            "gateway_shared_store_away_total",
            "Connections to the shared store that failed or were lost, by why.",
            {"reason": AwayReason},
        )
        self._refused = Counters(
            "gateway_shared_store_refused_total",
            "Commands that the shared store answered with an error, by its kind; FULL: not sent; CLOCK: it was set.",
            {"kind": (*REFUSALS, *_OWN_REFUSALS)},
        )
        self._garbage = Counters(
            "gateway_shared_store_garbage_total",
            "Values in the shared store that no process with this secret wrote there.",
            {},
        )
        self._seconds = Histograms(
            "gateway_shared_store_seconds", "How long each answer of the shared store took.", {}, _SECONDS
        )
        self._reads = Counters(
            "gateway_shared_reads_total",
            "Looks into the shared store before a call to Leyr, by what was looked for and what came of it.",
            {"what": SharedRead, "outcome": ReadOutcome},
        )

    def begin(self) -> None:
        """A store is configured."""
        self._is_shared = True

    def up(self) -> None:
        """The store answers."""
        self._is_up = True

    def away(self, reason: AwayReason) -> None:
        """The store does not answer, or a connection to it failed."""
        self._is_up = False
        self._away.add((reason,))

    def refused(self, kind: str) -> None:
        """Count an error."""
        self._refused.add((kind,))

    def garbage(self) -> None:
        """Count a value that does not open."""
        self._garbage.add(())

    def answered(self, seconds: float) -> None:
        """Time an answer."""
        self._seconds.observe((), seconds)

    def shared_read(self, what: SharedRead, outcome: ReadOutcome) -> None:
        """Count a look into the store."""
        self._reads.add((what, outcome))

    def families(self) -> Iterator[Metric]:
        """All of them in the library's form."""
        if self._is_shared:
            up = "1 while the shared store answers, else 0."
            yield GaugeMetricFamily("gateway_shared_store_up", up, float(self._is_up))
            for each in (self._away, self._refused, self._garbage, self._seconds, self._reads):
                yield each.family()
