"""Counters and histograms: each event counts once, and an unknown label as `other`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.instruments import OTHER, Counters, Histograms

EMRS, ENDPOINTS = ("pmo", "webdoc"), ("timeslots", "resources")
PERSONAL_NUMBER = "191212121212"


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=30))
def test_a_histogram_counts_each_event_once(events: list[float]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histograms = Histograms("seconds", "Seconds.", {}, bounds)

    for seconds in events:
        histograms.observe((), seconds)

    found = {(sample.name, sample.labels.get("le")): sample.value for sample in histograms.family().samples}
    assert found["seconds_count", None] == found["seconds_bucket", "+Inf"] == len(events)
    assert found["seconds_sum", None] == pytest.approx(sum(events))
    for bound in bounds:
        assert found["seconds_bucket", str(bound)] == sum(seconds <= bound for seconds in events)


def test_each_unknown_label_is_counted_as_other_by_itself() -> None:
    counters = Counters("calls_total", "Calls.", {"emr": EMRS, "endpoint": ENDPOINTS})

    counters.add(("pmo", PERSONAL_NUMBER), 2)
    counters.add(("pmo", "slots"))

    assert counters.total(("pmo", OTHER)) == 3
    assert counters.total((OTHER, OTHER)) == 0
