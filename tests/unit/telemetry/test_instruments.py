"""Series of counters and histograms: an unknown label counts as `other`, and processes can be added up."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.telemetry.instruments import OTHER, Series
from tests.processes import run_python

EMRS, ENDPOINTS = ("pmo", "webdoc"), ("timeslots", "resources")
PERSONAL_NUMBER = "191212121212"
COUNTED = """
import os
from gateway.leyr.call_events import CallResult
from gateway.telemetry.metrics import Metrics

metrics = Metrics(["pmo"])
for seconds in (0.01, 0.3):
    metrics.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, seconds)
"""


def test_each_unknown_label_is_counted_as_other_by_itself() -> None:
    registry = CollectorRegistry()
    calls = Series(
        Counter("calls", "Calls.", ("emr", "endpoint"), registry=registry), {"emr": EMRS, "endpoint": ENDPOINTS}
    )

    calls["pmo", PERSONAL_NUMBER].inc(2)
    calls["pmo", "slots"].inc()

    assert registry.get_sample_value("calls_total", {"emr": "pmo", "endpoint": OTHER}) == 3
    assert registry.get_sample_value("calls_total", {"emr": OTHER, "endpoint": OTHER}) is None
    assert len(calls) == 4


def test_a_metric_without_labels_is_its_only_series() -> None:
    timer = Histogram("seconds", "Seconds.", registry=None)

    assert dict(Series(timer, {})) == {(): timer}


def test_the_metrics_of_several_processes_can_be_added_up(tmp_path: Path) -> None:
    for _ in range(2):
        ended = run_python("-c", COUNTED, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
        assert ended.returncode == 0, ended.stderr

    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call] # the library leaves it without types

    call = {"emr": "pmo", "endpoint": "timeslots"}
    assert registry.get_sample_value("gateway_upstream_calls_total", {**call, "outcome": "answered"}) == 4
    assert registry.get_sample_value("gateway_upstream_seconds_bucket", {**call, "le": "0.01"}) == 2
    assert registry.get_sample_value("gateway_upstream_seconds_count", call) == 4
