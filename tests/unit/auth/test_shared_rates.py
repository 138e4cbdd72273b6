"""Callers' rates over several processes: simulated with any arrivals, rounds and delays, by a model of the store."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.rate_limit import BookingRates, TokenBuckets
from gateway.auth.shared_rates import ROUND_SECONDS, TOLD_WITHIN_SECONDS, SharedRates
from gateway.shared_store.errors import AwayReason, StoreAwayError
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.sealing import Sealing
from tests.unit.auth.issuer import Time

MICROSECONDS = 1_000_000
ROUNDING = 1e-4
KEY = "caller"


@dataclass
class ModelStore:
    """The store with the one script that rates need, over buckets that all processes have in common."""

    time: Time
    buckets: dict[str, float]
    is_up: bool = True
    asked: list[tuple[Sequence[str], Sequence[Any], "asyncio.Future[ScriptResult]"]] = field(default_factory=list)
    away: list[Callable[[], None]] = field(default_factory=list)

    def on_away(self, callback: Callable[[], None]) -> None:
        self.away.append(callback)

    async def run(self, _: Script, keys: Sequence[str], arguments: Sequence[Any]) -> ScriptResult:
        if not self.is_up:
            raise StoreAwayError(AwayReason.TIMEOUT)
        answer: asyncio.Future[ScriptResult] = asyncio.get_running_loop().create_future()
        self.asked.append((keys, arguments, answer))
        sent = self.time.seconds
        return (await answer)._replace(sent=sent, received=self.time.seconds)

    def execute(self) -> "tuple[asyncio.Future[ScriptResult], ScriptResult]":
        """Run what was sent first; gives what is to be told later."""
        keys, arguments, answer = self.asked.pop(0)
        now = round(self.time.seconds * MICROSECONDS)
        found = []
        for key, taken, age in zip(keys, arguments[::2], arguments[1::2], strict=True):
            self.buckets[key] = max(self.buckets.get(key, 0), now - age) + taken
            found.append(max(0, round(self.buckets[key]) - now))
        return answer, ScriptResult(found, now, 0.0, 0.0)


class Fleet:
    """Processes that have one kind of buckets in common, in virtual time."""

    def __init__(self, number: int, per_second: float, burst: float, delay: float) -> None:
        self.time = Time(1_000.0)
        self.rate = per_second, burst
        self.delay = delay
        self.order = count()
        self.events: list[tuple[float, int, Callable[..., Awaitable[None]] | None, int, tuple[Any, ...]]] = []
        server: dict[str, float] = {}
        self.stores = [ModelStore(self.time, server) for _ in range(number)]
        sealing = Sealing(b"secret", (), lambda: bytes(32))
        self.shared = [SharedRates(each, sealing, self.time) for each in self.stores]  # type: ignore[arg-type] # a model
        self.buckets = [TokenBuckets(self.time, 10, "requests", each) for each in self.shared]

    async def granted(self, arrivals: Sequence[tuple[float, int]], offsets: Sequence[float]) -> list[float]:
        """When requests were granted that arrive at some times at some processes; rounds begin at the offsets."""
        start = self.time.seconds
        for seconds, process in arrivals:
            self.at(start + seconds, None, process)
        for process, offset in enumerate(offsets):
            self.at(start + offset, self.begin_round, process)
        times, left = [], len(arrivals)
        while left:
            self.time.seconds, _, happens, process, about = heappop(self.events)
            if happens is not None:
                await happens(process, *about)
                continue
            left -= 1
            if not self.buckets[process].take(KEY, *self.rate):
                times.append(self.time.seconds)
        return times

    def at(self, seconds: float, happens: Callable[..., Awaitable[None]] | None, process: int, *about: Any) -> None:
        """Let something happen at a time; None is a request."""
        heappush(self.events, (seconds, next(self.order), happens, process, about))

    async def begin_round(self, process: int) -> None:
        task = asyncio.create_task(self.shared[process].reconcile())
        await turns()
        if self.stores[process].asked:
            self.at(self.time.seconds + self.delay, self.execute, process, task)
        else:
            self.at(self.time.seconds + ROUND_SECONDS, self.begin_round, process)

    async def execute(self, process: int, task: "asyncio.Task[None]") -> None:
        self.at(self.time.seconds + self.delay, self.answer, process, task, *self.stores[process].execute())

    async def answer(
        self, process: int, task: "asyncio.Task[None]", answer: "asyncio.Future[ScriptResult]", result: ScriptResult
    ) -> None:
        answer.set_result(result)
        await task
        self.at(self.time.seconds + ROUND_SECONDS, self.begin_round, process)


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


# At most 0.04 s there and as long back, so that a round is at the store within 0.3 s.
fleets = st.tuples(
    st.integers(1, 4),
    st.sampled_from([1.0, 20.0, 50.0, 200.0]) | st.floats(0.5, 200),
    st.integers(1, 5) | st.integers(1, 60),
    st.floats(0, 0.04),
)
# In the time of one token.
gaps = st.lists(
    st.tuples(st.just(0.0) | st.floats(0.9, 1.2) | st.floats(0, 3) | st.floats(0, 100), st.integers(0, 3)),
    min_size=1,
    max_size=200,
)
all_offsets = st.lists(st.floats(0, ROUND_SECONDS), min_size=4, max_size=4)


def arrivals_of(found: list[tuple[float, int]], number: int, per_second: float) -> list[tuple[float, int]]:
    seconds, arrivals = 0.0, []
    for gap, process in found:
        seconds += gap / per_second
        arrivals.append((seconds, process % number))
    return arrivals


@given(fleets, gaps, all_offsets)
def test_processes_together_grant_at_most_what_is_stated(
    of_fleet: tuple[int, float, int, float], found: list[tuple[float, int]], offsets: list[float]
) -> None:
    number, per_second, burst, delay = of_fleet
    fleet = Fleet(*of_fleet)

    times = asyncio.run(fleet.granted(arrivals_of(found, number, per_second), offsets[:number]))

    between = ROUND_SECONDS + 2 * delay
    for first, start in enumerate(times):
        for total, end in enumerate(times[first:], 1):
            late = TOLD_WITHIN_SECONDS + 2 * number * between
            assert total <= per_second * (end - start + late) + number * burst + ROUNDING


@given(fleets, gaps, all_offsets)
def test_a_caller_within_its_rate_and_burst_is_never_refused_whatever_processes_it_asks(
    of_fleet: tuple[int, float, int, float], found: list[tuple[float, int]], offsets: list[float]
) -> None:
    number, per_second, burst, _ = of_fleet
    alone = Time(1_000.0)
    bucket, within = TokenBuckets(alone), []
    for seconds, process in arrivals_of(found, number, per_second):
        alone.seconds = 1_000.0 + seconds
        # Nearly its rate, since times are rounded.
        if not bucket.take(KEY, per_second * (1 - ROUNDING), burst):
            within.append((seconds, process))

    assert len(asyncio.run(Fleet(*of_fleet).granted(within, offsets[:number]))) == len(within)


@given(fleets, gaps, all_offsets)
def test_a_caller_that_asks_one_process_gets_what_it_gets_without_a_store(
    of_fleet: tuple[int, float, int, float], found: list[tuple[float, int]], offsets: list[float]
) -> None:
    _, per_second, burst, _ = of_fleet
    alone = Time(1_000.0)
    bucket, expected = TokenBuckets(alone), []
    arrivals = [(seconds, 0) for seconds, _ in arrivals_of(found, 1, per_second)]
    for seconds, _ in arrivals:
        alone.seconds = 1_000.0 + seconds
        if not bucket.take(KEY, per_second, burst):
            expected.append(alone.seconds)

    assert asyncio.run(Fleet(*of_fleet).granted(arrivals, offsets[: of_fleet[0]])) == expected


@pytest.mark.parametrize("number", [2, 4])
def test_a_caller_far_above_its_rate_gets_at_most_its_burst_and_a_fifth_more_than_its_rate(number: int) -> None:
    fleet, seconds = Fleet(number, 50, 100, 0.001), 60
    arrivals = [(place / 400, place % number) for place in range(400 * seconds)]

    times = asyncio.run(fleet.granted(arrivals, [0.05 * place for place in range(number)]))

    assert 50 * seconds <= len(times) <= 1.2 * 50 * seconds + 100


@pytest.mark.anyio
async def test_what_was_taken_while_the_store_was_away_is_not_owed_later() -> None:
    fleet = Fleet(2, 1, 10, 0.0)
    first, second = fleet.stores
    for store in fleet.stores:
        store.is_up = False
    assert [fleet.buckets[0].take(KEY, *fleet.rate) for _ in range(10)] == [0.0] * 10
    assert [fleet.buckets[1].take(KEY, *fleet.rate) for _ in range(5)] == [0.0] * 5
    assert [len(each) for each in fleet.shared] == [0, 0]

    first.is_up = second.is_up = True
    fleet.buckets[1].take(KEY, *fleet.rate)
    second.is_up = False
    await fleet.shared[1].reconcile()
    assert [len(each) for each in fleet.shared] == [0, 0]
    assert fleet.buckets[0].take(KEY, *fleet.rate) == pytest.approx(1, abs=0.01)
    assert [fleet.buckets[1].take(KEY, *fleet.rate) for _ in range(4)] == [0.0] * 4


@pytest.mark.anyio
async def test_what_is_told_names_no_caller_and_a_flood_of_callers_is_told_in_parts() -> None:
    fleet = Fleet(1, 1, 10, 0.0)
    (store,), (shared,) = fleet.stores, fleet.shared
    rates = BookingRates(fleet.time, 5, sharing=shared)
    for number in range(3_000):
        rates.take(f"canary {number}", "key", 5, b"canary" if number == 0 else None)
    assert len(shared) == 3_001

    task = asyncio.create_task(shared.reconcile())
    await turns()
    assert [len(keys) for keys, _, _ in store.asked] == [250] * 4
    assert len(shared) == 2_001
    assert not any("canary" in key or b"canary".hex() in key for keys, _, _ in store.asked for key in keys)
    while store.asked:
        answer, result = store.execute()
        answer.set_result(result)
    await task
