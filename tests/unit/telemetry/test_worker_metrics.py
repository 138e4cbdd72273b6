"""The metrics of several workers as one, for any sequence of events, scrapes, deaths and replacements."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser as openmetrics

from gateway.auth.rate_limit import Limit
from gateway.http.request_context import RequestIds, RequestRecord
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth
from gateway.telemetry.metrics import Gauges, Metrics
from gateway.telemetry.worker_metrics import WorkerMetrics, report_of

EMRS = ("webdoc", "pmo")
WORKERS = range(3)
Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]
# Seconds that binary fractions hold, so that sums are the same in any order.
SECONDS = st.sampled_from([0.0, 0.0078125, 0.25, 1.5, 64.0])
EVENTS: st.SearchStrategy[Callable[[Metrics], None]] = st.one_of(
    st.builds(
        lambda code, seconds: lambda each: each.finished(RequestRecord(RequestIds("id"), 200, seconds, code)),
        st.sampled_from([None, "FORBIDDEN", "of a later version"]), SECONDS,
    ),
    st.builds(
        lambda emr, result, seconds: lambda each: each.attempt_ended(emr, "timeslots", result, seconds),
        st.sampled_from([*EMRS, "elsewhere", "further"]), st.sampled_from(CallResult), SECONDS,
    ),
    st.builds(lambda emr: lambda each: each.retried(emr), st.sampled_from(EMRS)),
    st.builds(lambda seconds: lambda each: each.bookings.journal_took(seconds), SECONDS),
)  # fmt: skip


def counts(families: Iterable[Metric]) -> Numbers:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if family.type in {"counter", "histogram"} and not family.name.startswith(("process_", "gateway_worker"))
    }


class Fleet:
    """Workers that may die, their sum, and one process that does all that they do."""

    def __init__(self) -> None:
        self.one = Metrics(EMRS)
        self.sum = WorkerMetrics(Metrics(EMRS), lambda: len(WORKERS), lambda: self.deaths)
        self.deaths = 0
        self._processes = count(1)
        self.workers = {each: (next(self._processes), Metrics(EMRS)) for each in WORKERS}

    def happens(self, worker: int, event: Callable[[Metrics], None]) -> None:
        event(self.workers[worker][1])
        event(self.one)

    def tells(self, worker: int) -> None:
        process, metrics = self.workers[worker]
        self.sum.learn(process, report_of(metrics))

    def dies(self, worker: int) -> None:
        process, _ = self.workers[worker]
        self.sum.end(process)
        self.deaths += 1
        self.workers[worker] = next(self._processes), Metrics(EMRS)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happens"), st.sampled_from(WORKERS), EVENTS),
        st.tuples(st.sampled_from(["tells", "dies", "dies untold"]), st.sampled_from(WORKERS)),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_sum_ever_falls_and_all_that_was_told_is_in_it(steps: list[tuple[Any, ...]]) -> None:
    fleet, earlier = Fleet(), Numbers()
    for name, *given_to in steps:
        if name == "dies":
            fleet.tells(*given_to)
        getattr(fleet, name.removesuffix(" untold"))(*given_to)
        later = counts(fleet.sum.collect())
        assert {each for each, value in earlier.items() if later[each] < value} == set()
        earlier = later
    for each in WORKERS:
        fleet.tells(each)

    found, expected = counts(fleet.sum.collect()), counts(fleet.one.collect())
    if all(name != "dies untold" for name, *_ in steps):
        assert found == expected
    else:
        assert {each for each, value in found.items() if value > expected[each]} == set()


@given(STEPS)
def test_a_scrape_of_the_sum_can_be_read_in_both_formats(steps: list[tuple[Any, ...]]) -> None:
    fleet = Fleet()
    for name, *given_to in steps:
        getattr(fleet, name.removesuffix(" untold"))(*given_to)

    # It refuses buckets that are out of order, and series that are not together.
    parse: Any = openmetrics.text_string_to_metric_families  # the library leaves it without types
    encode, _ = choose_encoder("application/openmetrics-text;version=1.0.0")
    written = encode(fleet.sum.registry).decode()
    assert {"gateway_upstream_seconds", "gateway_workers"} <= {family.name for family in parse(written)}


def gauges(limit: int, breaker: BreakerState, retry_after: float | None, *, is_ready: bool = True) -> Gauges:
    health = UpstreamHealth(breaker, retry_after, limit, 2, 3, FailureKind.REFUSED if retry_after else None)
    return Gauges(
        lambda: {"pmo": health}, lambda: 1_000, 5_000, lambda: 7, lambda: dict.fromkeys(Limit, 1), lambda: is_ready
    )


@pytest.fixture
def merged() -> WorkerMetrics:
    """Two workers, to one of which an EHR is not well."""
    found = WorkerMetrics(watched(gauges(64, BreakerState.CLOSED, None)), lambda: 2, lambda: 0)
    found.learn(1, report_of(watched(gauges(64, BreakerState.CLOSED, None))))
    found.learn(2, report_of(watched(gauges(8, BreakerState.OPEN, 4.0))))
    return found


def watched(gauges: Gauges) -> Metrics:
    found = Metrics(EMRS)
    found.watch(gauges)
    found.bookings.journal_bytes = lambda: 4_096
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway_breaker_open", 1.0),
        ("gateway_cache_bytes", 2_000),
        ("gateway_cache_max_bytes", 10_000),
        ("gateway_journal_bytes", 4_096),
        ("gateway_ready", 1.0),
        ("gateway_workers", 2),
    ],
)
def test_a_gauge_is_the_sum_or_the_worst(merged: WorkerMetrics, name: str, value: float) -> None:
    found = {sample.name: sample.value for family in merged.collect() for sample in family.samples}

    assert found[name] == value


def test_health_is_that_of_the_worker_to_which_an_ehr_is_the_worst(merged: WorkerMetrics) -> None:
    assert merged.health() == {"pmo": UpstreamHealth(BreakerState.OPEN, 4.0, 8, 2, 3, FailureKind.REFUSED)}


def test_gauges_of_an_ehr_are_summed_but_for_its_breaker(merged: WorkerMetrics) -> None:
    found = {sample.name: sample.value for family in merged.collect() for sample in family.samples if sample.labels}

    # The parent calls nobody, so here it stands for a third worker.
    assert (found["gateway_gate_limit"], found["gateway_gate_in_flight"]) == (64 + 64 + 8, 6)


def test_it_is_stopping_as_soon_as_one_worker_is_or_none_is_there() -> None:
    alive = 2
    merged = WorkerMetrics(Metrics(EMRS), lambda: alive, lambda: 0)
    ready, stopping = (watched(gauges(64, BreakerState.CLOSED, None, is_ready=each)) for each in (True, False))
    merged.learn(1, report_of(ready))
    merged.learn(2, report_of(ready))
    assert not merged.is_stopping()

    merged.learn(2, report_of(stopping))
    assert merged.is_stopping()
    merged.end(2)
    assert not merged.is_stopping()
    merged.end(1)
    alive = 0
    assert merged.is_stopping()
