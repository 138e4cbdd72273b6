"""Outages of minutes, on a clock that the test moves, judged by what arrived at the simulator."""

import asyncio

import pytest

from gateway.domain.errors import UpstreamUnavailable
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreakerConfig
from gateway.leyr.resilience import PolicyConfig
from tests.harness import Simulator
from tests.integration.upstream_failures.watched_client import FakeTime, Upstream, upstream

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
WITHOUT_BREAKER = PolicyConfig(circuit_breaker=CircuitBreakerConfig(min_calls=10**9, consecutive_failures=10**9))


async def outage(leyr: Upstream, clock: FakeTime, *, seconds: int, rate: int) -> float:
    """Upstream calls for each call of a client's."""
    for _ in range(seconds):
        began = clock.now
        await leyr.asks_together(rate)
        clock.now = max(clock.now, began + 1)
    return leyr.counted() / (seconds * rate)


@pytest.mark.parametrize(("seconds", "rate"), [(60, 30), (60, 1), (60, 100)])
async def test_an_outage_costs_an_upstream_next_to_nothing(seconds: int, rate: int, simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with upstream(simulator, PolicyConfig(), time=clock) as leyr:
        amplification = await outage(leyr, clock, seconds=seconds, rate=rate)

    assert amplification < 0.3


@pytest.mark.parametrize("fault", ["service_unavailable", "cut"])
async def test_retries_alone_add_no_more_than_a_tenth(fault: str, simulator: Simulator) -> None:
    simulator.fault(fault)
    clock = FakeTime()
    async with upstream(simulator, WITHOUT_BREAKER, time=clock) as leyr:
        amplification = await outage(leyr, clock, seconds=60, rate=30)

    assert 1.05 < amplification <= 1.10


async def test_an_ehr_that_is_asked_once_a_minute_is_not_hammered_either(simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with upstream(simulator, PolicyConfig(), time=clock) as leyr:
        for _ in range(60):
            await leyr.asks()
            clock.now += 60

        assert leyr.counted() <= 1.10 * 60


async def test_the_breaker_opens_probes_reopens_and_closes(simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    clock = FakeTime()
    async with upstream(simulator, PolicyConfig(), time=clock) as leyr:
        while leyr.outcomes.states != [OPEN]:
            await leyr.asks()
        asked = leyr.counted()
        assert asked <= 10

        error = await leyr.fails()
        assert isinstance(error, UpstreamUnavailable)
        assert error.retry_after == pytest.approx(5, abs=0.2)
        assert leyr.counted() == asked

        clock.now += 5
        assert await leyr.asks_together(50) == ["UPSTREAM_UNAVAILABLE"] * 50
        assert leyr.counted() == asked + 1
        assert leyr.outcomes.states == [OPEN, HALF_OPEN, OPEN]
        assert leyr.condition.retry_after == pytest.approx(10)

        simulator.http.request("DELETE", "/__faults")
        assert await leyr.asks() == "UPSTREAM_UNAVAILABLE"
        clock.now += 10
        answers = await leyr.asks_together(50)
        assert answers.count("answer") == 1
        assert leyr.counted() == asked + 2
        assert await leyr.asks_together(50) == ["answer"] * 50
        assert leyr.outcomes.states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]


async def test_an_open_breaker_answers_at_once(simulator: Simulator) -> None:
    simulator.fault("cut")
    clock = FakeTime()
    async with upstream(simulator, PolicyConfig(), time=clock) as leyr:
        while leyr.outcomes.states != [OPEN]:
            await leyr.asks()
        for _ in range(200):
            # It comes to its end in one step: it waits for nothing, not even for the loop's next turn.
            with pytest.raises(StopIteration) as ended:
                leyr.asks().send(None)
            assert ended.value.value == "UPSTREAM_UNAVAILABLE"


async def test_upstreams_that_hang_open_it_too(simulator: Simulator) -> None:
    simulator.fault("hang")
    async with upstream(simulator, PolicyConfig(deadline_seconds=0.3, attempt_seconds=0.2)) as leyr:
        await leyr.asks_together(64)

        assert leyr.outcomes.states == [OPEN]
        # Counted where they are sent: some may not have arrived yet, and were given up.
        sent = len(leyr.outcomes.seen)
        assert await leyr.asks_together(200) == ["UPSTREAM_UNAVAILABLE"] * 200
        assert len(leyr.outcomes.seen) == sent


async def test_one_sick_ehr_does_not_hold_up_another(simulator: Simulator) -> None:
    simulator.fault("hang", emr="webdoc")
    async with upstream(simulator, PolicyConfig()) as leyr:
        sick = [asyncio.create_task(leyr.asks()) for _ in range(500)]
        await asyncio.sleep(0.1)

        assert await asyncio.gather(*(leyr.client.care_units("kaddio") for _ in range(50)))

        assert (leyr.condition.in_flight, leyr.condition.waiting) == (64, 436)
        for call in sick:
            call.cancel()
        await asyncio.gather(*sick, return_exceptions=True)
        assert (leyr.condition.in_flight, leyr.condition.waiting) == (0, 0)
