"""Our own clients at one time, one after the other."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.booking.dependencies import BookingConfig
from gateway.domain.appointments import Capabilities, Support
from gateway.domain.booking import Booked, BookingResult, Taken
from tests.unit.booking.asking import TOLVAN, Reason, book, reason, request
from tests.unit.booking.model_ehr import Fate, ModelAppointments, slot
from tests.unit.booking.processes import Machine, Process


def race(machine: Machine, processes: list[Process], clients: int, at: int = 60) -> list[BookingResult]:
    """What each of many clients is told who want one slot at the same moment."""
    tasks: list[asyncio.Task[Any]] = []
    for number in range(clients):
        process = processes[number % len(processes)]
        key = f"key {at} {number}"
        tasks.append(machine.start(process, process.bookings.book("page", key, request(slot(at)))))
    machine.wait(40)
    return [each.result() for each in tasks]


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_of_200_clients_that_race_for_a_slot_one_books(checks: bool, count: int) -> None:
    machine = Machine(ModelAppointments(checks=checks))
    processes = [machine.process() for _ in range(count)]
    for number in range(5):
        results = race(machine, processes, 200, at=60 * number)

        assert sum(isinstance(each.outcome, Booked) for each in results) == 1
        assert sum(isinstance(each.outcome, Taken) for each in results) == 199
    assert machine.ehr.calls.count("book") == 5
    # Those who waited share the question whether it is still free.
    assert machine.free_times.asked <= 5 * (2 * count - 1)
    machine.close()


def test_slot_with_room_for_three_takes_three() -> None:
    machine = Machine(ModelAppointments(capacity=3, checks=False))
    results = race(machine, [machine.process(), machine.process()], 50)

    assert sum(isinstance(each.outcome, Booked) for each in results) == 3
    assert sum(isinstance(each.outcome, Taken) for each in results) == 47
    machine.close()


def test_slot_is_asked_just_before_where_the_ehr_does_not_check(machine: Machine) -> None:
    machine.ehr.checks = False
    machine.capabilities = Capabilities(checks_timeslots=Support.NO)
    process = machine.process()

    assert isinstance(book(machine, process, "key").outcome, Booked)
    assert machine.free_times.asked == 1
    assert isinstance(book(machine, process, "other").outcome, Taken)
    assert machine.ehr.calls.count("book") == 1


def test_slot_that_cannot_be_asked_is_not_sent(machine: Machine) -> None:
    machine.capabilities = Capabilities(checks_timeslots=Support.NO)
    machine.free_times.is_sick = True
    outcome = book(machine, machine.process(), "key").outcome

    assert reason(outcome) is Reason.NOT_SENT
    assert "book" not in machine.ehr.calls
    assert machine.store.entries == {}


def test_overlapping_time_of_another_resource_does_not_wait(machine: Machine) -> None:
    process = machine.process()
    slots = [slot(60), slot(70), slot(60, "r2")]
    tasks = [
        machine.start(process, process.bookings.book("page", f"key {number}", request(each)))
        for number, each in enumerate(slots)
    ]
    machine.wait(1.3)
    assert [each.done() for each in tasks] == [True, False, True]
    machine.wait(3)
    assert isinstance(tasks[1].result().outcome, Taken)


def test_slot_without_resource_waits_for_all(machine: Machine) -> None:
    process = machine.process()
    for number, each in enumerate([slot(60, None), slot(60, "r2")]):
        machine.start(process, process.bookings.book("page", f"key {number}", request(each)))
    machine.wait(1.3)

    assert machine.ehr.calls.count("book") == 1


def test_who_waits_too_long_is_not_sent(machine: Machine) -> None:
    machine.config = BookingConfig(turn_seconds=3)
    machine.ehr.seconds = 10
    here, there = machine.process(), machine.process()
    machine.start(here, here.bookings.book("page", "key", request()))
    machine.wait(0.1)

    for process in (here, there):
        assert reason(book(machine, process, "other").outcome) is Reason.NOT_SENT
    machine.wait(20)
    assert isinstance(book(machine, there, "other").outcome, Taken)


def test_turn_of_who_is_gone_goes_to_the_next(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.fate = lambda: Fate.REFUSED
    results = race(machine, [process], 3)

    assert [reason(each.outcome) for each in results] == [Reason.REJECTED_BY_EHR] * 3
    assert machine.ehr.calls.count("book") == 3


def test_time_of_a_lost_call_is_held_until_nothing_can_land(machine: Machine) -> None:
    machine.ehr.fate = lambda: Fate.LANDS_LATE
    machine.ehr.checks = False
    here, there = machine.process(), machine.process()
    book(machine, here, "key")
    machine.ehr.fate = lambda: Fate.ANSWERED

    asked = replace(request(), patient=replace(TOLVAN, leyr_id="other"))
    assert reason(book(machine, there, "other", asked).outcome) is Reason.NOT_SENT
    machine.wait(40)
    assert isinstance(book(machine, there, "other", asked).outcome, Booked | Taken)
