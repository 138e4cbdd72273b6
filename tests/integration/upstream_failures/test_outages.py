"""Outages of minutes on a clock that the test moves: retry budget, circuit breaker and cached data."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.domain.errors import UpstreamUnavailable
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreakerConfig
from gateway.leyr.resilience import PolicyConfig
from tests.harness import CACHES_ON, Clock, Gateway, Simulator
from tests.integration.upstream_failures.watched_client import FakeTime, WatchedClient, watched_client

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
CATALOGUE = "{ careUnits { leyrId name resources { leyrId } healthcareServices { leyrId } } }"
WITHOUT_BREAKER = PolicyConfig(circuit_breaker=CircuitBreakerConfig(min_calls=10**9, consecutive_failures=10**9))


async def outage(leyr: WatchedClient, clock: FakeTime, *, seconds: int, rate: int) -> float:
    """How many calls arrive upstream for each call of a client."""
    for _ in range(seconds):
        began = clock.now
        await leyr.call_results(rate)
        clock.now = max(clock.now, began + 1)
    return leyr.counted() / (seconds * rate)


@pytest.mark.parametrize(("seconds", "rate"), [(60, 30), (60, 1), (60, 100)])
async def test_outage_costs_an_upstream_less_than_a_third_of_the_calls(
    seconds: int, rate: int, simulator: Simulator
) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with watched_client(simulator, PolicyConfig(), time=clock) as leyr:
        amplification = await outage(leyr, clock, seconds=seconds, rate=rate)

    assert amplification < 0.3


@pytest.mark.parametrize("fault", ["service_unavailable", "cut"])
async def test_retry_budget_adds_no_more_than_a_tenth(fault: str, simulator: Simulator) -> None:
    simulator.fault(fault)
    clock = FakeTime()
    async with watched_client(simulator, WITHOUT_BREAKER, time=clock) as leyr:
        amplification = await outage(leyr, clock, seconds=60, rate=30)

    assert 1.05 < amplification <= 1.10


async def test_retry_budget_holds_at_one_call_a_minute(simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with watched_client(simulator, PolicyConfig(), time=clock) as leyr:
        for _ in range(60):
            await leyr.call_result()
            clock.now += 60

        assert leyr.counted() <= 1.10 * 60


async def test_the_breaker_opens_probes_reopens_and_closes(simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with watched_client(simulator, PolicyConfig(), time=clock) as leyr:
        while leyr.events.states != [OPEN]:
            await leyr.call_result()
        asked = leyr.counted()
        assert asked <= 10

        error = await leyr.call_error()
        assert isinstance(error, UpstreamUnavailable)
        assert error.retry_after == pytest.approx(5, abs=0.2)
        assert leyr.counted() == asked

        clock.now += 5
        assert await leyr.call_results(50) == ["UPSTREAM_UNAVAILABLE"] * 50
        assert leyr.counted() == asked + 1
        assert leyr.events.states == [OPEN, HALF_OPEN, OPEN]
        assert leyr.health.retry_after == pytest.approx(10)

        simulator.http.request("DELETE", "/__faults")
        assert await leyr.call_result() == "UPSTREAM_UNAVAILABLE"
        clock.now += 10
        answers = await leyr.call_results(50)
        assert answers.count("answer") == 1
        assert leyr.counted() == asked + 2
        assert await leyr.call_results(50) == ["answer"] * 50
        assert leyr.events.states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]


async def test_open_breaker_answers_without_waiting(simulator: Simulator) -> None:
    simulator.fault("cut")
    clock = FakeTime()
    async with watched_client(simulator, PolicyConfig(), time=clock) as leyr:
        while leyr.events.states != [OPEN]:
            await leyr.call_result()
        for _ in range(200):
            # It comes to its end in one step: it waits for nothing, not even for the loop's next turn.
            with pytest.raises(StopIteration) as ended:
                leyr.call_result().send(None)
            assert ended.value.value == "UPSTREAM_UNAVAILABLE"


async def test_hanging_calls_open_the_breaker(simulator: Simulator) -> None:
    simulator.fault("hang")
    async with watched_client(simulator, PolicyConfig(deadline_seconds=0.3, attempt_seconds=0.2)) as leyr:
        await leyr.call_results(64)

        assert leyr.events.states == [OPEN]
        # Counted where they are sent: some may not have arrived yet, and were given up.
        sent = len(leyr.events.attempts)
        assert await leyr.call_results(200) == ["UPSTREAM_UNAVAILABLE"] * 200
        assert len(leyr.events.attempts) == sent


async def test_hanging_ehr_does_not_hold_up_another(simulator: Simulator) -> None:
    simulator.fault("hang", emr="webdoc")
    async with watched_client(simulator, PolicyConfig()) as leyr:
        sick = [asyncio.create_task(leyr.call_result()) for _ in range(500)]
        await asyncio.sleep(0.1)

        assert await asyncio.gather(*(leyr.client.care_units("kaddio") for _ in range(50)))

        assert (leyr.health.in_flight, leyr.health.waiting) == (64, 436)
        for call in sick:
            call.cancel()
        await asyncio.gather(*sick, return_exceptions=True)
        assert (leyr.health.in_flight, leyr.health.waiting) == (0, 0)


def test_cached_catalog_is_served_through_an_outage_of_five_minutes(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_gateway(clock=clock, **CACHES_ON)
    known = gateway.data(CATALOGUE)
    simulator.forget()
    for fault in ("cut", "service_unavailable", "bad_gateway_html"):
        simulator.fault(fault, times=40)
    simulator.fault("service_unavailable")
    clock.seconds += 300

    for _ in range(300):
        clock.seconds += 1
        assert gateway.data(CATALOGUE) == known

    # A list is tried again every five seconds at most, and an EHR that fails again and again is left alone.
    lists = 1 + 2 * len(known["careUnits"])
    assert 0 < sum(simulator.count().values()) <= lists * (300 / 5 + 1)
    assert '"request.fault"' not in gateway.log.getvalue()
    simulator.http.request("DELETE", "/__faults")
    assert gateway.data(CATALOGUE) == known
