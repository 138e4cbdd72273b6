"""What a key comes to whose call was lost, and those who come after it."""

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.domain.booking import (
    Booked,
    BookingStep,
    Taken,
    Unknown,
)
from gateway.domain.patients import Patient
from gateway.engine.engine import Engine, EngineConfig, Operation
from gateway.engine.executor import Info
from tests.unit.booking.asking import NUMBER, TOLVAN, Reason, book, reason, request
from tests.unit.booking.model_ehr import Fate, slot
from tests.unit.booking.processes import Machine, Process


def test_of_many_lost_calls_one_is_looked_up_by_who_is_next_while_the_list_fails(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.lists_all = False
    machine.ehr.fate = lambda: Fate.LOST_BEFORE
    for number in range(5):
        book(machine, process, f"key {number}")
        machine.wait(200)
    machine.ehr.is_list_sick = True
    machine.ehr.calls.clear()

    assert reason(book(machine, process, "next").outcome) is Reason.NOT_SENT
    # And what is listed before the call.
    assert machine.ehr.calls == ["list", "list"]


def test_keys_of_before_are_known_also_after_a_crash(machine: Machine) -> None:
    process = machine.process()
    book(machine, process, "key")
    machine.kill(process)
    other = machine.process()
    asked = (BookingStep.BOOK, "key"), (BookingStep.BOOK, "other"), (BookingStep.CANCEL, "key")

    assert [machine.run(other, other.bookings.knows("page", *each)) for each in asked] == [True, False, False]
    machine.store.is_broken = True
    assert not machine.run(other, other.bookings.knows("page", *asked[0]))


def test_what_was_sent_is_not_said_to_be_unsent_while_the_journal_cannot_be_written(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.is_list_sick = True
    machine.ehr.fate = lambda: Fate.LOST_AFTER
    book(machine, process, "key")
    machine.kill(process)
    machine.store.is_deaf = True
    told = book(machine, machine.process(), "key").outcome
    machine.store.is_deaf = machine.ehr.is_list_sick = False

    assert isinstance(told, Unknown)
    assert isinstance(book(machine, machine.process(), "key").outcome, Booked)


def test_lost_booking_that_a_list_in_parts_does_not_show_stays_unknown_until_it_is_whole(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.lists_all = False
    machine.ehr.fate = lambda: Fate.LOST_BEFORE
    book(machine, process, "key")
    machine.wait(60)

    assert isinstance(book(machine, process, "key").outcome, Unknown)
    machine.ehr.lists_all = True
    assert reason(book(machine, process, "key").outcome) is Reason.NOT_BOOKED


@pytest.mark.parametrize(("patient", "is_sent"), [(NUMBER, False), (TOLVAN, True)])
def test_patient_without_leyr_id_waits_for_a_list_that_fails(machine: Machine, patient: Patient, is_sent: bool) -> None:
    process = machine.process()
    book(machine, process, "first")
    machine.ehr.is_list_sick = True
    outcome = book(machine, process, "key", request(slot(120), patient=patient)).outcome

    assert isinstance(outcome, Booked) if is_sent else reason(outcome) is Reason.NOT_SENT


@pytest.mark.parametrize(("capacity", "is_booked"), [(1, False), (2, True)])
def test_who_comes_after_a_booking_asks_first_also_where_the_ehr_accepts_everything(
    machine: Machine, capacity: int, is_booked: bool
) -> None:
    machine.ehr.checks, machine.ehr.capacity = False, capacity
    book(machine, machine.process(), "first")
    machine.wait(600)

    later = book(machine, machine.process(), "later", request(patient=TOLVAN)).outcome

    assert isinstance(later, Booked if is_booked else Taken)
    assert machine.ehr.calls.count("book") == 1 + is_booked


@strawberry.type
class Query:
    @strawberry.field
    async def outcome(self, info: Info[Process, None]) -> str:
        result = await info.context.bookings.outcome("page", "key")
        return type(None if result is None else result.outcome).__name__


def test_request_whose_time_is_over_while_it_looks_up_is_told_so_by_the_engine_that_steps_it(machine: Machine) -> None:
    engine = Engine(strawberry.Schema(Query, config=StrawberryConfig(info_class=Info)), EngineConfig())
    process = machine.process()
    machine.ehr.fate = lambda: Fate.LOST_AFTER
    machine.ehr.is_list_sick = True
    book(machine, process, "key")
    machine.kill(process)
    other = machine.process()
    machine.ehr.list_seconds = 100.0
    result = machine.run(other, engine.execute(Operation("{ outcome }"), other))

    assert result.data == [b'{"outcome":"Unknown"}']
