"""Cancelled calls give back their places and connections, and do not count as failures."""

import asyncio
from random import Random
from typing import Any

import pytest

from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig
from tests.harness import Simulator
from tests.integration.upstream_failures.watched_client import WatchedClient, watched_client

SMALL_POOL: dict[str, Any] = {"max_connections": 10, "pool_timeout_seconds": 5}


async def crowd(leyr: WatchedClient, number: int, chance: Random) -> None:
    """Calls of which each is cancelled at a moment of its own."""
    calls = [asyncio.create_task(leyr.call_result()) for _ in range(number)]
    for call in chance.sample(calls, number):
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() / 500)
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("fault", ["hang", "delay", "drip", None])
@pytest.mark.parametrize("limit", [64, 5])
async def test_twelve_hundred_cancelled_calls_leave_no_place_or_connection_taken(
    fault: str | None, limit: int, simulator: Simulator
) -> None:
    if fault is not None:
        simulator.fault(fault, seconds=0.02)
    chance = Random(7)  # noqa: S311 # the cases of a test
    async with watched_client(simulator, PolicyConfig(concurrency=ConcurrencyConfig(limit)), **SMALL_POOL) as leyr:
        for _ in range(4):
            await crowd(leyr, 300, chance)
        assert (leyr.health.in_flight, leyr.health.waiting) == (0, 0)
        assert leyr.health.breaker is BreakerState.CLOSED
        assert leyr.events.states == []

        simulator.http.request("DELETE", "/__faults")
        assert await leyr.call_results(20) == ["answer"] * 20
        assert leyr.health.limit == limit


async def test_cancelled_calls_during_an_outage_leave_no_place_taken(simulator: Simulator) -> None:
    simulator.fault("service_unavailable")
    rules = PolicyConfig()
    async with watched_client(simulator, rules, **SMALL_POOL) as leyr:
        await crowd(leyr, 300, Random(3))  # noqa: S311 # the cases of a test
        while leyr.health.breaker is not BreakerState.OPEN:
            await leyr.call_result()

        assert (leyr.health.in_flight, leyr.health.waiting) == (0, 0)


async def test_calls_without_a_free_connection_are_overloaded_and_open_no_breaker(simulator: Simulator) -> None:
    simulator.fault("hang")
    async with watched_client(simulator, PolicyConfig(), max_connections=10, pool_timeout_seconds=0.05) as leyr:
        hanging = [asyncio.create_task(leyr.call_result()) for _ in range(10)]
        await asyncio.sleep(0.1)

        assert await leyr.call_results(20) == ["OVERLOADED"] * 20

        assert leyr.health.breaker is BreakerState.CLOSED
        for call in hanging:
            call.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
