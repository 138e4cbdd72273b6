"""No minute has more calls to an EHR than its profile says, whatever is retried, waits or is given up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError, Origin, UpstreamRateLimited
from gateway.leyr.call_events import AttemptError, CallEvents, CallResult, Rejection
from gateway.leyr.call_quota import QuotaConfig, QuotaRequest, QuotaSources, SharedTurn, ToldTurn
from gateway.leyr.circuit_breaker import CircuitBreakerConfig
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicy
from tests.unit.leyr.scripted_ehr import Attempt, ScriptedEhr
from tests.unit.leyr.virtual_time import clock, run

NEVER_OPEN = CircuitBreakerConfig(min_calls=10**9, consecutive_failures=10**9)
MINUTE = 60.0
results = st.sampled_from([CallResult.ANSWERED, CallResult.ANSWERED, CallResult.UNAVAILABLE, CallResult.RATE_LIMITED])
attempts = st.builds(Attempt, st.sampled_from([0.0, 0.1, 3.0, 12.0]), results, st.none() | st.just(2.0))
arrivals = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.5, 5.0, 20.0]), st.sampled_from(["timeslots", "book_appointment"])),
    min_size=1,
    max_size=80,
)


@dataclass
class Harness:
    """Calls to a scripted EHR that takes so many in a minute."""

    per_minute: int | None
    ehr: ScriptedEhr = field(default_factory=lambda: ScriptedEhr(Attempt(0.01)))
    shared: Any = None
    config: PolicyConfig = field(default_factory=lambda: PolicyConfig(circuit_breaker=NEVER_OPEN))
    rejections: list[tuple[str, str, Rejection]] = field(default_factory=list)

    def __post_init__(self) -> None:
        events = CallEvents()
        events.rejected = lambda *event: self.rejections.append(event)  # type: ignore[method-assign] # as it comes
        quotas = QuotaSources(lambda _: self.per_minute, lambda _: self.shared)
        self.policy = UpstreamPolicy("webdoc", self.config, PolicyDependencies(events, clock, quotas=quotas))

    async def call(self, endpoint: str = "timeslots") -> str | GatewayError:
        try:
            if endpoint == "timeslots":
                return await self.policy.call(endpoint, self.ehr.attempt)
            return await self.policy.call_once(endpoint, self.ehr.attempt, 20.0, self.policy.now())
        except AttemptError as failed:
            return failed.error
        except GatewayError as error:
            return error

    async def calls(self, number: int, endpoint: str = "timeslots") -> list[str | GatewayError]:
        return await asyncio.gather(*(self.call(endpoint) for _ in range(number)))


def most_in_a_minute(times: Sequence[float]) -> int:
    """The most that any minute has."""
    return max((sum(start <= each < start + MINUTE for each in times) for start in times), default=0)


@given(arrivals, st.lists(attempts, min_size=1, max_size=20), st.integers(1, 30), st.integers(1, 6))
def test_no_minute_has_more_calls_than_the_quota(
    found: list[tuple[float, str]], script: list[Attempt], per_minute: int, at_once: int
) -> None:
    async def scenario() -> None:
        config = PolicyConfig(circuit_breaker=NEVER_OPEN, concurrency=ConcurrencyConfig(max_concurrency=at_once))
        harness = Harness(per_minute, ScriptedEhr(*script), config=config)
        tasks = []
        for gap, endpoint in found:
            await asyncio.sleep(gap)
            tasks.append(asyncio.create_task(harness.call(endpoint)))
            if len(tasks) % 7 == 0:
                tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert most_in_a_minute([began for began, _ in harness.ehr.attempts]) <= per_minute
        assert harness.policy.health.in_flight == harness.policy.health.waiting == 0

    run(scenario())


def test_a_call_beyond_the_quota_is_told_at_once_when_to_come_again() -> None:
    async def scenario() -> None:
        harness = Harness(4)
        await harness.calls(4)
        await asyncio.sleep(10)
        began = clock()

        found = await harness.call()

        assert isinstance(found, UpstreamRateLimited)
        assert (found.retryable, found.origin, found.retry_after) == (True, Origin.GATEWAY, 50.99)
        assert harness.rejections == [("webdoc", "timeslots", Rejection.QUOTA)]
        assert clock() == began
        assert len(harness.ehr.attempts) == 4
        await asyncio.sleep(51)
        assert await harness.call() == "success"

    run(scenario())


def test_a_call_waits_for_its_turn_as_long_as_its_time_allows_and_holds_no_permit() -> None:
    async def scenario() -> None:
        one = PolicyConfig(circuit_breaker=NEVER_OPEN, concurrency=ConcurrencyConfig(max_concurrency=1))
        harness = Harness(4, config=one)
        await harness.calls(4)
        await asyncio.sleep(55)
        waiting = asyncio.create_task(harness.calls(6))
        await asyncio.sleep(0.1)

        assert harness.policy.health.in_flight == 0
        found = await waiting
        assert [each == "success" for each in found] == [True] * 4 + [False] * 2
        assert [began for began, _ in harness.ehr.attempts[4:]] == pytest.approx([61.0, 61.01, 61.02, 61.03])

    run(scenario())


def test_a_turn_whose_call_was_given_up_is_another_ones() -> None:
    async def scenario() -> None:
        harness = Harness(1)
        await harness.call()
        await asyncio.sleep(55)
        first = asyncio.create_task(harness.call())
        await asyncio.sleep(1)
        assert isinstance(await harness.call(), UpstreamRateLimited)
        first.cancel()
        await asyncio.sleep(0)

        assert await harness.call() == "success"
        assert [began for began, _ in harness.ehr.attempts] == [0.0, 61.0]

    run(scenario())


def test_some_calls_are_kept_for_bookings_which_may_have_all() -> None:
    async def scenario() -> None:
        harness = Harness(10)
        assert (await harness.calls(12)).count("success") == 9
        assert (await harness.calls(2, "book_appointment")).count("success") == 1
        await asyncio.sleep(61)
        assert (await harness.calls(12, "book_appointment")).count("success") == 10
        await asyncio.sleep(61)
        harness = Harness(10, config=PolicyConfig(quota=QuotaConfig(booking_share=0)))
        assert (await harness.calls(12)).count("success") == 10

    run(scenario())


def test_without_a_quota_no_call_waits_and_one_that_comes_or_changes_later_counts_from_then_on() -> None:
    async def scenario() -> None:
        harness = Harness(None)
        assert (await harness.calls(50)).count("success") == 50
        harness.per_minute = 2
        assert (await harness.calls(50)).count("success") == 2
        harness.per_minute = 3
        assert (await harness.calls(50)).count("success") == 1
        harness.per_minute = None
        assert (await harness.calls(50)).count("success") == 50

    run(scenario())


@dataclass
class Unreliable:
    """A store that gives every turn at once, or does not answer."""

    is_up: bool = True
    prefix: str = "p"
    told: list[Sequence[ToldTurn]] = field(default_factory=list)
    up: list[Any] = field(default_factory=list)
    next_turn: SharedTurn = field(default_factory=lambda: SharedTurn(0, 0.0))

    def on_up(self, callback: Any) -> None:
        self.up.append(callback)

    async def take(self, _: QuotaRequest, told: Sequence[ToldTurn]) -> SharedTurn | None:
        await asyncio.sleep(0.001)
        self.told.append(told)
        return self.next_turn if self.is_up else None

    def give_back(self, log: int, name: str) -> None:
        assert (log, name[0]) == (0, "p")


def test_a_process_makes_no_more_calls_than_the_quota_whatever_the_store_says() -> None:
    async def scenario() -> None:
        store = Unreliable()
        harness = Harness(4, shared=store)
        assert (await harness.calls(10)).count("success") == 4
        store.is_up = False
        assert (await harness.calls(10)).count("success") == 0
        await asyncio.sleep(61)
        assert (await harness.calls(10)).count("success") == 4

        store.is_up = True
        await asyncio.sleep(61)
        await harness.call()
        assert store.told[-1] == []
        for each in store.up:
            each()
        await harness.call()
        assert [each.log for each in store.told[-1]] == [0]

    run(scenario())


def test_what_was_taken_while_the_store_was_away_is_told_to_it_once() -> None:
    async def scenario() -> None:
        store = Unreliable(is_up=False)
        harness = Harness(20, shared=store)
        await harness.calls(3)
        await asyncio.sleep(30)
        store.is_up = True

        await harness.call()
        await harness.call()

        assert [(each.log, round(each.ago)) for each in store.told[0]] == [(0, 30)] * 3
        assert store.told[1] == []
        store.next_turn = SharedTurn(None, 40.0)
        assert (await harness.calls(3)).count("success") == 0
        asked = len(store.told)
        assert isinstance(found := await harness.call(), UpstreamRateLimited)
        assert found.retry_after == pytest.approx(40, abs=0.1)
        assert len(store.told) == asked

    run(scenario())
