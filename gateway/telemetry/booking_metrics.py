"""What Prometheus is told of bookings: by EHR, step and outcome, unknown ones apart, and of the journal."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.booking.caller_bookings import OUTCOMES, BookingEvent
from gateway.domain.booking import BookingStep
from gateway.telemetry.instruments import Counters, Histograms

_UNKNOWN = "outcome_unknown"
_SECONDS: Sequence[float] = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_JOURNAL_SECONDS: Sequence[float] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class BookingMetrics:
    """Counts and times bookings, and the journal's operations."""

    def __init__(self, emrs: Iterable[str]) -> None:
        emr, step = {"emr": tuple(emrs)}, {"step": BookingStep}
        self._bookings = Counters(
            "gateway_bookings_total",
            "Requests to book or to change an appointment, without those that got an earlier outcome again.",
            {**emr, **step, "outcome": [each for each in OUTCOMES if each != _UNKNOWN]},
        )
        self._unknown = Counters(
            "gateway_bookings_unknown_total", "Those of which it was not known what became of them.", {**emr, **step}
        )
        self._replayed = Counters("gateway_bookings_replayed_total", "Those that got an earlier outcome again.", emr)
        self._seconds = Histograms("gateway_booking_seconds", "How long each took.", emr, _SECONDS)
        self._journal_seconds = Histograms(
            "gateway_journal_seconds", "How long each operation of the journal took.", {}, _JOURNAL_SECONDS
        )
        self.journal_bytes: Callable[[], int] | None = None
        """Says how large the journal is; None where there is none."""

    def booked(self, event: BookingEvent) -> None:
        """Count and time a request."""
        if event.is_replayed:
            self._replayed.add((event.emr,))
            return
        self._seconds.observe((event.emr,), event.seconds)
        if event.outcome == _UNKNOWN:
            self._unknown.add((event.emr, event.step))
        else:
            self._bookings.add((event.emr, event.step, event.outcome))

    def journal_took(self, seconds: float) -> None:
        """Time an operation of the journal."""
        self._journal_seconds.observe((), seconds)

    def families(self) -> Iterator[Metric]:
        """All of them in the library's form."""
        for each in (self._bookings, self._unknown, self._replayed, self._seconds, self._journal_seconds):
            yield each.family()
        if self.journal_bytes is not None:
            size = GaugeMetricFamily("gateway_journal_bytes", "What the journal takes on the disk.")
            size.add_metric((), self.journal_bytes())
            yield size
