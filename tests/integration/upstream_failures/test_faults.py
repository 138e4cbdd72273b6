"""One upstream fault at a time: how often it is retried, its error code, and whether it opens the breaker."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.domain.errors import DeadlineExceeded, UpstreamUnavailable
from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreakerConfig
from gateway.leyr.resilience import PolicyConfig
from tests.harness import Gateway, Simulator, nobody_listens
from tests.integration.upstream_failures.watched_client import FakeTime, watched_client

IMPATIENT = PolicyConfig(deadline_seconds=0.5, attempt_seconds=0.2)
WAITED = 20.0
PATIENT = CircuitBreakerConfig(min_calls=10**9, consecutive_failures=10**9)

FAULTS = [
    ("service_unavailable", "UPSTREAM_UNAVAILABLE", CallResult.UNAVAILABLE, 3),
    ("bad_gateway_html", "UPSTREAM_UNAVAILABLE", CallResult.UNAVAILABLE, 3),
    ("cut", "UPSTREAM_UNAVAILABLE", CallResult.UNREACHABLE, 3),
    ("cut_mid_body", "UPSTREAM_UNAVAILABLE", CallResult.UNREACHABLE, 3),
    ("too_many_requests", "UPSTREAM_RATE_LIMITED", CallResult.RATE_LIMITED, 3),
    ("too_many_requests_bare", "UPSTREAM_RATE_LIMITED", CallResult.RATE_LIMITED, 1),
    ("emr_error_429", "UPSTREAM_RATE_LIMITED", CallResult.RATE_LIMITED, 1),
    ("emr_error_500", "UPSTREAM_UNAVAILABLE", CallResult.FAILED, 1),
    ("emr_error_401", "UPSTREAM_REJECTED_CREDENTIALS", CallResult.REFUSED, 1),
    ("unknown_error", "UPSTREAM_UNAVAILABLE", CallResult.REFUSED, 1),
    ("unauthorized_html", "UPSTREAM_UNAVAILABLE", CallResult.REFUSED, 1),
    ("html_200", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("malformed_json", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("truncated_json", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("wrong_types", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("object_body", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("huge_list", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("redirect", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
]


@pytest.mark.parametrize(("fault", "code", "outcome", "attempts"), FAULTS, ids=[row[0] for row in FAULTS])
async def test_each_fault_is_retried_or_not_and_has_its_error_code(
    fault: str, code: str, outcome: CallResult, attempts: int, simulator: Simulator
) -> None:
    simulator.fault(fault)
    async with watched_client(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        assert await leyr.call_result() == code

    assert leyr.events.attempts == [outcome] * attempts
    assert leyr.counted() == attempts
    assert (leyr.health.in_flight, leyr.health.waiting) == (0, 0)


@pytest.mark.parametrize("fault", [row[0] for row in FAULTS if row[3] > 1])
async def test_fault_that_passes_is_hidden_by_a_retry(fault: str, simulator: Simulator) -> None:
    simulator.fault(fault, times=1)
    async with watched_client(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        assert await leyr.call_result() == "answer"

    assert leyr.counted() == 2


@pytest.mark.parametrize(
    "fault", [row[0] for row in FAULTS if row[2] in {CallResult.REFUSED, CallResult.INVALID_ANSWER}]
)
async def test_refusals_and_invalid_answers_do_not_open_the_breaker(fault: str, simulator: Simulator) -> None:
    times = 12
    simulator.fault(fault, times=times)
    async with watched_client(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        for _ in range(times if fault != "huge_list" else 1):
            await leyr.call_result()

        assert leyr.health.breaker is BreakerState.CLOSED


async def test_hanging_upstream_is_deadline_exceeded(simulator: Simulator) -> None:
    simulator.fault("hang")
    loop = asyncio.get_running_loop()
    async with watched_client(simulator, IMPATIENT) as leyr:
        began = loop.time()
        error = await leyr.call_error()
        took = loop.time() - began

    assert isinstance(error, DeadlineExceeded)
    assert error.retryable
    assert leyr.events.attempts == [CallResult.TIMED_OUT]
    assert 0.15 < took < WAITED


async def test_dripping_upstream_is_deadline_exceeded(simulator: Simulator) -> None:
    # A twentieth of the list every quarter of a second.
    simulator.fault("drip", seconds=5)
    loop = asyncio.get_running_loop()
    async with watched_client(simulator, PolicyConfig(deadline_seconds=1, attempt_seconds=0.6)) as leyr:
        began = loop.time()
        error = await leyr.call_error()
        took = loop.time() - began

    assert isinstance(error, DeadlineExceeded)
    assert 0.55 < took < 5


async def test_error_before_the_deadline_is_reported_rather_than_the_deadline(simulator: Simulator) -> None:
    simulator.fault("service_unavailable", times=1)
    simulator.fault("hang")
    # Long enough that the second attempt gets all of its time on a slow machine too.
    async with watched_client(simulator, PolicyConfig(deadline_seconds=3, attempt_seconds=0.5)) as leyr:
        error = await leyr.call_error()

    assert isinstance(error, UpstreamUnavailable)
    assert error.reference is not None
    assert leyr.events.attempts[:2] == [CallResult.UNAVAILABLE, CallResult.TIMED_OUT]


async def test_refused_connection_is_tried_three_times(simulator: Simulator) -> None:
    with nobody_listens() as url:
        nowhere = Simulator(url, simulator.emrs, simulator.http)
        async with watched_client(nowhere, PolicyConfig(), time=FakeTime()) as leyr:
            assert await leyr.call_result() == "UPSTREAM_UNAVAILABLE"

    assert leyr.events.attempts == [CallResult.UNREACHABLE] * 3


async def test_no_call_begins_before_retry_after_has_passed(simulator: Simulator) -> None:
    simulator.fault("too_many_requests", times=1)
    async with watched_client(simulator, PolicyConfig()) as leyr:
        first = asyncio.create_task(leyr.call_result())
        await leyr.events.first.wait()
        assert leyr.health.limit == 32
        later = asyncio.gather(*(leyr.call_result() for _ in range(40)))

        assert [await first, *await later] == ["answer"] * 41

    refused, *others = simulator.calls()
    assert refused["status"] == 429
    assert min(call["started_at"] for call in others) >= refused["started_at"] + 1


async def test_calls_in_flight_stay_within_the_concurrency_limit(simulator: Simulator) -> None:
    simulator.behaviour("webdoc", latency_ms=5)
    async with watched_client(simulator, PolicyConfig()) as leyr:
        assert await leyr.call_results(500) == ["answer"] * 500

    assert simulator.http.get("/__calls").json()["max_in_flight"]["webdoc"] <= 64


def test_open_breaker_answers_with_retry_after(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> None:
    gateway = serve_gateway()
    simulator.fault("service_unavailable", emr="webdoc")
    ask = '{ sick: careUnits(emr: "webdoc") { id } well: careUnits(emr: "kaddio") { id } }'
    for _ in range(4):
        gateway.ask(ask)
    asked = sum(call["emr"] == "webdoc" for call in simulator.calls())

    answer = gateway.ask(ask)

    assert asked == sum(call["emr"] == "webdoc" for call in simulator.calls()) == 5
    assert answer["data"]["well"]
    [error] = answer["errors"]
    assert error["path"] == ["sick"]
    assert error["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
    assert error["extensions"]["retryable"] is True
    assert 0 < error["extensions"]["retryAfter"] <= 5
    assert '"upstream.breaker_opened"' in gateway.log.getvalue()
