"""Free times under random bookings, moves and cancellations, beside a model that looks at every appointment."""

from datetime import date
from random import Random

import pytest

from gateway.simulator import Behaviour
from gateway.simulator.appointments import Appointment, BookedTime, Schedule, Schedules
from gateway.simulator.booking import FreeTimes, WantedTime
from gateway.simulator.calendar import SlotQuery, World
from gateway.simulator.clinics import rng
from gateway.simulator.http_messages import LeyrError
from gateway.simulator.patients import Patients

WEEK = SlotQuery(1772406000.0, 1772406000.0 + 7 * 86_400, None, None)


def overlapping(schedule: Schedule, time: BookedTime) -> list[Appointment]:
    """What is booked with the resource at some part of the time."""
    return [
        each
        for each in schedule
        if each.status != "cancelled"
        and each.time.resource_id == time.resource_id
        and each.time.start < time.end
        and time.start < each.time.end
    ]


def choose_or_none(free: FreeTimes, wanted: BookedTime, but: Appointment | None = None) -> BookedTime | None:
    try:
        return free.choose(WantedTime(*wanted), but=but)
    except LeyrError:
        return None


def change_something(free: FreeTimes, times: list[BookedTime], random: Random) -> None:
    """Book, move or cancel as the simulator would, and check the decision."""
    schedule, capacity = free.schedule, free.behaviour.capacity
    time, living = random.choice(times), [each for each in schedule if each.status != "cancelled"]
    before = schedule.version
    match random.choice(("book", "book", "move", "cancel")):
        case "book":
            chosen = choose_or_none(free, time)
            assert (chosen is not None) == (len(overlapping(schedule, time)) < capacity)
            if chosen is not None:
                patient = next(iter(Patients(1).of("webdoc", "L0_1")))
                schedule.book(patient, chosen, comment=None, call=0, needs_code=False)
                assert schedule.version > before
        case "move" if living:
            moved = random.choice(living)
            chosen = choose_or_none(free, time, moved)
            others = [each for each in overlapping(schedule, time) if each is not moved]
            assert (chosen is not None) == (len(others) < capacity)
            if chosen is not None:
                schedule.move(moved, chosen)
        case "cancel" if living:
            schedule.cancel(random.choice(living))


@pytest.mark.parametrize("capacity", [1, 2])
def test_free_times_are_those_without_too_many_appointments(capacity: int) -> None:
    world, random = World(seed=1, scale=1, today=date(2026, 3, 2)), rng("booking test", capacity)
    calendar = world.calendar("webdoc", "L0_1")
    schedule = Schedules(1).of("webdoc", "L0_1")
    free = FreeTimes(
        world.clinic("webdoc", "L0_1"), calendar, schedule, Behaviour(capacity=capacity, checks_timeslots=True)
    )
    times = [BookedTime(*slot[:4]) for slot in calendar.find(WEEK, by_start=True)]

    for _ in range(600):
        change_something(free, times, random)

    assert len(schedule) > 50
    for time in times:
        assert free.is_full(time) == (len(overlapping(schedule, time)) >= capacity)
        assert len({*map(id, schedule.at(time))}) == len(overlapping(schedule, time)) <= capacity
