"""Calls that overtake each other: what took several requests, and what waited for its turn."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import UpstreamAnswerTooLarge
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.read_order import differs
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import time_zone
from gateway.fetch import timeslot_calls
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit.asking import Answer, Gateway
from tests.unit.model_ehr import DAY, RESOURCES, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query, window

KEPT = Lifetimes(15, 15)
SLOTS = [TrueSlot(START + days * DAY, resource, "s1") for days in (0.5, 1.5) for resource in RESOURCES]


class SlowEhr(ModelEhr):
    """Answers what is free when a call arrives, as soon as a test lets it; one day at a time where it `divides`."""

    def __init__(self, *, divides: bool) -> None:
        super().__init__(SLOTS, EhrProfile(UNIT.emr, "Model", time_zone=time_zone("UTC")))
        self.divides = divides
        self.gateway = Gateway(self, Profiles([self.profile]), KEPT)
        self.under_way: list[asyncio.Future[None]] = []

    async def timeslots(self, step: Step) -> TimeslotList:
        self.gateway.now += 0.001
        began, found = self.gateway.now, self.fetch(step)
        if self.divides and step.window.length > DAY:
            raise UpstreamAnswerTooLarge("too large")
        answer = TimeslotList(found.slots)
        answer.began = began
        self.under_way.append(asyncio.get_running_loop().create_future())
        await self.under_way[-1]
        return answer

    async def land(self, number: int) -> None:
        self.under_way.pop(number).set_result(None)
        await turns()

    async def ask(self, asked: TimeslotQuery) -> "asyncio.Task[Answer]":
        self.gateway.now += 0.001
        request = self.gateway.request(ModelUnitLists(UnitLists.BOTH), no_cache=True)

        async def answer() -> Answer:
            (found,) = await request.answer([asked])
            request.close()
            return found

        task = asyncio.create_task(answer())
        await turns()
        return task


async def turns() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


def starts(answer: Answer, resource: str) -> Sequence[str]:
    assert isinstance(answer, TimeslotList)
    return [slot.start for slot in answer.of_resource(resource).slots]


def test_time_that_the_last_part_of_a_divided_answer_shows_as_gone_is_in_no_answer_from_before_that_part() -> None:
    ehr = SlowEhr(divides=True)
    booked = SLOTS[3]

    async def story() -> list[Answer]:
        wide = await ehr.ask(query(0, 2))
        # Sent between the two parts of the wide one, before the booking.
        narrow = await ehr.ask(query(1, 2, "r1"))
        ehr.slots = [slot for slot in SLOTS if slot is not booked]
        await ehr.land(0)
        await ehr.land(1)
        assert wide.done()
        await ehr.land(0)
        # Asked again, since which slots of the wide answer are newer than its own is not known.
        await ehr.land(0)
        return [await wide, await narrow]

    shown = [starts(answer, "r1") for answer in asyncio.run(story())]

    gone = booked.start.isoformat()
    assert [gone in each for each in shown] == [False, False]


def test_answer_from_between_the_parts_of_a_divided_one_that_says_the_same_is_not_asked_again() -> None:
    ehr = SlowEhr(divides=True)

    async def story() -> Answer:
        await ehr.ask(query(0, 2))
        narrow = await ehr.ask(query(1, 2, "r1"))
        for number in (0, 1, 0):
            await ehr.land(number)
        assert narrow.done()
        return await narrow

    assert starts(asyncio.run(story()), "r1") == [SLOTS[3].start.isoformat()]
    # The one that was too large, its two parts, and the narrow one.
    assert len(ehr.calls) == 4


class PatientEhr(ModelEhr):
    """Knows any id, answers one turn of the loop after the call, and says when that was sent."""

    gateway: Gateway

    async def timeslots(self, step: Step) -> TimeslotList:
        self.gateway.now += 0.001
        began = self.gateway.now
        await asyncio.sleep(0)
        self.calls.append(step)
        answer = TimeslotList(self.owned(step).slots)
        answer.began = began
        return answer


@pytest.mark.parametrize(("resources", "services"), [(3, 2), (120, 20), (150, 150)])
def test_fan_out_over_both_lists_asks_once_for_each_id_however_many_there_are(resources: int, services: int) -> None:
    listed = tuple(f"r{number}" for number in range(resources)), tuple(f"s{number}" for number in range(services))
    profile = EhrProfile(UNIT.emr, "Model", FilterPolicy.ANY_ONE, fan_out=FanOut.BOTH)
    slots = [TrueSlot(START + number * timedelta(minutes=5), "r1", "s1") for number in range(10)]
    ehr = PatientEhr(slots, profile)
    ehr.gateway = Gateway(ehr, Profiles([profile]), KEPT)
    lists = ModelUnitLists(UnitLists.BOTH, resources=listed[0], services=listed[1])

    async def story() -> list[Answer]:
        request = ehr.gateway.request(lists)
        try:
            return await request.answer([query(0, 1)])
        finally:
            request.close()

    (answer,) = asyncio.run(story())

    assert isinstance(answer, TimeslotList)
    assert len(answer) == len(slots)
    assert len(ehr.calls) == resources + services


def test_landing_beside_thousands_of_cached_answers_outdates_none_that_agrees() -> None:
    ehr = PatientEhr([], EhrProfile(UNIT.emr, "Model"))
    gateway = ehr.gateway = Gateway(ehr, Profiles([ehr.profile]), KEPT)
    minutes = [query(number / 1440, (number + 1) / 1440, "r1") for number in range(2_500)]
    ehr.slots = [TrueSlot(each.window.start, "r1", "s1") for each in minutes]

    async def outdated() -> list[bool]:
        for each in minutes:
            await calls_for(each)
        await calls_for(query(0, 1, "r2"))
        known = gateway.snapshots.known(query(0, 2, "r1"), ehr.profile)
        assert len(known) == len(minutes)
        return [each.answer.is_outdated for each in known]

    async def calls_for(asked: TimeslotQuery) -> None:
        gateway.now += 0.0001
        step = Step(UNIT, asked.window, *asked.filters)
        call = gateway.calls.start(step, asyncio.Semaphore(1), object(), lambda _: None)
        await call.wait()

    assert not any(asyncio.run(outdated()))


def test_landing_compares_a_bounded_number_of_slots_whatever_requests_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = EhrProfile(UNIT.emr, "Model")
    slots = [TrueSlot(START + number * timedelta(minutes=1), "r1", "s1") for number in range(1_000)]
    ehr = PatientEhr(slots, profile)
    gateway = ehr.gateway = Gateway(ehr, Profiles([profile]), KEPT)
    held: list[TimeslotList] = []
    compared: list[int] = []

    def counted(older: TimeslotList, *others: Any, **named: Any) -> bool | None:
        compared.append(len(older))
        return differs(older, *others, **named)

    monkeypatch.setattr(timeslot_calls, "differs", counted)

    async def story() -> None:
        for _ in range(250):
            gateway.now += 0.0001
            call = gateway.calls.start(Step(UNIT, window(0, 1)), asyncio.Semaphore(1), object(), lambda _: None)
            held.append(await call.wait())
            compared.clear()
        gateway.now += 0.0001
        await gateway.calls.start(Step(UNIT, window(0, 1)), asyncio.Semaphore(1), object(), lambda _: None).wait()

    asyncio.run(story())

    assert 0 < sum(compared) <= 200_000
