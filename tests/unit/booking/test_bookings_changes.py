"""What an EHR cannot do or does otherwise, stopping, and changes of appointments: codes, cancellations, moves."""

import asyncio
from dataclasses import replace

import pytest

from gateway.booking.dependencies import BookingConfig
from gateway.booking.requests import CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain.appointments import Appointment, AppointmentDeviation, AppointmentStatus, Capabilities, Support
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    Cancelled,
    Refused,
    Unknown,
    Wish,
)
from gateway.domain.errors import UpstreamInvalidAnswer
from tests.unit.booking.asking import Reason, appointment_of, book, reason, request
from tests.unit.booking.model_ehr import CODE, UNIT, Fate, slot
from tests.unit.booking.processes import Machine


def test_deviations_are_told_and_both_times_read_again(machine: Machine) -> None:
    machine.ehr.booked_as = lambda made: replace(made, resource_id="r2")
    outcome = book(machine, machine.process(), "key").outcome

    assert isinstance(outcome, Booked)
    assert outcome.deviations == (AppointmentDeviation.RESOURCE,)
    assert [told for told, _ in machine.free_times.told] == ["taken r2", "changed", "changed"]


def test_what_the_ehr_cannot_do_is_not_supported_without_a_call(machine: Machine) -> None:
    machine.capabilities = Capabilities(reschedule=Support.NO, patient_by=frozenset())
    process = machine.process()
    move = RescheduleRequest(UNIT, "a0", Wish(slot(), "r1", "s1"))

    assert reason(book(machine, process, "key").outcome) is Reason.NOT_SUPPORTED
    assert (
        reason(machine.run(process, process.bookings.reschedule("page", "key", move)).outcome) is Reason.NOT_SUPPORTED
    )
    assert machine.ehr.calls == []


def test_too_many_at_once_are_not_sent(machine: Machine) -> None:
    machine.config = BookingConfig(most_at_once=2)
    process = machine.process()
    slots = [slot(60 * hour) for hour in range(3)]
    tasks = [
        machine.start(process, process.bookings.book("page", f"key {number}", request(each)))
        for number, each in enumerate(slots)
    ]
    machine.wait(5)

    assert reason(tasks[2].result().outcome) is Reason.NOT_SENT
    assert all(isinstance(each.result().outcome, Booked) for each in tasks[:2])


def test_stop_waits_for_what_is_under_way_and_takes_nothing_more(machine: Machine) -> None:
    process = machine.process()
    first = machine.start(process, process.bookings.book("page", "key", request()))
    machine.wait(0.5)
    machine.run(process, process.bookings.close())

    assert isinstance(first.result().outcome, Booked)
    assert reason(book(machine, process, "other", request(slot(120))).outcome) is Reason.NOT_SENT


def test_stop_ends_within_its_time_and_leaves_what_was_sent_to_others(machine: Machine) -> None:
    machine.config = BookingConfig(stop_seconds=3)
    machine.ehr.seconds = 10
    process = machine.process()
    first = machine.start(process, process.bookings.book("page", "key", request()))
    machine.wait(1)
    began = machine.loop.time()
    machine.run(process, process.bookings.close())

    assert machine.loop.time() - began < 4
    assert reason(first.result().outcome) is Reason.IN_PROGRESS
    machine.kill(process)
    machine.wait(50)
    assert isinstance(book(machine, machine.process(), "key").outcome, Booked)


def test_stop_ends_lookups_and_says_that_it_is_not_known(machine: Machine) -> None:
    machine.ehr.fate = lambda: Fate.LOST_BEFORE
    process = machine.process()
    book(machine, process, "key")
    asking = machine.start(process, process.bookings.outcome("page", "key"))
    machine.wait(0.1)
    machine.run(process, process.bookings.close())

    assert isinstance(asking.result().outcome, Unknown)
    assert asyncio.all_tasks(machine.loop) == set()


def test_cancelling_twice_is_one_call(machine: Machine) -> None:
    process = machine.process()
    cancel = CancelRequest(UNIT, appointment_of(book(machine, process, "key")))
    tasks = [
        machine.start(each, each.bookings.cancel("page", f"key {number}", cancel))
        for number, each in enumerate([process, process, machine.process()])
    ]
    machine.wait(5)

    outcomes = [each.result().outcome for each in tasks]
    assert sum(isinstance(each, Cancelled) for each in outcomes) == 1
    assert sum(isinstance(each, Refused) and each.reason is Reason.ALREADY_CANCELLED for each in outcomes) == 2
    assert machine.ehr.calls.count("cancel") == 1
    assert machine.free_times.told[-1][0] == "changed"


def test_cancellation_that_was_cut_is_looked_up(machine: Machine) -> None:
    process = machine.process()
    cancel = CancelRequest(UNIT, appointment_of(book(machine, process, "key")))
    machine.ehr.fate = lambda: Fate.LOST_AFTER

    assert isinstance(machine.run(process, process.bookings.cancel("page", "key", cancel)).outcome, Cancelled)


def test_five_wrong_codes_end_a_confirmation_over_restarts(machine: Machine) -> None:
    machine.ehr.asks_for_code = True
    process = machine.process()
    made = book(machine, process, "key")
    assert isinstance(made.outcome, AwaitingConfirmation)
    reasons = []
    for number in range(7):
        process = machine.process()
        wrong = ConfirmRequest(UNIT, appointment_of(made), "wrong")
        reasons.append(reason(machine.run(process, process.bookings.confirm("page", f"key {number}", wrong)).outcome))
        machine.kill(process)

    assert reasons == [Reason.CODE_WRONG] * 4 + [Reason.TOO_MANY_ATTEMPTS] * 3
    assert machine.ehr.calls.count("confirm") == 5


@pytest.mark.parametrize("fate", [Fate.REFUSED, Fate.LOST_BEFORE])
def test_codes_that_an_ehr_refuses_or_fails_at_in_another_way_are_counted_too(machine: Machine, fate: Fate) -> None:
    machine.ehr.asks_for_code = True
    process = machine.process()
    made = appointment_of(book(machine, process, "key"))
    machine.ehr.fate = lambda: fate
    for number in range(8):
        guess = ConfirmRequest(UNIT, made, f"{number}")
        told = machine.run(process, process.bookings.confirm("page", f"key {number}", guess)).outcome
        machine.wait(60)

    assert reason(told) is Reason.TOO_MANY_ATTEMPTS
    assert machine.ehr.calls.count("confirm") == 5


def test_confirmation_by_the_right_code_books(machine: Machine) -> None:
    machine.ehr.asks_for_code = True
    process = machine.process()
    right = ConfirmRequest(UNIT, appointment_of(book(machine, process, "key")), CODE)

    confirmed = machine.run(process, process.bookings.confirm("page", "key", right)).outcome
    assert isinstance(confirmed, Booked)
    assert confirmed.appointment.status is AppointmentStatus.BOOKED


@pytest.mark.parametrize("fate", [Fate.ANSWERED, Fate.LOST_AFTER, Fate.LOST_BEFORE])
def test_move_to_another_time(machine: Machine, fate: Fate) -> None:
    process = machine.process()
    move = RescheduleRequest(UNIT, appointment_of(book(machine, process, "key")), Wish(slot(120), "r1", "s1"))
    machine.ehr.fate = lambda: fate
    result = machine.run(process, process.bookings.reschedule("page", "key", move))
    machine.wait(60)
    settled = machine.run(process, process.bookings.reschedule("page", "key", move)).outcome

    if fate is Fate.LOST_BEFORE:
        assert isinstance(result.outcome, Unknown)
        assert reason(settled) is Reason.NOT_BOOKED
    else:
        assert settled == result.outcome
        assert isinstance(settled, Booked)
        assert machine.ehr.is_free(slot())
    assert machine.ehr.calls.count("reschedule") == 1


def test_appointment_is_read_from_the_list_each_time(machine: Machine) -> None:
    process = machine.process()
    leyr_id = appointment_of(book(machine, process, "key"))
    first = machine.run(process, process.bookings.appointment(UNIT, leyr_id))
    machine.run(process, process.bookings.cancel("page", "key", CancelRequest(UNIT, leyr_id)))

    second = machine.run(process, process.bookings.appointment(UNIT, leyr_id))
    assert (first.status, second.status) == (AppointmentStatus.BOOKED, AppointmentStatus.CANCELLED)
    assert machine.run(process, process.bookings.appointment(UNIT, "unheard of")) is None


def test_appointment_that_is_missing_from_a_list_in_parts_is_not_said_to_be_gone(machine: Machine) -> None:
    process = machine.process()
    leyr_id = appointment_of(book(machine, process, "key"))
    machine.ehr.kept.clear()
    machine.ehr.lists_all = False

    with pytest.raises(UpstreamInvalidAnswer):
        machine.run(process, process.bookings.appointment(UNIT, leyr_id))


def faulty(made: Appointment) -> Appointment:
    raise ZeroDivisionError(made.leyr_id)


def test_fault_of_the_backend_reaches_who_waits_and_the_key_is_looked_up(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.booked_as = faulty

    with pytest.raises(ZeroDivisionError):
        book(machine, process, "key")
    machine.wait(60)
    assert reason(book(machine, process, "key").outcome) is Reason.NOT_BOOKED
    assert asyncio.all_tasks(machine.loop) == set()
