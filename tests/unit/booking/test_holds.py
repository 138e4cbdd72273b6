"""Times and appointments that one key holds over processes, and what outcomes and open calls say of them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.booking.journal import Hold, JournalEntry, JournalState
from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import AwaitingConfirmation, Booked, Cancelled, Outcome, Taken, Wish
from gateway.domain.models import CareUnitKey
from tests.unit.booking.asking import book, request
from tests.unit.booking.entries import HOUR, LAST, LATER, NOW, SLOT, UNIT, WHEN, done, entry, hold, sent
from tests.unit.booking.journals import Place, Time, doomed, until_dead
from tests.unit.booking.model_ehr import slot
from tests.unit.booking.processes import Machine


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (hold(b"a"), hold(b"b"), True),
        (hold(b"a"), hold(b"b", "r2"), False),
        (hold(b"a"), hold(b"b", None), True),
        (hold(b"a", None), hold(b"b"), True),
        (hold(b"a"), hold(b"b", when=LATER), False),
        (hold(b"a"), replace(hold(b"b"), care_unit=CareUnitKey("webdoc", "L0_2")), False),
        (hold(b"a", when=None, appointment="x"), hold(b"b", when=None, appointment="x"), True),
        (hold(b"a", when=None, appointment="x"), hold(b"b", when=None, appointment="y"), False),
        (hold(b"a", when=None, appointment="x"), hold(b"b"), False),
        (hold(b"a"), hold(b"a"), False),
    ],
)
def test_what_meets_is_held_by_one_key_at_a_time(place: Place, one: Hold, other: Hold, *, meets: bool) -> None:
    async def check() -> None:
        async with place.process() as own, place.process() as others:
            assert await own.hold(one)
            assert await others.hold(other) is not meets
            await own.let_go(one.key)
            assert await others.hold(other)

    asyncio.run(check())


def test_of_many_who_want_a_time_one_gets_it(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own, place.process() as other:
            wanted = [each.hold(hold(b"%d" % number)) for number in range(100) for each in (own, other)]
            # The same key twice is one.
            assert sum(await asyncio.gather(*wanted)) == 2

    asyncio.run(check())


def test_a_hold_ends_with_its_time_its_release_its_outcome_and_when_it_is_replaced(place: Place) -> None:
    async def check() -> None:
        time = Time()
        async with place.process(time) as own:
            await own.claim(entry(b"a"))
            assert await own.hold(hold(b"a"))
            assert not await own.hold(hold(b"b"))
            assert await own.hold(hold(b"a", when=LATER))
            assert await own.hold(hold(b"b"))

            await own.release(b"a")
            assert await own.hold(hold(b"c", when=LATER))
            await own.claim(entry(b"c"))
            await own.write(done(entry(b"c")))
            assert await own.hold(hold(b"d", when=LATER))

            time.now += HOUR + timedelta(seconds=1)
            assert await own.hold(replace(hold(b"e"), until=time.now + HOUR))

    asyncio.run(check())


def test_the_hold_of_a_killed_process_is_void_unless_its_call_may_still_land(place: Place) -> None:
    with doomed(place, 3) as killed:
        assert killed.wait(60)

    async def check() -> None:
        async with place.process() as own:
            kept = await own.find(b"0")
            assert kept is not None
            await until_dead(own, kept.owner)
            free = [await own.hold(hold(b"own", when=when)) for when in (WHEN, LATER, LAST)]
            assert free == [True, False, True]

    asyncio.run(check())


def test_open_calls_of_others_at_the_same_time_are_told_of(place: Place) -> None:
    def at(key: bytes, resource: str | None, hours: int, state: JournalState = JournalState.UNKNOWN) -> JournalEntry:
        slot = replace(SLOT, start=NOW + hours * HOUR, end=NOW + (hours + 1) * HOUR)
        return replace(sent(entry(key)), state=state, wish=Wish(slot, resource, None))

    async def check() -> None:
        async with place.process() as own:
            kept = [
                at(b"unknown", "r1", 0),
                at(b"sent", "r1", 0, JournalState.SENT),
                at(b"any", None, 0),
                at(b"later", "r1", 1),
                at(b"other", "r2", 0),
                at(b"asking", "r1", 0),
                replace(done(at(b"done", "r1", 0)), state=JournalState.DONE),
            ]
            for each in kept:
                await own.claim(each)
                await own.write(each)
            found = {each.key for each in await own.unsettled(hold(b"asking"))}
            everybody = {each.key for each in await own.unsettled(hold(b"asking", None))}

            assert found == {b"unknown", b"sent", b"any"}
            assert everybody == {b"unknown", b"sent", b"any", b"other"}
            assert await own.unsettled(hold(b"x", when=None, appointment="a")) == ()
            await own.claim(entry(b"claimed"))
            asked = [hold(b"x"), hold(b"x", "r3"), hold(b"x", "r3", LATER), hold(b"later", "r1", LATER)]
            assert [await own.was_asked(each) for each in asked] == [True, True, False, False]
            assert not await own.was_asked(hold(b"x", when=None, appointment="a"))

    asyncio.run(check())


def test_appointments_are_known_as_the_latest_outcome_has_them_until_that_is_forgotten(place: Place) -> None:
    async def check() -> None:
        time = Time()
        async with place.process(time) as own:
            booked = Appointment(UNIT, "a1", "booked", "2026-12-01T09:00Z")
            cancelled, awaiting = replace(booked, status_raw="cancelled"), replace(booked, leyr_id="a2")
            days = [timedelta(days=3), timedelta(days=2), timedelta(days=2)]
            outcomes: list[Outcome] = [Booked(booked), Cancelled(cancelled), AwaitingConfirmation(awaiting)]
            for number, (outcome, until) in enumerate(zip(outcomes, days, strict=True)):
                each = replace(done(entry(b"%d" % number)), outcome=outcome, expires_at=NOW + until)
                await own.claim(each)
                await own.write(each)
            asked = ["a1", "a2", "a3", *map(str, range(2_000))]

            assert await own.known(UNIT, asked) == {"a1": cancelled, "a2": awaiting}
            assert await own.known(CareUnitKey("webdoc", "L0_2"), asked) == {}
            time.now += timedelta(days=2, seconds=1)
            assert await own.known(UNIT, asked) == {"a1": booked}
            await own.claim(entry(b"new"))
            assert await own.known(UNIT, asked) == {"a1": booked}

    asyncio.run(check())


times = st.integers(0, 5).flatmap(
    lambda start: st.integers(start + 1, 6).map(lambda end: TimeRange(NOW + start * HOUR, NOW + end * HOUR))
)
holds = st.builds(
    Hold,
    st.binary(max_size=2),
    st.sampled_from([UNIT, CareUnitKey("webdoc", "L0_2")]),
    st.just(NOW + HOUR),
    st.sampled_from([None, "r1", "r2"]),
    st.none() | times,
    st.sampled_from([None, "a1", "a2"]),
)


@given(holds, holds)
def test_meeting_is_mutual(one: Hold, other: Hold) -> None:
    assert one.meets(other) == other.meets(one)


def test_key_that_waits_for_its_next_wish_is_no_lost_call_of_the_one_that_was_taken(machine: Machine) -> None:
    own = machine.process()
    machine.ehr.book_at_the_desk(Wish(slot(), "r1", "s1"), "somebody else")
    machine.ehr.seconds = 10.0
    machine.start(own, own.bookings.book("page", "key", request(slot(), slot(120))))
    machine.wait(8)
    machine.start(own, own.bookings.book("page", "second", request(slot(120))))
    machine.wait(4)

    assert sorted(each.state for each in machine.store.entries.values()) == ["claimed", "sent"]
    machine.wait(30)
    assert book(machine, own, "key", request(slot(), slot(120))).outcome == Taken((slot(), slot(120)))
