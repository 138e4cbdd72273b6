"""What bookings do to the free times that everybody is shown, and whether a time is still free for one."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest

from gateway.booking.backend import FreeTimes
from gateway.domain.appointments import TimeRange
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import NotFound, Origin, UpstreamUnavailable
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.cache_budget import CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.profiles import Profiles
from tests.unit.asking import Gateway, Request
from tests.unit.model_ehr import START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query

MINUTES = timedelta(minutes=20)
HOURS = timedelta(hours=1)
SLOTS = [
    TrueSlot(START, "r1", "s1"),
    TrueSlot(START, "r1", "s2"),
    TrueSlot(START, "r2", "s1"),
    TrueSlot(START + HOURS, "r1", "s1"),
]


class PausedEhr(ModelEhr):
    """Says what is free when a call arrives; the answer comes when the test lets it."""

    landing: "asyncio.Future[None] | None" = None

    async def timeslots(self, step: Step) -> TimeslotList:
        answer = self.fetch(step)
        if self.landing is not None:
            await self.landing
        return answer


class Clinic:
    """One care unit's free times, as requests and bookings have them."""

    def __init__(self, slots: Sequence[TrueSlot] = SLOTS, profile: EhrProfile | None = None) -> None:
        profile = profile or EhrProfile(UNIT.emr, "Model")
        self.ehr = PausedEhr(slots, profile)
        self.gateway = Gateway(self.ehr, Profiles([profile]), Lifetimes(15, 15))
        catalog = Catalog(self.ehr, CacheConfig(Lifetimes(60, 60), self.gateway.budget, lambda: self.gateway.now))
        self.now = START - timedelta(days=1)
        self.times: FreeTimes = BookedTimes(self.gateway.calls, catalog, lambda: self.now, lambda: self.gateway.now)

    def request(self) -> Request:
        self.gateway.now += 0.01
        return self.gateway.request(ModelUnitLists(UnitLists.BOTH))

    async def shown(self, asked: TimeslotQuery | None = None) -> list[tuple[str | None, str | None, int]]:
        """The owners and hours of what a request is shown now."""
        request = self.request()
        (answer,) = await request.answer([asked or query(0, 1)])
        request.close()
        return _told(answer)

    def book(self, resource: str | None = "r1", service: str = "s1") -> None:
        self.gateway.now += 0.01
        self.times.taken(UNIT, resource, service, TimeRange(START, START + MINUTES))
        self.gateway.now += 0.01

    def cancel(self) -> None:
        self.gateway.now += 0.01
        self.times.changed(UNIT, TimeRange(START, START + MINUTES))
        self.gateway.now += 0.01


def _told(answer: object) -> list[tuple[str | None, str | None, int]]:
    assert isinstance(answer, TimeslotList)
    return [(each.resource_id, each.healthcare_service_id, int(each.start[11:13])) for each in answer.slots]


def _of(slots: Iterable[TrueSlot]) -> list[tuple[str | None, str | None, int]]:
    return [(each.resource, each.service, each.start.hour) for each in slots]


def wanted(slot: TrueSlot = SLOTS[0]) -> TimeslotId:
    return TimeslotId(UNIT, slot.start, slot.start + MINUTES, slot.resource, slot.service)


@pytest.mark.parametrize("asked", [query(0, 1), query(0, 1, "r1"), query(0, 1, None, "s1"), query(0, 0.5, "r1", "s2")])
async def test_taken_time_is_gone_from_what_is_cached_without_a_call(asked: TimeslotQuery) -> None:
    clinic = Clinic()
    before = await clinic.shown(asked)
    clinic.book()
    calls = len(clinic.ehr.calls)

    left = [each for each in before if each[0] != "r1" or each[2] != 0]
    assert await clinic.shown(asked) == left != before
    assert len(clinic.ehr.calls) == calls


async def test_taken_time_is_gone_from_reads_that_were_under_way() -> None:
    clinic = Clinic()
    clinic.ehr.landing = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(clinic.shown())
    await asyncio.sleep(0.01)
    clinic.book()
    clinic.ehr.landing.set_result(None)

    assert await reading == _of(SLOTS[2:])
    assert await clinic.shown() == _of(SLOTS[2:])
    assert len(clinic.ehr.calls) == 1


async def test_taken_time_outdates_an_answer_that_is_being_written() -> None:
    clinic = Clinic()
    request = clinic.request()
    await request.answer([query(0, 1)])
    clinic.book()
    request.close()

    assert request.scope.is_outdated


async def test_taken_time_ends_what_was_kept_with_it() -> None:
    clinic = Clinic()
    await clinic.shown()
    generation = clinic.gateway.snapshots.generation(UNIT)
    clinic.book("r3")

    assert not generation.is_current


async def test_read_that_begins_later_says_what_is_free() -> None:
    clinic = Clinic()
    await clinic.shown()
    clinic.book()
    clinic.gateway.now += 40

    # A vaccination's time has room for several.
    assert await clinic.shown() == _of(SLOTS)


async def test_taken_time_of_no_known_resource_is_asked_again() -> None:
    unowned = [TrueSlot(START, None, "s1"), TrueSlot(START + HOURS, None, "s1")]
    clinic = Clinic(unowned)
    await clinic.shown()
    clinic.ehr.slots = unowned[1:]
    clinic.book(None)

    assert await clinic.shown() == _of(unowned[1:])
    assert len(clinic.ehr.calls) == 2


async def test_cancelled_time_is_asked_again_and_nothing_else() -> None:
    clinic = Clinic(SLOTS[3:])
    await clinic.shown()
    clinic.ehr.slots = SLOTS
    clinic.cancel()

    assert await clinic.shown() == _of(SLOTS)
    assert clinic.ehr.calls[-1].window.length <= MINUTES
    assert len(clinic.ehr.calls) == 2


async def test_cancelled_time_is_not_answered_from_a_read_that_was_under_way() -> None:
    clinic = Clinic(SLOTS[3:])
    clinic.ehr.landing = asyncio.get_running_loop().create_future()
    earlier = asyncio.create_task(clinic.shown())
    await asyncio.sleep(0.01)
    clinic.ehr.slots = SLOTS
    clinic.cancel()
    later = asyncio.create_task(clinic.shown())
    await asyncio.sleep(0.01)
    clinic.ehr.landing.set_result(None)

    assert await earlier == _of(SLOTS[3:])
    assert await later == _of(SLOTS)


async def test_read_that_was_under_way_is_not_kept_of_a_cancelled_time() -> None:
    clinic = Clinic(SLOTS[3:])
    clinic.ehr.landing = asyncio.get_running_loop().create_future()
    earlier = asyncio.create_task(clinic.shown())
    await asyncio.sleep(0.01)
    clinic.ehr.slots = SLOTS
    clinic.cancel()
    clinic.ehr.landing.set_result(None)

    assert await earlier == _of(SLOTS[3:])
    assert await clinic.shown() == _of(SLOTS)
    assert len(clinic.ehr.calls) == 2


async def test_free_slot_is_asked_by_a_call_that_begins_now() -> None:
    clinic = Clinic()
    await clinic.shown()

    assert await clinic.times.is_free(wanted())
    assert len(clinic.ehr.calls) == 2
    clinic.ehr.slots = SLOTS[1:]
    clinic.gateway.now += 0.01
    assert not await clinic.times.is_free(wanted())
    # That it is gone is a read like any other.
    assert await clinic.shown() == _of(SLOTS[1:])
    assert len(clinic.ehr.calls) == 3


async def test_slot_of_an_id_that_is_gone_is_not_free() -> None:
    assert not await Clinic().times.is_free(wanted(TrueSlot(START, "unheard of", "s1")))


async def test_slot_of_an_unlisted_owner_is_found_without_its_filter() -> None:
    class Forgetful(PausedEhr):
        def fetch(self, step: Step) -> TimeslotList:
            if step.resource is not None:
                raise NotFound("no such resource", origin=Origin.CLIENT)
            return super().fetch(step)

    clinic = Clinic()
    clinic.ehr.__class__ = Forgetful

    assert await clinic.times.is_free(wanted())


async def test_slot_that_cannot_be_asked_is_an_error() -> None:
    clinic = Clinic()
    clinic.ehr.sick_at = START

    with pytest.raises(UpstreamUnavailable):
        await clinic.times.is_free(wanted())


async def test_slot_in_the_past_is_not_free_where_the_ehr_takes_no_past_instants() -> None:
    clinic = Clinic(profile=EhrProfile(UNIT.emr, "Model", past=False))
    clinic.now = START

    assert not await clinic.times.is_free(wanted())
    assert clinic.ehr.calls == []


@pytest.mark.parametrize("owner", ["resource", "service"])
async def test_id_that_may_be_a_personal_number_leaves_in_no_url(owner: str) -> None:
    clinic = Clinic()
    number = "191212121212"
    slot = TrueSlot(START, number, "s1") if owner == "resource" else TrueSlot(START, "r1", number)

    assert not await clinic.times.is_free(wanted(slot))
    assert clinic.ehr.calls == []


async def test_slot_is_asked_as_the_ehr_wants_it() -> None:
    clinic = Clinic(profile=EhrProfile(UNIT.emr, "Model", FilterPolicy.BOTH))

    assert await clinic.times.is_free(wanted())
    assert [each.filters for each in clinic.ehr.calls] == [("r1", "s1")]


async def test_time_beyond_the_calendar_changes_nothing() -> None:
    clinic = Clinic()
    at = START.replace(year=9_500)

    clinic.times.taken(UNIT, "r1", "s1", TimeRange(at, at + MINUTES))
    clinic.times.changed(CareUnitKey("other", "unit"), TimeRange(at, at + MINUTES))
    assert await clinic.shown() == _of(SLOTS)
