"""What Prometheus is told of the shared store, from closed sets, and nothing where there is none."""

from io import StringIO

import pytest

from gateway.logging import build_log
from gateway.shared_store.errors import REFUSALS, AwayReason
from gateway.shared_store.reads import ReadOutcome, SharedRead
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shared_store_log import SharedStoreEvents


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(("webdoc",))


@pytest.fixture
def events(metrics: Metrics) -> SharedStoreEvents:
    found = SharedStoreEvents(build_log("info", StringIO()), metrics.shared)
    found.store_begun()
    return found


def test_without_a_store_there_are_no_series(metrics: Metrics) -> None:
    SharedStoreEvents(build_log("info", StringIO()), metrics.shared).store_up()
    assert [each.name for each in metrics.collect() if "shared" in each.name] == []


def test_the_store_is_up_or_away_by_reason(metrics: Metrics, events: SharedStoreEvents) -> None:
    def up() -> float | None:
        return metrics.registry.get_sample_value("gateway_shared_store_up")

    assert up() == 0
    events.store_up()
    assert up() == 1
    events.store_away(AwayReason.TIMEOUT)
    events.store_away(AwayReason.TIMEOUT)
    assert up() == 0
    away = [
        metrics.registry.get_sample_value("gateway_shared_store_away_total", {"reason": each}) for each in AwayReason
    ]
    assert away == [2 * (each is AwayReason.TIMEOUT) for each in AwayReason]


def test_errors_garbage_answers_and_reads_are_counted(metrics: Metrics, events: SharedStoreEvents) -> None:
    for kind in (*REFUSALS, "FULL", "CLOCK", "something else"):
        events.store_refused(kind)
    events.store_garbage()
    events.store_answered(0.0004)
    events.shared_read(SharedRead.TIMESLOTS, ReadOutcome.JOINED)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert all(value("gateway_shared_store_refused_total", kind=each) == 1 for each in (*REFUSALS, "other", "CLOCK"))
    assert value("gateway_shared_store_garbage_total") == 1
    assert value("gateway_shared_store_seconds_bucket", le="0.0005") == 1
    assert value("gateway_shared_store_seconds_count") == 1
    assert value("gateway_shared_reads_total", what="timeslots", outcome="joined") == 1
    assert value("gateway_shared_reads_total", what="list", outcome="hit") == 0
