"""The law of order over several gateways that share a store, and their answers and calls beside those of one."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from gateway.domain.appointments import TimeRange
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.cache_budget import CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.profiles import Profiles
from tests.integration.shared_store.loop_fleet import Fleet
from tests.stores import Store, running_store
from tests.unit.asking import Gateway, shown
from tests.unit.fetch.test_read_order import KEPT, SLOTS, Asked, ReadsInAnyOrder, Shown, VersionedEhr
from tests.unit.fetch.test_read_order import profiles as any_profile
from tests.unit.fetch.test_read_order import queries as any_query
from tests.unit.model_ehr import START, ModelEhr, ModelUnitLists


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


class InLoop(BookedTimes):
    """Told by a test, which is not on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *others: Any) -> None:
        super().__init__(*others)
        self._loop = loop

    def taken(self, care_unit: CareUnitKey, resource: str | None, service: str | None, when: TimeRange) -> None:
        self._on_loop(partial(super().taken, care_unit, resource, service, when))

    def changed(self, care_unit: CareUnitKey, when: TimeRange) -> None:
        self._on_loop(partial(super().changed, care_unit, when))

    def _on_loop(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self._loop.run_until_complete(run())


class FleetInAnyOrder(ReadsInAnyOrder):
    """Requests, bookings and cancellations at any of some gateways: what one has shown, no other goes back behind."""

    store: ClassVar[Store]

    @initialize(
        count=st.integers(1, 4),
        profile=any_profile,
        most_bytes=st.sampled_from([4_000, 12_000, 64 * 1024 * 1024]),
        spill=st.sampled_from([timedelta(0), timedelta(days=1)]),
        divides=st.booleans(),
    )
    def begin(self, count: int, profile: EhrProfile, most_bytes: int, spill: timedelta, *, divides: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.ehr = VersionedEhr(profile, spill, divides=divides)
        self.gateway = self.ehr.gateway = Gateway(self.ehr, Profiles([profile]))
        self.fleet = Fleet(
            count,
            self.store.socket,
            self.ehr,
            lambda: Profiles([profile]),
            KEPT,
            lambda: self.gateway.now,
            most_bytes=most_bytes,
        )
        self.loop.run_until_complete(self.fleet.start())
        self.ehr.free = set(SLOTS)
        self.under_way: list[Asked] = []
        self.shown = Shown()
        self.chosen = 0
        self.choose(0)

    @rule(number=st.integers(0, 3))
    def choose(self, number: int) -> None:
        """Bookings to come are made at this gateway, and requests go to those after it in turn."""
        self.chosen = number % len(self.fleet.gateways)
        gateway = self.fleet.gateways[self.chosen]
        catalog = Catalog(self.ehr, CacheConfig(KEPT, gateway.budget, gateway.clock))
        self.booked_times = InLoop(self.loop, gateway.calls, catalog, lambda: START, gateway.clock)

    def turn(self, count: int = 40) -> None:  # noqa: ARG002 # the base's signature
        self.loop.run_until_complete(self.fleet.settle())

    def begin_request(self, asked: list[TimeslotQuery], *, no_cache: bool) -> Asked:
        self.turn()
        self.chosen = (self.chosen + 1) % len(self.fleet.gateways)
        gateway = self.fleet.gateways[self.chosen]

        async def start() -> Asked:
            self.gateway.now += 0.001
            request = gateway.request(ModelUnitLists(UnitLists.BOTH), no_cache=no_cache)
            self.gateway.now += 0.001
            begun = Asked(request, asked, no_cache, asyncio.create_task(request.answer(asked)))
            for _ in range(40):
                await asyncio.sleep(0)
            return begun

        begun = self.loop.run_until_complete(start())
        self.under_way.append(begun)
        begun.is_from_cache = begun.answers.done()
        self.turn()
        return begun

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            for each in self.under_way:
                each.answers.cancel()
                each.request.close()
            # Where a call fails, another gateway that wants it may call once more.
            while self.ehr.arrived:
                for arrived in self.ehr.arrived:
                    arrived.landing.cancel()
                self.ehr.arrived.clear()
                self.turn()
            self.loop.run_until_complete(self.fleet.stop())
            self.loop.close()


def test_what_a_gateway_of_a_fleet_has_shown_no_other_goes_back_behind(store: Store) -> None:
    FleetInAnyOrder.store = store
    run_state_machine_as_test(
        FleetInAnyOrder,
        settings=settings(max_examples=40, stateful_step_count=30, deadline=None, phases=(Phase.generate,)),
    )


class CountedEhr(ModelEhr):
    """Answers after a turn of the loop, so that requests of one moment meet."""

    under_way = 0

    async def timeslots(self, step: Step) -> TimeslotList:
        answer = self.fetch(step)
        self.under_way += 1
        try:
            await asyncio.sleep(0.002)
        finally:
            self.under_way -= 1
        return answer


@dataclass(frozen=True)
class Moment:
    """After a pause in seconds the same comes to several gateways at once.

    What comes first decides which calls one gateway makes for requests that differ, and over several none is the first.
    """

    pause: float
    gateways: tuple[int, ...]
    queries: tuple[TimeslotQuery, ...]
    no_cache: bool


moments = st.lists(
    st.builds(
        Moment,
        st.sampled_from([0.0, 1.0, 10.0, 16.0, 40.0]),
        st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
        st.lists(any_query, min_size=1, max_size=3).map(tuple),
        st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=6,
)


async def answered(
    count: int, store: Store, ehr: CountedEhr, asked: list[Moment], lifetimes: Lifetimes
) -> list[list[object]]:
    """What all requests get, in their order."""
    now = [1_000.0]
    fleet = Fleet(count, store.socket, ehr, lambda: Profiles([ehr.profile]), lifetimes, lambda: now[0])
    await fleet.start()
    found: list[list[object]] = []
    for moment in asked:
        now[0] += moment.pause + 0.001
        requests = [
            fleet.gateways[number % count].request(ModelUnitLists(UnitLists.BOTH), no_cache=moment.no_cache)
            for number in moment.gateways
        ]
        now[0] += 0.001
        work = [each.answer(moment.queries) for each in requests]
        found += [list(map(shown, answers)) for answers in await asyncio.gather(*work)]
        for each in requests:
            each.close()
        await fleet.settle()
        # A refresh that nobody waits for must not be under way still when time has passed: then it would be joined.
        while ehr.under_way:
            await asyncio.sleep(0.001)
            await fleet.settle()
    await fleet.stop()
    return found


@settings(max_examples=60, deadline=None)
@given(asked=moments, profile=any_profile, count=st.integers(2, 4))
def test_a_fleet_answers_as_one_gateway_does_with_no_more_calls(
    store: Store, asked: list[Moment], profile: EhrProfile, count: int
) -> None:
    one, many = CountedEhr(SLOTS, profile), CountedEhr(SLOTS, profile)

    alone = asyncio.run(answered(1, store, one, asked, KEPT))
    together = asyncio.run(answered(count, store, many, asked, KEPT))

    assert together == alone
    assert len(many.calls) <= len(one.calls)
