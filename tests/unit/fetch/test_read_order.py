"""The law of order: what answers show never goes back behind what an earlier answer has shown.

The EHR writes a running version into each slot's end when a call arrives, and its slots come and go. Reads of any shape
are under way at once and land in any order; memory is short at times. For each slot the versions that answers show
must never fall, and a slot that was shown as gone must not come back from an earlier call. Bookings and cancellations
come in between: what is booked, no answer shows from a call that began before its answer.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.domain.appointments import TimeRange
from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import UpstreamAnswerTooLarge
from gateway.domain.models import Timeslot
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.cache_budget import CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.profiles import Profiles
from tests.unit.asking import Answer, Gateway, Request
from tests.unit.model_ehr import (
    DAY,
    RESOURCES,
    SERVICES,
    START,
    UNIT,
    ModelEhr,
    ModelUnitLists,
    TrueSlot,
    query,
)

GRID = [START + days * DAY / 2 for days in range(4)]
SLOTS = [TrueSlot(*each) for each in product(GRID, RESOURCES, SERVICES)]
KEPT = Lifetimes(15, 15)
Key = tuple[datetime, str | None, str | None]


@dataclass
class Arrived:
    """A call that has reached the EHR, and is answered when `landing` is done."""

    step: Step
    version: int
    answer: TimeslotList
    landing: asyncio.Future[None]


class VersionedEhr(ModelEhr):
    """Answers what is free when a call arrives, later; each slot's length in seconds is the call's version.

    Of days at a time only those of one resource are not too many, where it `divides`.
    """

    def __init__(self, profile: EhrProfile, spill: timedelta, *, divides: bool) -> None:
        super().__init__([], profile, spill=spill)
        self.free: set[TrueSlot] = set()
        self.gateway: Gateway
        self.arrived: list[Arrived] = []
        self.versions = 0
        self.divides = divides

    async def timeslots(self, step: Step) -> TimeslotList:
        self.gateway.now += 0.001
        if self.divides and step.resource is None and step.window.length > DAY / 2:
            raise UpstreamAnswerTooLarge("too large")
        self.versions += 1
        self.slots = sorted(self.free, key=lambda slot: (slot.start, slot.resource or "", slot.service or ""))
        answer = TimeslotList(_with_version(slot, self.versions) for slot in self.fetch(step).slots)
        answer.began = self.gateway.now
        arrived = Arrived(step, self.versions, answer, asyncio.get_running_loop().create_future())
        self.arrived.append(arrived)
        await arrived.landing
        return answer


def _with_version(slot: Timeslot, version: int) -> Timeslot:
    end = instant(slot.start) + timedelta(seconds=version)
    return Timeslot(slot.start, end.isoformat(), slot.resource_id, slot.healthcare_service_id)


def _key(slot: Timeslot) -> Key:
    return instant(slot.start), slot.resource_id, slot.healthcare_service_id


def _version(slot: Timeslot) -> int:
    return (instant(slot.end or "") - instant(slot.start)) // timedelta(seconds=1)


class Shown:
    """What answers have shown so far: before which version no slot may be shown again."""

    def __init__(self) -> None:
        self.versions: dict[Key, int] = {}
        self.gone: set[Key] = set()
        self.bookings: defaultdict[Key, list[int]] = defaultdict(list)
        self.must_be_gone: dict[Key, int] = {}
        """What was booked here, and the version of the last call before its answer."""

    def see(self, query: TimeslotQuery, answer: TimeslotList) -> None:
        found = {_key(slot): _version(slot) for slot in answer.slots}
        for key, version in found.items():
            assert version >= self.versions.get(key, 0), f"{key} went back from {self.versions.get(key)} to {version}"
            self.versions[key] = version
            self.gone.discard(key)
            assert version > self.must_be_gone.get(key, 0), f"{key} is shown although it was booked here"
        for start, resource, service in product(GRID, RESOURCES, SERVICES):
            key = start, resource, service
            is_asked = query.resource in {None, resource} and query.service in {None, service}
            if (
                is_asked
                and query.window.start <= start < query.window.end
                and key not in found
                and key not in self.gone
            ):
                # It was booked after it was last shown, and what was free before that must not come back.
                seen = self.versions.get(key, 0)
                booked = [version for version in self.bookings[key] if version >= seen]
                assert booked, f"{key} is gone and never was booked"
                self.versions[key] = booked[0] + 1
                self.gone.add(key)


@dataclass
class Asked:
    """A request under way: what it asks, and its answers when they are there."""

    request: Request
    queries: list[TimeslotQuery]
    no_cache: bool
    answers: asyncio.Task[list[Answer]]
    is_from_cache: bool = False


queries = st.builds(
    lambda first, length, resource, service: query(first, first + length, resource, service),
    st.sampled_from([0, 0.5, 1]),
    st.sampled_from([0.5, 1, 2]),
    st.sampled_from([None, None, *RESOURCES]),
    st.sampled_from([None, None, *SERVICES]),
)
profiles = st.builds(
    EhrProfile,
    st.just(UNIT.emr),
    st.just("Model"),
    st.sampled_from(FilterPolicy),
    st.sampled_from([None, timedelta(days=1)]),
    fan_out=st.sampled_from(FanOut),
)


class ReadsInAnyOrder(RuleBasedStateMachine):
    """Requests whose answers are seen when their calls have landed; slots name their owners."""

    @initialize(
        profile=profiles,
        most_bytes=st.sampled_from([4_000, 12_000, 64 * 1024 * 1024]),
        spill=st.sampled_from([timedelta(0), timedelta(days=1), timedelta(days=30)]),
        lifetimes=st.sampled_from([KEPT, KEPT, Lifetimes(0, 0)]),
        divides=st.booleans(),
    )
    def begin(
        self, profile: EhrProfile, most_bytes: int, spill: timedelta, lifetimes: Lifetimes, *, divides: bool
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.ehr = VersionedEhr(profile, spill, divides=divides)
        self.gateway = self.ehr.gateway = Gateway(self.ehr, Profiles([profile]), lifetimes, most_bytes=most_bytes)
        self.ehr.free = set(SLOTS)
        self.under_way: list[Asked] = []
        self.shown = Shown()
        catalog = Catalog(self.ehr, CacheConfig(KEPT, self.gateway.budget, lambda: self.gateway.now))
        self.booked_times = BookedTimes(self.gateway.calls, catalog, lambda: START, lambda: self.gateway.now)

    def turn(self, count: int = 40) -> None:
        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    @rule(asked=st.lists(queries, min_size=1, max_size=3), no_cache=st.sampled_from([False, False, True]))
    def ask(self, asked: list[TimeslotQuery], no_cache: bool) -> None:
        self.begin_request(asked, no_cache=no_cache)

    def begin_request(self, asked: list[TimeslotQuery], *, no_cache: bool) -> Asked:
        async def start() -> Asked:
            self.gateway.now += 0.001
            request = self.gateway.request(ModelUnitLists(UnitLists.BOTH), no_cache=no_cache)
            self.gateway.now += 0.001
            return Asked(request, asked, no_cache, asyncio.create_task(request.answer(asked)))

        begun = self.loop.run_until_complete(start())
        self.under_way.append(begun)
        self.turn()
        return begun

    @precondition(lambda self: self.ehr.arrived)
    @rule(data=st.data(), count=st.integers(1, 4))
    def land(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.ehr.arrived))):
            number = data.draw(st.integers(0, len(self.ehr.arrived) - 1))
            self.ehr.arrived.pop(number).landing.set_result(None)
            self.turn()

    @rule(data=st.data())
    def book_or_free(self, data: st.DataObject) -> None:
        slot = TrueSlot(
            data.draw(st.sampled_from(GRID)),
            data.draw(st.sampled_from(RESOURCES)),
            data.draw(st.sampled_from(SERVICES)),
        )
        if slot in self.ehr.free:
            self.shown.bookings[slot.start, slot.resource, slot.service].append(self.ehr.versions)
        self.ehr.free ^= {slot}

    @rule(data=st.data(), names_resource=st.sampled_from([True, True, False]))
    def book_here(self, data: st.DataObject, names_resource: bool) -> None:
        """A booking of our own: its time is gone, whatever calls say that began before its answer came."""
        start, resource = data.draw(st.sampled_from(GRID)), data.draw(st.sampled_from(RESOURCES))
        gone = {each for each in self.ehr.free if (each.start, each.resource) == (start, resource)}
        service = data.draw(st.sampled_from(SERVICES))
        if not names_resource:
            gone = {each for each in self.ehr.free if (each.start, each.service) == (start, service)}
        for slot in gone:
            self.shown.bookings[slot.start, slot.resource, slot.service].append(self.ehr.versions)
            self.shown.must_be_gone[slot.start, slot.resource, slot.service] = self.ehr.versions
        self.ehr.free -= gone
        when = TimeRange(start, start + timedelta(minutes=20))
        self.gateway.now += 0.001
        self.booked_times.taken(UNIT, resource if names_resource else None, service, when)
        self.gateway.now += 0.001
        asked = TimeslotQuery(UNIT, Window(start, start + DAY / 2), data.draw(st.sampled_from([None, resource])), None)
        self.begin_request([asked], no_cache=False)

    @rule(data=st.data())
    def cancel_here(self, data: st.DataObject) -> None:
        """A cancellation of our own: its time is asked again by whoever comes."""
        slot = data.draw(st.sampled_from(SLOTS))
        self.ehr.free |= {slot}
        self.gateway.now += 0.001
        self.booked_times.changed(UNIT, TimeRange(slot.start, slot.start + timedelta(minutes=20)))
        self.gateway.now += 0.001
        asked = TimeslotQuery(UNIT, Window(slot.start, slot.start + DAY / 2), slot.resource, slot.service)
        arrived = len(self.ehr.arrived)
        begun = self.begin_request([asked], no_cache=False)
        assert not begun.answers.done()
        assert len(self.ehr.arrived) > arrived

    @rule(seconds=st.sampled_from([1.0, 10.0, 16.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.gateway.now += seconds

    @invariant()
    def what_has_come_is_shown_in_order(self) -> None:
        if not hasattr(self, "under_way"):
            return
        while (each := next((asked for asked in self.under_way if asked.answers.done()), None)) is not None:
            self.under_way.remove(each)
            found = each.answers.result()
            each.request.close()
            if each.request.scope.is_outdated:
                # Such an answer is made once more before it is shown, and where no call is needed it is in order.
                assert not each.is_from_cache
                again = self.begin_request(each.queries, no_cache=each.no_cache)
                again.is_from_cache = again.answers.done()
                continue
            for asked, answer in zip(each.queries, found, strict=True):
                self.see(asked, answer)

    def see(self, asked: TimeslotQuery, answer: Answer) -> None:
        assert isinstance(answer, TimeslotList)
        self.shown.see(asked, answer)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for each in self.under_way:
            each.answers.cancel()
            each.request.close()
        for arrived in self.ehr.arrived:
            arrived.landing.cancel()
        self.turn()
        self.loop.close()


ReadsInAnyOrder.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, phases=(Phase.generate,)
)
TestReadsInAnyOrder = ReadsInAnyOrder.TestCase
