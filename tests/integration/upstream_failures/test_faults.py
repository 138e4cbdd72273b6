"""One fault at a time, over real HTTP: how often it is asked again, what it is called, and what it says of the EHR."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.domain.errors import DeadlineExceeded, UpstreamUnavailable
from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreakerConfig
from gateway.leyr.resilience import PolicyConfig
from tests.harness import Gateway, Simulator, nobody_listens
from tests.integration.upstream_failures.watched_client import FakeTime, upstream

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
    ("unauthorized_html", "UPSTREAM_REJECTED_CREDENTIALS", CallResult.REFUSED, 1),
    ("html_200", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("malformed_json", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("truncated_json", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("wrong_types", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("object_body", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("huge_list", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
    ("redirect", "UPSTREAM_INVALID_ANSWER", CallResult.INVALID_ANSWER, 1),
]


@pytest.mark.parametrize(("fault", "code", "outcome", "attempts"), FAULTS, ids=[row[0] for row in FAULTS])
async def test_each_fault_is_asked_again_as_often_as_it_is_worth(
    fault: str, code: str, outcome: CallResult, attempts: int, simulator: Simulator
) -> None:
    simulator.fault(fault)
    async with upstream(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        assert await leyr.asks() == code

    assert leyr.outcomes.seen == [outcome] * attempts
    assert leyr.counted() == attempts
    assert (leyr.condition.in_flight, leyr.condition.waiting) == (0, 0)


@pytest.mark.parametrize("fault", [row[0] for row in FAULTS if row[3] > 1])
async def test_a_fault_that_passes_is_never_seen(fault: str, simulator: Simulator) -> None:
    simulator.fault(fault, times=1)
    async with upstream(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        assert await leyr.asks() == "answer"

    assert leyr.counted() == 2


@pytest.mark.parametrize(
    "fault", [row[0] for row in FAULTS if row[2] in {CallResult.REFUSED, CallResult.INVALID_ANSWER}]
)
async def test_answers_that_are_no_use_do_not_make_an_ehr_unreachable(fault: str, simulator: Simulator) -> None:
    times = 12
    simulator.fault(fault, times=times)
    async with upstream(simulator, PolicyConfig(), time=FakeTime()) as leyr:
        for _ in range(times if fault != "huge_list" else 1):
            await leyr.asks()

        assert leyr.condition.breaker is BreakerState.CLOSED


async def test_an_upstream_that_hangs_is_given_up_in_time(simulator: Simulator) -> None:
    simulator.fault("hang")
    loop = asyncio.get_running_loop()
    async with upstream(simulator, IMPATIENT) as leyr:
        began = loop.time()
        error = await leyr.fails()
        took = loop.time() - began

    assert isinstance(error, DeadlineExceeded)
    assert error.retryable
    # How often it is asked in its time is told in tests/unit/leyr, where no machine is slow.
    assert leyr.outcomes.seen[0] is CallResult.TIMED_OUT
    assert 0.35 < took < WAITED


async def test_an_upstream_that_drips_is_given_up_in_time(simulator: Simulator) -> None:
    # A twentieth of the list every quarter of a second.
    simulator.fault("drip", seconds=5)
    loop = asyncio.get_running_loop()
    async with upstream(simulator, PolicyConfig(deadline_seconds=1, attempt_seconds=0.6)) as leyr:
        began = loop.time()
        error = await leyr.fails()
        took = loop.time() - began

    assert isinstance(error, DeadlineExceeded)
    assert 0.55 < took < 5


async def test_what_upstream_said_is_told_though_time_ran_out_afterwards(simulator: Simulator) -> None:
    simulator.fault("service_unavailable", times=1)
    simulator.fault("hang")
    # Long enough that the second attempt gets all of its time on a slow machine too.
    async with upstream(simulator, PolicyConfig(deadline_seconds=3, attempt_seconds=0.5)) as leyr:
        error = await leyr.fails()

    assert isinstance(error, UpstreamUnavailable)
    assert error.reference is not None
    assert leyr.outcomes.seen[:2] == [CallResult.UNAVAILABLE, CallResult.TIMED_OUT]


async def test_a_port_where_nobody_listens_is_tried_three_times(simulator: Simulator) -> None:
    with nobody_listens() as url:
        nowhere = Simulator(url, simulator.emrs, simulator.http)
        async with upstream(nowhere, PolicyConfig(), time=FakeTime()) as leyr:
            assert await leyr.asks() == "UPSTREAM_UNAVAILABLE"

    assert leyr.outcomes.seen == [CallResult.UNREACHABLE] * 3


async def test_after_too_many_requests_nobody_asks_before_the_time(simulator: Simulator) -> None:
    simulator.fault("too_many_requests", times=1)
    async with upstream(simulator, PolicyConfig()) as leyr:
        first = asyncio.create_task(leyr.asks())
        await leyr.outcomes.first.wait()
        assert leyr.condition.limit == 32
        later = asyncio.gather(*(leyr.asks() for _ in range(40)))

        assert [await first, *await later] == ["answer"] * 41

    refused, *others = simulator.calls()
    assert refused["status"] == 429
    assert min(call["started_at"] for call in others) >= refused["started_at"] + 1


async def test_no_more_calls_are_in_flight_than_may_be(simulator: Simulator) -> None:
    simulator.behaviour("webdoc", latency_ms=5)
    async with upstream(simulator, PolicyConfig()) as leyr:
        assert await leyr.asks_together(500) == ["answer"] * 500

    assert simulator.http.get("/__calls").json()["max_in_flight"]["webdoc"] <= 64


def test_a_client_of_the_gateway_hears_when_to_come_again(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
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
