"""Metrics: what scripted events come to, and that labels stay in their closed sets, so that none is personal."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.auth.rate_limit import Limit
from gateway.booking.caller_bookings import OUTCOMES, BookingEvent
from gateway.domain.booking import BookingStep
from gateway.domain.errors import GatewayError, UpstreamUnavailable
from gateway.fetch.fetch_scope import CacheStatus, Incomplete, IncompleteReason
from gateway.http.request_context import RequestIds, RequestOutcome, RequestRecord
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import AttemptError, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.client import ENDPOINTS
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamHealth, UpstreamPolicies
from gateway.telemetry.instruments import OTHER
from gateway.telemetry.metrics import UNKNOWN, Gauges, Metrics

EMRS = ("pmo", "webdoc")
PERSONAL_NUMBER = "191212121212"
NASTY = st.one_of(
    st.text(max_size=20),
    st.sampled_from([PERSONAL_NUMBER, '"} 1\nfake_total{a="', "\\", "le", "", "Timeslots", "ANSWERED", "\udc80"]),
)


def text(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def nonzero(metrics: Metrics) -> list[str]:
    """The lines of the gateway's own metrics that are not 0."""
    lines = [line for line in text(metrics).splitlines() if line.startswith("gateway_")]
    return [line for line in lines if not line.endswith(" 0.0")]


def family(metrics: Metrics, name: str) -> str:
    lines = text(metrics).splitlines()
    return "\n".join(line for line in lines if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(name))


def series(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(text(metrics))
    return {(sample.name, tuple(sample.labels.items())) for each in families for sample in each.samples}


def idle_gauges(**changes: Any) -> Gauges:
    parts: dict[str, Any] = {
        "health": dict,
        "cache_bytes": lambda: 0,
        "cache_max_bytes": 1,
        "active_requests": lambda: 0,
        "limits_reached": Counter,
        "is_ready": lambda: True,
    }
    return Gauges(**(parts | changes))


def operation(seconds: float = 1.0, **fields: Any) -> RequestRecord:
    return RequestRecord(RequestIds("id"), 200, seconds, **fields)


def rejected(code: str) -> RequestRecord:
    return RequestRecord(RequestIds("id"), 400, 1.0, code, codes=(code,))


def test_operations_are_counted_and_timed() -> None:
    metrics = Metrics(EMRS)

    reads = {CacheStatus.FETCHED: 2, CacheStatus.JOINED: 1, CacheStatus.STALE: 1}
    metrics.finished(
        operation(0.5, outcome="ok", operation_type="query", upstream_seconds=0.375, reads=reads, lists_needed=7)
    )
    metrics.finished(operation(0.0, outcome="finished"))

    assert [line for line in nonzero(metrics) if "_bucket" not in line] == [
        'gateway_operations_total{operation="query",outcome="ok"} 1.0',
        'gateway_operations_total{operation="unknown",outcome="finished"} 1.0',
        'gateway_operation_seconds_count{outcome="ok"} 1.0',
        'gateway_operation_seconds_sum{outcome="ok"} 0.5',
        'gateway_operation_seconds_count{outcome="finished"} 1.0',
        "gateway_overhead_seconds_count 2.0",
        "gateway_overhead_seconds_sum 0.125",
        'gateway_reads_total{origin="fetched"} 2.0',
        'gateway_reads_total{origin="joined"} 1.0',
        'gateway_reads_total{origin="stale"} 1.0',
        'gateway_reads_saved_total{how="merged"} 3.0',
        'gateway_reads_saved_total{how="joined"} 1.0',
    ]


def test_answers_with_incomplete_lists_are_counted_by_endpoint_ehr_and_reason() -> None:
    metrics = Metrics(EMRS)
    dropped = Incomplete("care-units", "pmo", IncompleteReason.ROWS_DROPPED, 7)
    outside = Incomplete("timeslots", "webdoc", IncompleteReason.OUTSIDE_EVERY_FILTER, 2)

    metrics.finished(operation(outcome="ok", incomplete=[dropped, outside]))
    metrics.finished(operation(outcome="finished", incomplete=[outside]))

    name = "gateway_incomplete_answers_total"
    assert [line for line in nonzero(metrics) if line.startswith(name)] == [
        f'{name}{{emr="pmo",endpoint="care_units",reason="rows_dropped"}} 1.0',
        f'{name}{{emr="webdoc",endpoint="timeslots",reason="outside_every_filter"}} 2.0',
    ]


def test_a_metric_has_all_its_series_from_the_start() -> None:
    assert family(Metrics(EMRS), "gateway_upstream_retries") == (
        "# HELP gateway_upstream_retries_total Calls to Leyr that were tried again.\n"
        "# TYPE gateway_upstream_retries_total counter\n"
        'gateway_upstream_retries_total{emr="pmo"} 0.0\n'
        'gateway_upstream_retries_total{emr="webdoc"} 0.0'
    )


def test_buckets_are_cumulative_and_their_bounds_inclusive() -> None:
    metrics = Metrics(["pmo"])

    for seconds in (0.0, 0.01, 0.0101, 10.0, 11.0):
        metrics.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, seconds)

    lines = [line for line in family(metrics, "gateway_upstream_seconds").splitlines() if "timeslots" in line]
    assert [(line.split('le="')[1].split('"')[0], line.split()[-1]) for line in lines if "_bucket" in line] == [
        *[("0.01", "2.0"), ("0.025", "3.0"), ("0.05", "3.0"), ("0.1", "3.0"), ("0.25", "3.0"), ("0.5", "3.0")],
        *[("1.0", "3.0"), ("2.5", "3.0"), ("5.0", "3.0"), ("10.0", "4.0"), ("+Inf", "5.0")],
    ]


def test_rejected_requests_are_counted_by_code() -> None:
    metrics = Metrics(EMRS)

    metrics.finished(rejected("RATE_LIMITED"))
    metrics.finished(rejected("OVERLOADED"))
    metrics.finished(rejected("RATE_LIMITED"))

    assert nonzero(metrics) == [
        'gateway_refusals_total{code="OVERLOADED"} 1.0',
        'gateway_refusals_total{code="RATE_LIMITED"} 2.0',
    ]


def test_upstream_calls_are_counted_by_ehr_and_endpoint() -> None:
    metrics = Metrics(EMRS)

    metrics.attempt_ended("pmo", "timeslots", CallResult.TIMED_OUT, 4.0)
    metrics.retried("pmo")
    metrics.rejected("webdoc", "resources", Rejection.QUEUE_FULL)
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.OPEN, BreakerState.CLOSED):
        metrics.breaker_changed("webdoc", state)
    metrics.limit_changed("pmo", 3)

    assert [line for line in nonzero(metrics) if "_bucket" not in line] == [
        'gateway_upstream_calls_total{emr="pmo",endpoint="timeslots",outcome="timed_out"} 1.0',
        'gateway_upstream_seconds_count{emr="pmo",endpoint="timeslots"} 1.0',
        'gateway_upstream_seconds_sum{emr="pmo",endpoint="timeslots"} 4.0',
        'gateway_upstream_turned_away_total{emr="webdoc",reason="queue_full"} 1.0',
        'gateway_upstream_retries_total{emr="pmo"} 1.0',
        'gateway_breaker_openings_total{emr="webdoc"} 2.0',
    ]


@pytest.mark.parametrize(
    "how", [{"outcome": "partial", "lists_needed": 9}, {"outcome": "ok"}, {"outcome": "ok", "lists_needed": 1}]
)
def test_lists_count_as_merged_only_if_nothing_failed(how: dict[str, Any]) -> None:
    metrics = Metrics(EMRS)

    metrics.finished(operation(operation_type="query", reads={CacheStatus.FETCHED: 2}, **how))

    assert 'gateway_reads_saved_total{how="merged"} 0.0' in text(metrics)


def test_upstream_seconds_above_the_total_are_no_negative_overhead() -> None:
    metrics = Metrics(EMRS)

    metrics.finished(operation(outcome="ok", operation_type="query", upstream_seconds=1.5))

    assert "gateway_overhead_seconds_sum 0.0" in text(metrics)


def test_gauges_are_read_at_each_scrape() -> None:
    metrics = Metrics(EMRS)
    health = {
        "pmo": UpstreamHealth(BreakerState.OPEN, 2.0, 4, 3, 2),
        "webdoc": UpstreamHealth(BreakerState.HALF_OPEN, 0.0, 8, 1, 0),
        PERSONAL_NUMBER: UpstreamHealth(BreakerState.OPEN, 2.0, 4, 3, 2),
    }
    active = count(5)
    metrics.watch(idle_gauges(health=lambda: health, cache_bytes=lambda: 4096, active_requests=lambda: next(active)))

    assert nonzero(metrics) == [
        'gateway_breaker_open{emr="pmo"} 1.0',
        'gateway_breaker_open{emr="webdoc"} 0.5',
        'gateway_gate_limit{emr="pmo"} 4.0',
        'gateway_gate_limit{emr="webdoc"} 8.0',
        'gateway_gate_in_flight{emr="pmo"} 3.0',
        'gateway_gate_in_flight{emr="webdoc"} 1.0',
        'gateway_gate_waiting{emr="pmo"} 2.0',
        "gateway_cache_bytes 4096.0",
        "gateway_cache_max_bytes 1.0",
        "gateway_requests_inside 5.0",
        "gateway_ready 1.0",
    ]
    assert "gateway_requests_inside 6.0" in text(metrics)


def test_an_upstream_policy_counts_its_calls() -> None:
    metrics = Metrics(EMRS)
    time = count()

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    dependencies = PolicyDependencies(metrics, clock=lambda: float(next(time)) / 1000, sleep=at_once, rng=lambda: 0.5)
    policies = UpstreamPolicies(PolicyConfig(), dependencies)
    metrics.watch(idle_gauges(health=policies.health))

    def answers(*script: str | AttemptError) -> Callable[[float], Awaitable[str]]:
        steps = iter(script)

        async def attempt(_: float) -> str:
            await asyncio.sleep(0)
            step = next(steps)
            if isinstance(step, AttemptError):
                raise step
            return step

        return attempt

    down = AttemptError(UpstreamUnavailable("down", retryable=True), CallResult.UNAVAILABLE)
    asyncio.run(cast("Any", policies.of("pmo").call("timeslots", answers(down, "free"))))

    lines = nonzero(metrics)
    assert {
        'gateway_upstream_calls_total{emr="pmo",endpoint="timeslots",outcome="answered"} 1.0',
        'gateway_upstream_calls_total{emr="pmo",endpoint="timeslots",outcome="unavailable"} 1.0',
        'gateway_upstream_retries_total{emr="pmo"} 1.0',
    } <= set(lines)
    assert 'gateway_breaker_open{emr="pmo"} 0.0' in text(metrics)


def test_metrics_of_the_process_are_there_and_nothing_that_never_changes() -> None:
    lines = text(Metrics(EMRS))

    assert "process_resident_memory_bytes" in lines
    assert "python_info" not in lines
    assert "_created" not in lines


def test_two_registries_share_nothing() -> None:
    first, second = Metrics(EMRS), Metrics(EMRS)

    first.finished(rejected("INTERNAL"))

    assert nonzero(first)
    assert not nonzero(second)


def test_metric_names_are_distinct_described_and_accepted_by_the_strict_parser() -> None:
    metrics = Metrics(EMRS)
    metrics.watch(idle_gauges(health=lambda: {"pmo": UpstreamHealth(BreakerState.CLOSED, None, 4, 0, 0)}))

    encode, _ = choose_encoder("application/openmetrics-text;version=1.0.0")
    parse: Any = openmetrics.text_string_to_metric_families  # the library leaves it without types
    families = list(parse(encode(metrics.registry).decode()))

    names = [each.name for each in families]
    assert len(names) == len(set(names)) >= 20
    assert all(each.documentation.endswith(".") for each in families)


@given(st.lists(st.tuples(NASTY, NASTY, NASTY), min_size=1, max_size=5))
@example([(PERSONAL_NUMBER, PERSONAL_NUMBER, PERSONAL_NUMBER)])
def test_labels_stay_in_their_closed_sets(events: list[tuple[str, str, str]]) -> None:
    metrics = Metrics(EMRS)
    metrics.watch(
        idle_gauges(health=lambda: {emr: UpstreamHealth(BreakerState.OPEN, 1.0, 1, 1, 1) for emr, *_ in events})
    )

    for first, second, third in events:
        metrics.attempt_ended(first, second, cast("CallResult", third), 1.0)
        metrics.rejected(first, second, cast("Rejection", third))
        metrics.unreachable(first, second, cast("FailureKind", third))
        metrics.retried(first)
        metrics.breaker_changed(first, BreakerState.OPEN)
        metrics.finished(rejected(first))
        metrics.bookings.booked(BookingEvent(third, first, cast("BookingStep", second), third, 1.0))
        metrics.bookings.booked(BookingEvent(third, first, cast("BookingStep", second), "outcome_unknown", 1.0))
        incomplete = [Incomplete(first, second, cast("IncompleteReason", third), 1)]
        metrics.finished(operation(outcome=first, operation_type=second, reads={third: 1}, incomplete=incomplete))

    known = {
        "emr": {*EMRS},
        "endpoint": {*ENDPOINTS},
        "outcome": {*map(str, CallResult), *get_args(RequestOutcome), *OUTCOMES},
        "step": {*map(str, BookingStep)},
        "operation": {"query", "mutation", "subscription", UNKNOWN},
        "kind": {*map(str, FailureKind)},
        "reason": {*map(str, Rejection), *map(str, IncompleteReason)},
        "origin": {*map(str, CacheStatus)},
        "limit": {*map(str, Limit)},
        "how": {"merged", "joined", "shared", "cached"},
        "code": {GatewayError.code} | {kind.code for kind in descendants(GatewayError)},
    }
    for name, labels in series(metrics):
        assert name.startswith(("gateway_", "process_"))
        assert all(value in {*known[label], OTHER} for label, value in labels if label != "le")
    assert PERSONAL_NUMBER not in text(metrics)


def descendants(kind: type[GatewayError]) -> list[type[GatewayError]]:
    below = kind.__subclasses__()
    return below + [each for child in below for each in descendants(child)]


@given(emrs=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True), min_size=1, max_size=4))
@example(emrs=[OTHER])
def test_each_configured_ehr_has_its_series(emrs: list[str]) -> None:
    metrics = Metrics(emrs)

    metrics.retried(emrs[0])

    assert f'gateway_upstream_retries_total{{emr="{emrs[0]}"}} 1.0' in nonzero(metrics)
    assert {labels for name, labels in series(metrics) if name == "gateway_upstream_retries_total"} == {
        (("emr", emr),) for emr in emrs
    }
