"""Lists of the catalogue that several processes share: one calls, all take it, and nobody is worse off than alone."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from time import monotonic

import pytest

from gateway.domain.errors import RateLimited, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.fetch_scope import CacheStatus
from gateway.shared_store.reads import ReadOutcome
from tests.integration.shared_store.catalogues import MINUTES, Answer, Fleet, Gateway, Staff, ask
from tests.stores import Store, running_store, until

pytestmark = pytest.mark.anyio


class OneClinic(Fleet):
    """Catalogues over one store and one clinic."""

    def __init__(self, path: Path, seconds: float = 2.0) -> None:
        super().__init__(path, seconds)
        self.staff = Staff()

    async def start(self, count: int, lifetimes: Lifetimes = MINUTES) -> list[Gateway]:
        """So many further processes."""
        return [await self.join(self.staff, lifetimes) for _ in range(count)]

    async def __aexit__(self, *error: object) -> None:
        self.staff.gate.set()
        await super().__aexit__(*error)


@pytest.fixture
async def fleet(server: Store) -> AsyncIterator[OneClinic]:
    async with OneClinic(server.socket) as made:
        yield made


def origins(answers: Iterable[Answer]) -> Counter[CacheStatus]:
    return Counter(each.origin for each in answers)


async def under_way(fleet: OneClinic, gateways: list[Gateway], requests: int = 1) -> "list[asyncio.Task[Answer]]":
    """Requests that wait for the clinic, or for another gateway that does."""
    fleet.staff.gate.clear()
    asked = [asyncio.create_task(each.ask()) for each in gateways for _ in range(requests)]
    await until(lambda: fleet.staff.count > 0)
    await asyncio.sleep(0.2)
    return asked


async def test_of_gateways_that_are_asked_at_the_same_time_one_calls(fleet: OneClinic) -> None:
    gateways = await fleet.start(4)
    fleet.staff.dropped = 2
    asked = await under_way(fleet, gateways, requests=3)
    fleet.staff.gate.set()
    answers = await asyncio.gather(*asked)

    assert fleet.staff.count == 1
    assert {(*each.names, each.dropped) for each in answers} == {("r1", 2)}
    assert len({each.instant for each in answers}) == 1
    assert origins(answers) == {CacheStatus.FETCHED: 1, CacheStatus.SHARED: 3, CacheStatus.JOINED: 8}
    outcomes = Counter(each for one in gateways for each in one.outcomes)
    assert outcomes == {ReadOutcome.LED: 1, ReadOutcome.JOINED: 3}


async def test_a_new_gateways_first_answer_takes_no_call_and_tells_the_true_age(fleet: OneClinic) -> None:
    (first,) = await fleet.start(1)
    before = monotonic()
    fetched = await first.ask()
    await asyncio.sleep(0.3)
    (second,) = await fleet.start(1)

    asked = monotonic()
    shared = await second.ask()
    took = monotonic() - asked
    cached = await second.ask()

    assert fleet.staff.count == 1
    assert (fetched.origin, shared.origin, cached.origin) == (
        CacheStatus.FETCHED,
        CacheStatus.SHARED,
        CacheStatus.CACHED,
    )
    assert fetched.instant == shared.instant == cached.instant
    # Never younger than it is, and by a round trip older at most.
    assert before - took <= shared.fetched_at <= fleet.staff.asked_at
    assert second.outcomes == [ReadOutcome.HIT]


async def test_a_failed_call_is_followed_by_one_of_those_who_wait(fleet: OneClinic) -> None:
    gateways = await fleet.start(4)
    fleet.staff.is_sick = True
    asked = await under_way(fleet, gateways)
    fleet.staff.is_sick = False
    fleet.staff.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert fleet.staff.count == 2
    assert Counter(type(each) for each in answers)[UpstreamUnavailable] == 1
    assert origins(each for each in answers if isinstance(each, Answer))[CacheStatus.SHARED] == 2


async def test_of_a_sick_clinic_each_gateway_says_so_by_itself_and_soon(fleet: OneClinic) -> None:
    gateways = await fleet.start(4)
    fleet.staff.is_sick = True
    asked = await under_way(fleet, gateways)
    fleet.staff.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(each) for each in answers] == [UpstreamUnavailable] * 4
    assert fleet.staff.count == 4


async def test_a_holder_that_is_gone_is_followed_within_about_a_second(fleet: OneClinic) -> None:
    holder, other = await fleet.start(2)
    (asked,) = await under_way(fleet, [holder])
    waiting = asyncio.create_task(other.ask())
    await asyncio.sleep(0.2)
    # As if it were killed: its connection is gone, and its lease ends by itself.
    await holder.process.store.__aexit__(None, None, None)
    fleet.staff.gate.set()
    assert (await asked).origin is CacheStatus.FETCHED
    async with asyncio.timeout(10):
        assert (await waiting).origin is CacheStatus.FETCHED
    assert fleet.staff.count == 2


async def test_a_holder_whose_client_left_is_followed_at_once(fleet: OneClinic) -> None:
    holder, other = await fleet.start(2)
    (asked,) = await under_way(fleet, [holder])
    waiting = asyncio.create_task(other.ask())
    await asyncio.sleep(0.2)
    asked.cancel()
    await until(lambda: fleet.staff.count == 2)
    fleet.staff.gate.set()

    assert (await waiting).origin is CacheStatus.FETCHED


async def test_no_cache_takes_nothing_that_was_requested_before(fleet: OneClinic) -> None:
    first, second = await fleet.start(2)
    await first.ask()
    fleet.staff.names = ["r2"]

    anew = await second.ask(no_cache=True)

    assert (anew.names, anew.origin) == (["r2"], CacheStatus.FETCHED)
    await until(lambda: first.cached() == ["r2"])
    again = await first.ask()
    assert (again.names, again.origin, again.instant) == (["r2"], CacheStatus.CACHED, anew.instant)


async def test_no_cache_joins_no_call_that_began_before(fleet: OneClinic) -> None:
    first, second = await fleet.start(2)
    (asked,) = await under_way(fleet, [first])
    joined = [asyncio.create_task(second.ask()), asyncio.create_task(second.ask(no_cache=True))]
    await until(lambda: fleet.staff.count == 2)
    fleet.staff.gate.set()

    answers = [await asked, *[await each for each in joined]]

    assert [each.origin for each in answers] == [CacheStatus.FETCHED, CacheStatus.SHARED, CacheStatus.FETCHED]


async def test_an_older_list_that_comes_later_replaces_nothing(fleet: OneClinic) -> None:
    first, second = await fleet.start(2)
    (slow,) = await under_way(fleet, [first])
    early, fleet.staff.gate = fleet.staff.gate, asyncio.Event()
    fleet.staff.gate.set()
    fleet.staff.names = ["r2"]
    assert (await second.ask(no_cache=True)).names == ["r2"]
    early.set()

    assert (await slow).names == ["r1"]
    await until(lambda: first.cached() == ["r2"])
    (third,) = await fleet.start(1)
    assert (await third.ask()).names == ["r2"]


async def test_a_stale_list_is_given_at_once_and_fetched_anew_by_one(fleet: OneClinic) -> None:
    brief = Lifetimes(0.4, 60)
    first, second, third = await fleet.start(3, brief)
    await first.ask()
    await asyncio.sleep(0.5)
    fleet.staff.names = ["r2"]
    fleet.staff.gate.clear()

    stale = await asyncio.gather(second.ask(), third.ask())
    fleet.staff.gate.set()

    assert [(each.names, each.origin) for each in stale] == [(["r1"], CacheStatus.STALE)] * 2
    await until(lambda: second.cached() == third.cached() == ["r2"])
    assert fleet.staff.count == 2


async def test_a_list_that_is_too_long_is_fetched_by_each(fleet: OneClinic) -> None:
    gateways = await fleet.start(3)
    # As nothing compresses is what counts: nine megabytes of names.
    fleet.staff.names = [f"{number:0>30000}" for number in range(300)]
    asked = await under_way(fleet, gateways)
    fleet.staff.gate.set()
    answers = await asyncio.gather(*asked)

    assert [each.origin for each in answers] == [CacheStatus.FETCHED] * 3
    assert fleet.staff.count == 3


async def test_long_lists_come_whole(fleet: OneClinic) -> None:
    first, second = await fleet.start(2)
    fleet.staff.names = [f"r{number}" for number in range(20_000)]
    fetched = await first.ask()
    shared = await second.ask()

    assert shared.origin is CacheStatus.SHARED
    assert shared.names == fetched.names == fleet.staff.names


async def test_another_secret_shares_nothing_and_garbage_is_a_miss(fleet: OneClinic, server: Store) -> None:
    (first,) = await fleet.start(1)
    await first.ask()
    stranger = await fleet.join(fleet.staff, secret=b"other")
    assert (await stranger.ask()).origin is CacheStatus.FETCHED
    keys = [each for each in server.command("KEYS", "*").split(b"\r\n") if b":value:" in each or b":log:" in each]
    for each in keys:
        server.command("DEL", each.decode())
        server.command("SET", each.decode(), "garbage")

    (second,) = await fleet.start(1)

    assert ((await second.ask()).origin, fleet.staff.count) == (CacheStatus.FETCHED, 3)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_store_that_goes_away_lets_each_call_for_itself(number: signal.Signals) -> None:
    with running_store() as server:
        async with OneClinic(server.socket, seconds=0.15) as fleet:
            gateways = await fleet.start(3)
            asked = await under_way(fleet, gateways)
            server.signal(number)
            await until(lambda: fleet.staff.count == 3)
            fleet.staff.gate.set()

            assert origins(await asyncio.gather(*asked)) == {CacheStatus.FETCHED: 3}


async def test_a_store_that_forgets_all_in_the_middle_costs_calls_and_nothing_else(
    fleet: OneClinic, server: Store
) -> None:
    gateways = await fleet.start(3)
    asked = await under_way(fleet, gateways)
    server.command("FLUSHALL")
    await until(lambda: fleet.staff.count == 2)
    fleet.staff.gate.set()
    answers = await asyncio.gather(*asked)

    assert [each.names for each in answers] == [["r1"]] * 3
    assert fleet.staff.count == 2


async def test_calls_that_another_gateway_makes_are_not_taken_from_the_callers_budget(fleet: OneClinic) -> None:
    gateways = await fleet.start(3)
    asked = await under_way(fleet, gateways)
    fleet.staff.gate.set()
    await asyncio.gather(*asked)
    (new,) = await fleet.start(1)
    await new.ask()

    assert [each.taken for each in (*gateways, new)].count(1) == 1
    assert sum(each.taken for each in (*gateways, new)) == fleet.staff.count == 1


async def test_a_caller_without_calls_left_gets_what_is_shared_and_makes_no_call(fleet: OneClinic) -> None:
    first, poor = await fleet.start(2)
    poor.calls_left = 0
    with pytest.raises(RateLimited):
        await poor.ask()
    await first.ask()

    assert (await poor.ask()).origin is CacheStatus.SHARED
    assert fleet.staff.count == 1


async def test_a_wait_outlasts_any_number_of_calls_that_begin_meanwhile(fleet: OneClinic) -> None:
    holder, other, busy = await fleet.start(3)
    asked = await under_way(fleet, [holder, other])
    eager = []
    for number in range(150):
        eager.append(asyncio.create_task(busy.ask(no_cache=True)))
        await until(lambda number=number: fleet.staff.count > number + 1)  # type: ignore[misc] # bound at once
    fleet.staff.gate.set()
    await asyncio.gather(*eager)

    assert origins(await asyncio.gather(*asked)) == {CacheStatus.FETCHED: 1, CacheStatus.SHARED: 1}
    assert fleet.staff.count == 151


async def test_a_full_store_lets_each_call_for_itself() -> None:
    with running_store("--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server:
        async with OneClinic(server.socket) as fleet:
            gateways = await fleet.start(3)
            for size in (50_000, 1_000, 10):
                for number in range(100):
                    server.command("SET", f"full{size}{number}", "x" * size)

            answers = [await each.ask() for each in gateways for _ in range(2)]

            assert all("OOM" in each.process.heard.events for each in gateways)

            assert origins(answers) == {CacheStatus.FETCHED: 3, CacheStatus.CACHED: 3}


async def test_a_client_that_leaves_at_any_moment_lets_nobody_wait(fleet: OneClinic) -> None:
    # Longer than this test waits.
    fleet.lease_milliseconds = 60_000
    first, second = await fleet.start(2)
    async with asyncio.timeout(20):
        for turns in range(120):
            unit = CareUnitKey("model", f"unit {turns}")
            leaving = asyncio.create_task(ask(first.catalog, unit))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            assert (await ask(second.catalog, unit)).names == ["r1"]
